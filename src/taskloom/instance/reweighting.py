r"""Any learner for several tasks: for each task it sees the samples of all, weighted by how well they fit the task.

    r_t(x, y) = p(x, y | t) / p(x, y) = p(t | x, y) / p(t)

The weights come from one classifier that tells tasks apart by samples with their labels.
"""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone, is_classifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from taskloom.errors import DataError
from taskloom.instance._features import joint_features
from taskloom.instance._ratios import density_ratios, effective_sizes
from taskloom.task_column import (
    TaskRows,
    check_flag,
    check_number,
    check_whole,
    fit_rows,
    labelled_accuracy,
    labelled_r2,
    predict_rows,
)

__all__ = ["TaskReweighting"]

Array = NDArray[np.float64]
_FEW = 5.0  # effective samples


def _offers(method: str) -> Any:
    """Whether the learner, fitted or not, has a method."""

    def check(own: TaskReweighting) -> bool:
        fitted = getattr(own, "estimators_", [own.estimator])
        getattr(fitted[0], method)
        return True

    return check


class TaskReweighting(MetaEstimatorMixin, BaseEstimator):  # type: ignore[misc]
    r"""Fit any regressor or classifier once per task, on the samples of all tasks, weighted for that task.

    A sample counts for task t by how much more likely it is there than in all tasks together. Where tasks are alike all
    weights are near 1 and every task learns from everything; where a classifier tells the tasks apart, each task learns
    from its own samples. No assumption on how tasks are related, and no change to the learner.

        f_t = argmin_f  sum_i s_i r_t(x_i, y_i) loss(f(x_i), y_i),     r_t(x, y) = p(t | x, y) / p(t)
        r_t is cut at r_max, then raised to the power gamma

    Args:
        estimator: a regressor or a two-class classifier of scikit-learn whose ``fit`` takes ``sample_weight``, or a
            pipeline that ends in one. Its penalty is relative to the sum of the weights, about N.
        features: what the classifier of tasks sees, standardised: ``"joint"`` [x, y] (default); ``"interaction"`` adds
            x y, or for classes takes [1, x] for each class; or a transformer of scikit-learn (``Nystroem()``) given the
            standardised [x, y].
        task_classifier: a classifier with ``predict_proba`` and ``sample_weight``; default
            ``LogisticRegression(C=1.0)``, multinomial.
        n_folds: of the cross-fitting: the weights of a sample come from a classifier that has not seen it. Default 5;
            None for weights from a classifier that has, which are too sure; so it is, with a warning, where there are
            fewer samples than folds. Folds are made of rows: a row of weight 2 is in one fold, where two equal rows may
            be in two, so that each is rated by a classifier that has seen the other. Only with None are whole sample
            weights exactly the same as repeated rows.
        r_max: largest ratio, at least 1; default 20.
        gamma: from 0 (all weights 1: one pooled fit for every task) to 1 (default).
        rescale: divide the weights of each task by their mean, so that they sum to N; default False.
        n_jobs: processes for the fits, as in joblib.
        task_feature: position or name of the task column; None: all tasks share the rows, y is (n, T).
        unknown_task: at predict, ``"error"`` or ``"mean"``: the mean of what the tasks predict.
        random_state: shuffles the folds of the cross-fitting; None keeps the order of the rows.

    Attributes:
        tasks_, n_tasks_: labels of the tasks; ``classes_`` for classifiers.
        estimators_: T fitted learners.
        weights_: r_t of each label, shape of y and one more axis (T,); 0 where there is no label.
        pool_means_: mean of r_t over all samples before the power; near 1 if the classifier is calibrated, (T,).
        effective_sample_size_: (sum r)^2 / sum r^2, (T,).

    Raises:
        TypeError: the learner takes no ``sample_weight``.
        DataError, TaskError: at fit, for data and ranges; one class only among the samples that count for a task.

    Cost:
        n_folds multinomial fits on N samples, T fits of the learner on N samples.

    Differs from the paper:
        cross-fitting, cutting, the power and rescaling are additions; labels may be numbers.

    Source:
        S. Bickel, J. Bogojeska, T. Lengauer, T. Scheffer, Multi-task learning for HIV therapy screening, ICML 2008.

    Example:
        >>> import numpy as np
        >>> from sklearn.linear_model import Ridge
        >>> generator = np.random.default_rng(0)
        >>> X = np.column_stack([np.repeat([0, 1], 30), generator.normal(size=(60, 2))])
        >>> y = X[:, 1] + 0.1 * generator.normal(size=60)
        >>> model = TaskReweighting(Ridge(), task_feature=0).fit(X, y)
        >>> bool((model.effective_sample_size_ > 30).all())
        True
    """

    def __init__(
        self,
        estimator: Any,
        *,
        features: Any = "joint",
        task_classifier: Any = None,
        n_folds: int | None = 5,
        r_max: float = 20.0,
        gamma: float = 1.0,
        rescale: bool = False,
        n_jobs: int | None = None,
        task_feature: int | str | None = None,
        unknown_task: str = "error",
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.features = features
        self.task_classifier = task_classifier
        self.n_folds = n_folds
        self.r_max = r_max
        self.gamma = gamma
        self.rescale = rescale
        self.n_jobs = n_jobs
        self.task_feature = task_feature
        self.unknown_task = unknown_task
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags, own = super().__sklearn_tags__(), get_tags(self.estimator)
        tags.estimator_type = own.estimator_type
        tags.classifier_tags, tags.regressor_tags = own.classifier_tags, own.regressor_tags
        if tags.classifier_tags is not None:
            tags.classifier_tags.multi_class = False
        tags.target_tags.required = True
        tags.target_tags.multi_output = self.task_feature is None
        return tags

    # -- fit --------------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Weigh the samples for every task and fit the learner with each set of weights.

        Args:
            X: (n, d), or (n, d + 1) with the task column.
            y: (n,), or (n, T) without a task column.
            sample_weight: (n,) or (n, T); multiplies the weights.
        """
        parameter = self._check_parameters()
        rows = fit_rows(self, X, y=y, sample_weight=sample_weight)
        self.tasks_, self.n_tasks_, self._output_ndim = rows.tasks, rows.n_tasks, rows.output_ndim
        tasks = np.repeat(np.arange(rows.n_tasks), [len(target) for target in rows.targets])
        inputs, targets = np.concatenate(rows.designs), np.concatenate(rows.targets)
        weights = np.concatenate(rows.sample_weights)
        ratios = self._ratios(inputs, targets, tasks=tasks, weights=weights)
        self.effective_sample_size_ = effective_sizes(ratios, weights)
        self._warn_of_few()
        labels = targets
        if rows.classes is not None:
            self.classes_ = rows.classes
            labels = rows.classes[np.where(targets > 0, len(rows.classes) - 1, 0)]
            self._check_classes(targets, ratios)
        self.weights_ = _scattered(rows, ratios, tasks=tasks, n_rows=len(np.asarray(y)))
        self.estimators_ = Parallel(n_jobs=self.n_jobs)(
            delayed(_fitted)(self.estimator, inputs, labels, parameter=parameter, weights=weights * ratio)
            for ratio in ratios.T
        )
        return self

    def _check_parameters(self) -> str:
        """The name of the fit parameter that takes the weights."""
        if self.unknown_task not in ("error", "mean"):
            raise DataError(f'unknown_task={self.unknown_task!r}; expected "error" or "mean"')
        check_flag("rescale", self.rescale)
        check_number("gamma", self.gamma, most=1.0, note="0: pooled")
        if self.r_max != np.inf:
            check_number("r_max", self.r_max, least=1.0, note="infinity: no weight is cut")
        if self.n_folds is not None:
            check_whole("n_folds", self.n_folds, least=2, note="or None")
        if self.task_classifier is not None and not hasattr(self.task_classifier, "predict_proba"):
            raise DataError(
                f"task_classifier={self.task_classifier!r}; expected a classifier of scikit-learn with predict_proba"
            )
        learner, parameter = self.estimator, "sample_weight"
        if isinstance(learner, Pipeline):
            name, learner = learner.steps[-1]
            parameter = f"{name}__sample_weight"
        if not hasattr(learner, "fit"):
            raise TypeError(f"estimator={learner!r}; expected a regressor or a two-class classifier of scikit-learn")
        if not has_fit_parameter(learner, "sample_weight"):
            raise TypeError(
                f"{type(learner).__name__} takes no sample_weight in fit, and the samples are weighted for each task; "
                "choose a learner that does"
            )
        return parameter

    def _ratios(self, inputs: Array, targets: Array, *, tasks: NDArray[np.intp], weights: Array) -> Array:
        classifier = self.task_classifier
        if classifier is None:
            classifier = LogisticRegression(C=1.0, max_iter=2000, tol=1e-8)
        phi = joint_features(self.features, X=inputs, y=targets, weights=weights, of_classes=is_classifier(self))
        ratios = density_ratios(
            classifier,
            phi,
            tasks=tasks,
            weights=weights,
            n_tasks=self.n_tasks_,
            n_folds=self.n_folds,
            random_state=self.random_state,
        )
        ratios = np.minimum(ratios, self.r_max)
        self.pool_means_ = weights @ ratios / weights.sum()
        off = np.abs(self.pool_means_ - 1) > 0.05
        if off.any() and not self.rescale:
            warnings.warn(
                f"the weights of {int(off.sum())} of {self.n_tasks_} tasks have a mean off 1 by more than 0.05 "
                f"(farthest: {self.pool_means_[np.argmax(np.abs(self.pool_means_ - 1))]:.3g}): few samples, a "
                "classifier that is not calibrated, or r_max cuts much; rescale=True makes it 1",
                UserWarning,
                stacklevel=3,
            )
        ratios = ratios**self.gamma
        if self.rescale:
            means = weights @ ratios / weights.sum()
            ratios = ratios / np.where(means > 0, means, 1.0)
        return ratios

    def _warn_of_few(self) -> None:
        few = self.effective_sample_size_ < _FEW
        if few.any() and self.n_tasks_ > 1:
            worst = int(np.argmin(self.effective_sample_size_))
            warnings.warn(
                f"{int(few.sum())} of {self.n_tasks_} tasks learn from fewer than {_FEW:g} effective samples (fewest: "
                f"task {self.tasks_[worst]}, {self.effective_sample_size_[worst]:.3g}); lower gamma or r_max",
                UserWarning,
                stacklevel=3,
            )

    def _check_classes(self, targets: Array, ratios: Array) -> None:
        for task, ratio in zip(self.tasks_, ratios.T, strict=True):
            found = np.unique(targets[ratio > 0])
            if len(found) < 2:
                raise DataError(
                    f"task {task} has a single class (1 class where a classifier needs two) among the samples that "
                    "count for it; lower gamma, or leave the task out"
                )

    # -- use --------------------------------------------------------------------------------------------------------

    def predict(self, X: Any) -> NDArray[Any]:
        """Values or classes of each row (and task).

        Args:
            X: rows as in ``fit``.

        Returns:
            (m,), or (m, T) after a y of that shape.
        """
        if not is_classifier(self):
            return self._collected(X, lambda learner, design: learner.predict(design))
        check_is_fitted(self)
        return self.classes_[(self._collected(X, _decision) > 0).astype(np.intp)]

    @available_if(_offers("predict_proba"))  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Any:
        """Probabilities of both classes.

        Args:
            X: rows as in ``fit``.

        Returns:
            (m, 2), or after a y with one column per task (m, T): the probability of the second class.
        """
        second = self._collected(X, lambda learner, design: learner.predict_proba(design)[:, 1])
        return np.column_stack([1 - second, second]) if second.ndim == 1 else second

    @available_if(_offers("decision_function"))  # type: ignore[untyped-decorator]
    def decision_function(self, X: Any) -> Array:
        """Decision values, positive for the second class.

        Args:
            X: rows as in ``fit``.

        Returns:
            (m,), or (m, T) after a y of that shape.
        """
        return self._collected(X, lambda learner, design: learner.decision_function(design))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Share of rows that are right (in all tasks), or R^2 of a regressor, which leaves missing labels out.

        Args:
            X: rows as in ``fit``.
            y: labels.
            sample_weight: (m,).
        """
        score = labelled_accuracy if is_classifier(self) else labelled_r2
        return score(y, self.predict(X), sample_weight=sample_weight)

    def _collected(self, X: Any, method: Any) -> Array:
        """What the learners of the tasks say about each row, (m,) or (m, T)."""
        check_is_fitted(self)
        rows = predict_rows(self, X, unknown_task=self.unknown_task)
        if rows.positions is None:
            table = np.column_stack([method(learner, rows.design) for learner in self.estimators_])
            return table if self._output_ndim == 2 else table[:, 0]
        values = np.empty(len(rows.positions))
        for task in np.unique(rows.positions):
            chosen = rows.positions == task
            asked = self.estimators_ if task < 0 else [self.estimators_[task]]
            values[chosen] = np.mean([method(learner, rows.design[chosen]) for learner in asked], axis=0)
        return values


def _fitted(estimator: Any, inputs: Array, labels: Array, *, parameter: str, weights: Array) -> Any:
    counted = weights > 0
    return clone(estimator).fit(inputs[counted], labels[counted], **{parameter: weights[counted]})


def _decision(learner: Any, design: Array) -> Array:
    """Positive where a two-class learner says the second class."""
    if hasattr(learner, "predict_proba"):
        return np.asarray(learner.predict_proba(design)[:, 1] - 0.5)
    if hasattr(learner, "decision_function"):
        return np.asarray(learner.decision_function(design))
    return np.where(learner.predict(design) == learner.classes_[1], 1.0, -1.0)


def _scattered(rows: TaskRows, ratios: Array, *, tasks: NDArray[np.intp], n_rows: int) -> Array:
    """Weights where the caller has the labels: (n, T), or (n, T, T) for a y with one column per task."""
    place = np.concatenate(rows.rows)
    if rows.output_ndim == 1:
        table = np.zeros((n_rows, rows.n_tasks))
        table[place] = ratios
        return table
    table = np.zeros((n_rows, rows.n_tasks, rows.n_tasks))
    table[place, tasks] = ratios
    return table
