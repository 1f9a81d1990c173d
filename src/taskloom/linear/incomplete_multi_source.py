r"""Rows that lack whole sources of columns: one linear model per pattern of sources, with features in common (iMSF).

    minimise  sum_m w_m / n_m sum_i l(y_i, x_i . a_m + b_m)  +  alpha sum_j ||(a_jm), m a pattern that has column j||_q

It is the group lasso of :class:`MultiTaskGroupLasso` with patterns for tasks, in which the coefficients of what a
pattern lacks do not exist.
"""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from taskloom.errors import DataError, TaskError
from taskloom.linear._source_patterns import SourcePatterns, columns_by_source
from taskloom.linear.group_lasso import MultiTaskGroupLasso, MultiTaskGroupLassoClassifier
from taskloom.task_column import describe_several_tables, read_table

__all__ = ["IncompleteMultiSource", "IncompleteMultiSourceClassifier"]

Array = NDArray[np.float64]


class _IncompleteMultiSource(BaseEstimator):  # type: ignore[misc]
    def __init__(
        self,
        alpha: float = 0.1,
        *,
        sources: Any = None,
        q: float = 2.0,
        fit_intercept: bool = True,
        loss_weights: Literal["task", "sample"] = "task",
        unknown_pattern: Literal["error", "part"] = "error",
        tol: float = 1e-6,
        max_iter: int = 10_000,
    ) -> None:
        self.alpha = alpha
        self.sources = sources
        self.q = q
        self.fit_intercept = fit_intercept
        self.loss_weights = loss_weights
        self.unknown_pattern = unknown_pattern
        self.tol = tol
        self.max_iter = max_iter

    def _group_lasso(self) -> MultiTaskGroupLasso | MultiTaskGroupLassoClassifier:
        """The model with one task per pattern."""
        raise NotImplementedError

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the coefficients of all patterns.

        Args:
            X: (n, d), NaN in all columns of a source that a row lacks.
            y: (n,).
            sample_weight: (n,), at least 0.

        Returns:
            the estimator.
        """
        if self.unknown_pattern not in ("error", "part"):
            raise DataError(f'unknown_pattern={self.unknown_pattern!r}; expected "error" or "part"')
        if self.loss_weights not in ("task", "sample"):
            raise DataError(f'loss_weights={self.loss_weights!r}; expected "task" or "sample"')
        self._refuse_tables(X)
        validate_data(self, X, y, skip_check_array=True, reset=True)
        y = np.asarray(y)
        if y.ndim == 2 and y.shape[1] > 1:
            raise DataError(f"y has shape {y.shape}; expected (n,): one label per row, the patterns of X are the tasks")
        values, missing = self._read(X)
        sources, columns = columns_by_source(self.sources, missing)
        nothing = np.zeros((0, len(sources)), dtype=bool)
        present = SourcePatterns(sources, columns, nothing).present(missing)
        self._patterns = SourcePatterns(sources, columns, np.unique(present, axis=0))
        try:
            self.model_ = self._group_lasso().fit(self._stacked(values, missing), y, sample_weight)
        except TaskError as error:
            raise TaskError(f"{error}. Tasks are patterns of sources here: {self._patterns.describe()}") from error
        self._store()
        return self

    def _store(self) -> None:
        self.sources_, self.patterns_ = self._patterns.sources, self._patterns.patterns
        has_column = self._patterns.has_column
        self.coef_ = np.where(has_column, self.model_.coef_, 0.0)  # what does not exist is 0 beyond rounding
        self.intercept_ = self.model_.intercept_
        self.selected_features_ = np.flatnonzero(self.coef_.any(axis=0))
        self.objective_, self.dual_gap_ = self.model_.objective_, self.model_.dual_gap_
        self.n_iter_ = self.model_.n_iter_

    def _refuse_tables(self, X: Any) -> None:
        found = describe_several_tables(X)
        if found is not None:
            raise DataError(
                f"X is {found}; expected one table with the columns of all sources side by side (numpy.hstack), and "
                "NaN in the columns of what a row lacks"
            )

    def _read(self, X: Any) -> tuple[Array, NDArray[np.bool_]]:
        values = read_table(X, estimator=self, allow_nan=True)
        return values, np.isnan(values)

    def _stacked(self, values: Array, missing: NDArray[np.bool_]) -> Array:
        """A table with the pattern of each row in its first column, and 0 for what is missing.

        A column of zeros has no gradient, and the norm of its row gains nothing from a coefficient there.
        """
        accept_part = self.unknown_pattern == "part"
        positions = self._patterns.positions(self._patterns.present(missing), accept_part=accept_part)
        kept = np.where(self._patterns.has_column[positions], values, 0.0)
        return np.column_stack([positions, kept])

    def _answer(self, method: str, X: Any) -> NDArray[Any]:
        check_is_fitted(self)
        self._refuse_tables(X)
        values, missing = self._read(X)
        validate_data(self, X, skip_check_array=True, reset=False)
        found: NDArray[Any] = getattr(self.model_, method)(self._stacked(values, missing))
        return found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


class IncompleteMultiSource(RegressorMixin, _IncompleteMultiSource):  # type: ignore[misc]
    r"""Linear regression on rows that lack whole sources of columns, without filling anything in (iMSF).

    Use it where columns come from several sources (devices, forms, laboratories) and many rows lack some of them. Rows
    with the same sources are a task with coefficients for the columns that they have; the norms over a column's
    coefficients in all patterns that have it select columns together. Every row is used, and nothing is imputed. With
    many patterns of few rows each, imputing may serve better.

        minimise  sum_m w_m / n_m sum_i s_i (y_i - x_i . a_m - b_m)^2 / 2  +  alpha sum_j ||(a_jm)_m||_q

    with the patterns m, the rows i of each, and for column j the patterns that have it.

    Args:
        alpha: strength of the norms, at least 0; default 0.1.
        sources: a label for each column of X: columns of one label are one source, there or missing as a whole. None
            (default): columns that are missing in the same rows of ``fit`` are one source.
        q: norm over the patterns, from 1 to infinity; default 2. With 1 the patterns are lassos by themselves.
        fit_intercept: whether every pattern has an intercept; it is never penalised.
        loss_weights: ``"task"`` (default): every pattern counts the same, ``w_m = 1``; ``"sample"``: every row does.
        unknown_pattern: what ``predict`` does with rows whose sources no row of ``fit`` had alone: ``"error"``
            (default), or ``"part"``: use the fitted pattern that uses most of their columns.
        tol: the solver stops at a duality gap of this fraction of the risk at zero coefficients; default 1e-6.
        max_iter: iterations of the solver at most; default 10,000.

    Attributes:
        sources_: (S,) labels of the sources, numbers from 0 where ``sources`` is None.
        patterns_: (M, S) which sources each pattern has.
        coef_: (M, d) coefficients, 0 for columns that a pattern lacks.
        intercept_: (M,).
        selected_features_: positions of the columns with coefficients other than 0.
        model_: the group lasso whose tasks are the patterns.
        dual_gap_, objective_, n_iter_: as in :class:`MultiTaskGroupLasso`.

    Raises:
        DataError: a row that lacks a part of a source or all of them, parameters out of range, or data that do not fit.

    Differs from the paper:
        nothing; other norms than q = 2 and sample weights are possible too.

    Source:
        Yuan, Wang, Thompson, Narayan & Ye, Multi-source feature learning for joint analysis of incomplete multiple
        heterogeneous neuroimaging data, NeuroImage 2012.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(60, 5))
        >>> y = 2 * X[:, 0] - X[:, 3]
        >>> X[:20, 3:] = np.nan  # these rows lack the second source
        >>> X[40:, :3] = np.nan  # and these the first
        >>> model = IncompleteMultiSource(0.4).fit(X, y)
        >>> model.patterns_.astype(int), model.selected_features_
        (array([[0, 1],
               [1, 0],
               [1, 1]]), array([0, 3]))
    """

    def _group_lasso(self) -> MultiTaskGroupLasso:
        return MultiTaskGroupLasso(
            self.alpha,
            q=self.q,
            task_feature=0,
            fit_intercept=self.fit_intercept,
            loss_weights=self.loss_weights,
            tol=self.tol,
            max_iter=self.max_iter,
        )

    def predict(self, X: Any) -> Array:
        """Predict each row by the coefficients of its pattern.

        Args:
            X: as in ``fit``.

        Returns:
            (n,).
        """
        return self._answer("predict", X)


class IncompleteMultiSourceClassifier(ClassifierMixin, _IncompleteMultiSource):  # type: ignore[misc]
    """Logistic regression on rows that lack whole sources of columns, without filling anything in (iMSF).

    The twin of :class:`IncompleteMultiSource` for two classes: the same penalty with the loss ``log(1 + exp(-y eta))``.

    Args:
        alpha: strength of the norms, at least 0; default 0.01.
        sources, q, fit_intercept, loss_weights, unknown_pattern, tol, max_iter: as in :class:`IncompleteMultiSource`.
        single_class: ``"constant"`` (default): patterns whose rows have one class predict it, and take no part in the
            rest; ``"error"``: they are refused, by their sources. Elsewhere the default is ``"error"``, since a user
            says what the tasks are. Patterns are what a table happens to have, and one of few rows, which often have
            one class, is no mistake in the data: scikit-learn's own checks fit tables with such patterns.

    Attributes:
        classes_: the two labels; ``decision_function`` is positive for the second.
        sources_, patterns_, coef_, intercept_, selected_features_, model_, dual_gap_, objective_, n_iter_: as in
            :class:`IncompleteMultiSource`.

    Raises:
        DataError: as :class:`IncompleteMultiSource`.
        TaskError: one class only in every pattern; with ``single_class="error"``, in any pattern. Patterns are named.

    Example:
        >>> import numpy as np
        >>> X = np.array([[0.0, np.nan], [1.0, np.nan], [2.0, 0.0], [3.0, 1.0]])
        >>> IncompleteMultiSourceClassifier().fit(X, [0, 1, 0, 1]).predict([[5.0, np.nan]])
        array([1])
    """

    def __init__(
        self,
        alpha: float = 0.01,
        *,
        sources: Any = None,
        q: float = 2.0,
        fit_intercept: bool = True,
        loss_weights: Literal["task", "sample"] = "task",
        single_class: Literal["error", "constant"] = "constant",
        unknown_pattern: Literal["error", "part"] = "error",
        tol: float = 1e-6,
        max_iter: int = 10_000,
    ) -> None:
        super().__init__(
            alpha,
            sources=sources,
            q=q,
            fit_intercept=fit_intercept,
            loss_weights=loss_weights,
            unknown_pattern=unknown_pattern,
            tol=tol,
            max_iter=max_iter,
        )
        self.single_class = single_class

    def _group_lasso(self) -> MultiTaskGroupLassoClassifier:
        return MultiTaskGroupLassoClassifier(
            self.alpha,
            q=self.q,
            task_feature=0,
            fit_intercept=self.fit_intercept,
            loss_weights=self.loss_weights,
            single_class=self.single_class,
            tol=self.tol,
            max_iter=self.max_iter,
        )

    def _store(self) -> None:
        super()._store()
        self.classes_ = self.model_.classes_

    def decision_function(self, X: Any) -> Array:
        """Log odds of the second class.

        Args:
            X: as in ``fit``.

        Returns:
            (n,).
        """
        return self._answer("decision_function", X)

    def predict(self, X: Any) -> NDArray[Any]:
        """The likelier class.

        Args:
            X: as in ``fit``.

        Returns:
            (n,).
        """
        return self._answer("predict", X)

    def predict_proba(self, X: Any) -> Array:
        """Probabilities of the classes.

        Args:
            X: as in ``fit``.

        Returns:
            (n, 2).
        """
        return self._answer("predict_proba", X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags
