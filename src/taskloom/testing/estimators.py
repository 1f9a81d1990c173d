"""Laws of estimators with a task column, as a test class to inherit: check one of your own with the suite of ours.

    class TestMine(EstimatorLaws):
        def make_estimator(self):
            return MyEstimator(alpha=0.1, tol=1e-10)

The attributes say which laws the method claims. A claimed law that fails is a bug; claim all that hold.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_estimator

from taskloom.testing._estimator_data import Table, make_shared, make_table

__all__ = ["EstimatorLaws"]

Array = NDArray[np.float64]

# Parameters that many estimators have, and what none of them takes.
COMMON: Mapping[str, Sequence[Any]] = {
    "tol": (0.0, -1.0, np.nan),
    "max_iter": (0,),
    "loss_weights": ("rows", [1.0], [1.0, -1.0, 1.0]),
    "unknown_task": ("guess",),
    **dict.fromkeys(("fit_intercept", "warm_start", "one_standard_error", "optimise"), ("no", 2)),
    "single_class": ("guess",),
}


class EstimatorLaws:
    """What has to hold for every estimator with a task column, and what holds for those that claim it.

    Class attributes:
        is_certified: the estimator reports ``objective_`` and ``dual_gap_`` of a convex problem.
        is_linear: features may change sign and order without changing predictions, and ``coef_`` exists.
        takes_missing: without a task column, y may have NaN.
        tasks_are_alike: the order of the tasks does not matter (it does for graphs and time).
        follows_scale: a regressor follows targets that are scaled (:meth:`for_scaled_targets`) or shifted.
        weights_are_counts: integer sample weights are the same as repeated rows.
        averages_scale: all rows twice is the same as once.
        takes_single_rows: a task with one row, and a table with a single feature, are legal.
        out_of_range: parameter -> values that ``fit`` has to refuse, naming the parameter.
        tolerance: relative tolerance of predictions of two solutions of one problem.

    Example:
        >>> class TestMine(EstimatorLaws):
        ...     def make_estimator(self):
        ...         from taskloom.linear import MeanRegularized
        ...         return MeanRegularized(0.1)
        >>> TestMine().test_row_order_does_not_matter()
    """

    is_certified: ClassVar[bool] = True
    is_linear: ClassVar[bool] = True
    takes_missing: ClassVar[bool] = True
    tasks_are_alike: ClassVar[bool] = True
    follows_scale: ClassVar[bool] = True
    weights_are_counts: ClassVar[bool] = True
    averages_scale: ClassVar[bool] = True
    takes_single_rows: ClassVar[bool] = True
    out_of_range: ClassVar[Mapping[str, Sequence[Any]]] = {}
    tolerance: ClassVar[float] = 1e-5

    def make_estimator(self) -> BaseEstimator:
        """A new estimator with ``task_feature=None``, solving accurately. Must be the same at every call."""
        raise NotImplementedError

    def for_scaled_targets(self, estimator: BaseEstimator, factor: float) -> BaseEstimator:
        """The estimator for targets times ``factor`` that gives coefficients times ``factor``.

        Quadratic penalties need no change; for norms, strengths have to be multiplied too.
        """
        return clone(estimator)

    def zero_and_less(self, table: Table) -> tuple[BaseEstimator, BaseEstimator] | None:
        """Two estimators: with the smallest strength at which all coefficients are 0, and with 0.999 of it.

        None if no strength makes them exactly 0.
        """
        return None

    # -- scikit-learn -------------------------------------------------------------------------------------------

    def test_scikit_learn_finds_nothing(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check_estimator(self.make_estimator(), on_skip=None)

    def test_copies_are_equal(self) -> None:
        """Pickled and cloned estimators, and one whose parameters were set, predict the same."""
        table = self._table()
        fitted = self._fit(table)
        answers = self._answers(fitted)
        assert np.array_equal(self._answers(pickle.loads(pickle.dumps(fitted))), answers)  # noqa: S301
        assert np.array_equal(self._answers(clone(fitted).fit(table.X, table.y)), answers)
        other = type(fitted)(**fitted.get_params(deep=False)).fit(table.X, table.y)
        assert np.array_equal(self._answers(other), answers)

    # -- the certificate ----------------------------------------------------------------------------------------

    def test_the_gap_is_honest(self) -> None:
        """Whenever it stops, the objective is above the optimum, and the objective minus the gap is below."""
        if not self.is_certified:
            return
        table = self._table()
        best = self._fit(table)
        scale = abs(best.objective_) + 1.0
        assert best.dual_gap_ >= -1e-12 * scale
        for steps in (1, 2, 7, 40):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                stopped = self._fit(table, max_iter=steps)
            assert stopped.dual_gap_ >= -1e-12 * scale
            assert stopped.objective_ >= best.objective_ - max(best.dual_gap_, 0) - 1e-12 * scale
            assert stopped.objective_ - stopped.dual_gap_ <= best.objective_ + 1e-12 * scale

    def test_the_largest_strength_gives_zero(self) -> None:
        pair = self.zero_and_less(self._table())
        if pair is None:
            return
        zero, less = (clone(one).set_params(task_feature=0).fit(self._table().X, self._table().y) for one in pair)
        assert not zero.coef_.any(), "at the largest strength all coefficients are exactly 0"
        assert less.coef_.any(), "below the largest strength some coefficient is not 0"

    def test_a_warm_start_ends_at_the_same_place(self) -> None:
        estimator = self._long()
        if "warm_start" not in estimator.get_params():
            return
        table, other = self._table(), self._table().taking(slice(3, None))
        warm = estimator.set_params(warm_start=True).fit(other.X, other.y).fit(table.X, table.y)
        self._close(self._answers(warm), self._answers(self._fit(table)))

    # -- what does not matter -----------------------------------------------------------------------------------

    def test_row_order_does_not_matter(self) -> None:
        table = self._table()
        order = np.random.default_rng(1).permutation(len(table.y))
        self._close(self._answers(self._fit(table.taking(order))), self._answers(self._fit(table)))

    def test_task_labels_do_not_matter(self) -> None:
        """Text for numbers; and in another order where the tasks are alike."""
        table = self._table()
        names = np.array(["north", "south", "west"] if not self.tasks_are_alike else ["west", "north", "south"])
        text = np.column_stack([names[table.tasks].astype(object), table.features])
        fitted = self._long().fit(text, table.y)
        asked = self._asked()
        found = self._respond(fitted, np.column_stack([names[asked.tasks].astype(object), asked.features]))
        self._close(found, self._answers(self._fit(table)))
        assert list(fitted.tasks_) == sorted(names)

    def test_the_place_of_the_task_column_does_not_matter(self) -> None:
        table, asked = self._table(), self._asked()
        last = clone(self.make_estimator()).set_params(task_feature=-1)
        last.fit(np.column_stack([table.features, table.tasks]), table.y)
        assert last.n_features_in_ == table.features.shape[1] + 1
        found = self._respond(last, np.column_stack([asked.features, asked.tasks]))
        self._close(found, self._answers(self._fit(table)))

    def test_order_and_sign_of_features_do_not_matter(self) -> None:
        if not self.is_linear:
            return
        table, asked = self._table(), self._asked()
        order, signs = np.array([2, 0, 3, 1]), np.array([1.0, -1.0, -1.0, 1.0])
        plain = self._fit(table)
        turned = self._fit(table.using(features=(table.features * signs)[:, order]))
        self._close(
            self._respond(turned, asked.using(features=(asked.features * signs)[:, order]).X), self._answers(plain)
        )
        self._close(turned.coef_, (plain.coef_ * signs)[:, order])

    def test_weights_count_samples(self) -> None:
        """Repeated rows equal weights of 2, weight 0 equals deletion, under both ways of weighing tasks."""
        table = self._table()
        counts = np.random.default_rng(2).integers(0, 3, len(table.y))
        counts[:6] = 1  # every task and class keeps some
        repeated = table.taking(np.repeat(np.arange(len(table.y)), counts))
        for way in self._ways():
            twice = table.taking(np.tile(np.arange(len(table.y)), 2))
            if self.averages_scale:
                self._close(self._answers(self._fit(twice, **way)), self._answers(self._fit(table, **way)))
            if self.weights_are_counts:
                weighted = self._long().set_params(**way).fit(table.X, table.y, sample_weight=counts.astype(float))
                self._close(self._answers(weighted), self._answers(self._fit(repeated, **way)))

    def test_layout_and_precision_of_the_input_do_not_matter(self) -> None:
        """Fortran order, strides, read-only arrays, lists, float32, sparse; and none of them is changed."""
        table = self._table()
        X = table.X
        reference = self._answers(self._fit(table))
        wide = np.repeat(X, 2, axis=1)[:, ::2]
        fixed = X.copy()
        fixed.setflags(write=False)
        for given in (X, np.asfortranarray(X), wide, fixed, X.tolist()):
            self._close(self._respond(self._long().fit(given, table.y), self._asked().X), reference)
            assert np.array_equal(given, table.X), "fit changes its input"
        if get_tags(self._long()).input_tags.sparse:
            fitted = self._long().fit(csr_array(X), table.y)
            self._close(self._respond(fitted, csr_array(self._asked().X)), reference)
        narrow = self._long().fit(X.astype(np.float32), table.y)
        rounded = self._fit(table.using(features=table.features.astype(np.float32).astype(np.float64)))
        self._close(self._answers(narrow), self._answers(rounded))
        assert getattr(narrow, "coef_", np.zeros(1)).dtype == np.float64

    def test_same_input_same_bits(self) -> None:
        table = self._table()
        assert np.array_equal(self._answers(self._fit(table)), self._answers(self._fit(table)))

    # -- two forms of input -------------------------------------------------------------------------------------

    def test_long_and_shared_tables_agree(self) -> None:
        X, Y, table = make_shared(is_classes=self._is_classes())
        shared = clone(self.make_estimator()).fit(X, Y)
        long = self._fit(table)
        self._close(self._respond(shared, X).ravel(), self._respond(long, table.X))

    def test_missing_labels_are_left_out(self) -> None:
        if not self.takes_missing:
            return
        X, Y, table = make_shared(is_classes=self._is_classes())
        gaps = np.zeros(Y.shape, dtype=bool)
        gaps[1:4, 0] = gaps[6, 1] = True
        shared = clone(self.make_estimator()).fit(X, np.where(gaps, np.nan, Y.astype(float)))
        long = self._fit(table.taking(~gaps.ravel()))
        self._close(self._respond(shared, X).ravel(), self._respond(long, table.X))

    # -- scales and sizes ---------------------------------------------------------------------------------------

    def test_targets_may_be_scaled_and_shifted(self) -> None:
        if not self.follows_scale or self._is_classes():
            return
        table = self._table()
        plain = self._answers(self._fit(table))
        for factor in (1e-3, 1e3):
            scaled = self.for_scaled_targets(self._long(), factor).fit(table.X, factor * table.y)
            self._close(self._answers(scaled) / factor, plain)
        self._close(self._answers(self._fit(table.using(y=table.y + 7.0))) - 7.0, plain)

    def test_one_task_and_one_feature_are_legal(self) -> None:
        alone = make_table(n_rows=(12,), is_classes=self._is_classes())
        fitted = clone(self.make_estimator()).fit(alone.features, alone.y)
        self._close(self._respond(fitted, alone.features), self._respond(self._fit(alone), alone.X))
        narrow = make_table(n_features=1, is_classes=self._is_classes())
        assert np.isfinite(self._respond(self._fit(narrow), narrow.X)).all()

    def test_a_task_of_one_row_is_legal(self) -> None:
        if not self.takes_single_rows or self._is_classes():
            return
        table = make_table(n_rows=(9, 1, 7))
        fitted = self._fit(table)
        assert np.isfinite(self._respond(fitted, table.X)).all()

    def test_constant_and_equal_features_are_legal(self) -> None:
        table = self._table()
        features = table.features.copy()
        features[:, 1] = 3.0
        features[:, 2] = features[:, 0]
        fitted = self._fit(table.using(features=features))
        assert np.isfinite(self._respond(fitted, table.using(features=features).X)).all()
        if self.is_linear and fitted.get_params().get("fit_intercept") is True:
            assert np.abs(fitted.coef_[:, 1]).max() <= 1e-7 * max(1.0, np.abs(fitted.coef_).max())

    # -- refusals -----------------------------------------------------------------------------------------------

    def test_wrong_input_is_refused(self) -> None:
        table = self._table()
        X, y = table.X, table.y
        hole = X.copy()
        hole[2, 1] = np.nan
        self._refuses("NaN", hole, y)
        self._refuses("was X scaled", X / 3, y)
        self._refuses("stack_tasks", [X, X], [y, y])
        self._refuses("inconsistent", X, y[:-1])
        self._refuses("negative", X, y, sample_weight=np.where(np.arange(len(y)) == 1, -1.0, 1.0))
        self._refuses("zero", X, y, sample_weight=np.zeros(len(y)))
        self._refuses("one label", X, np.column_stack([y, y]))

    def test_an_unknown_task_is_refused_by_name(self) -> None:
        fitted = self._fit(self._table())
        asked = self._asked().using(tasks=np.full(len(self._asked().y), 17))
        assert "17" in _message(lambda: fitted.predict(asked.X), "predict for a task that was not fitted")
        if "unknown_task" in fitted.get_params():
            assert np.isfinite(self._respond(self._fit(self._table(), unknown_task="mean"), asked.X)).all()

    def test_parameters_out_of_range_are_refused_by_name(self) -> None:
        table = self._table()
        common = {name: wrong for name, wrong in COMMON.items() if name in self._long().get_params()}
        for name, values in {**common, **self.out_of_range}.items():
            for value in values:
                changed = self._long().set_params(**{name: value})
                message = _message(partial(changed.fit, table.X, table.y), f"fit with {name}={value!r}")
                assert name in message, f"{name}={value!r} is refused without its name: {message}"

    # -- parts --------------------------------------------------------------------------------------------------

    def _is_classes(self) -> bool:
        return bool(is_classifier(self.make_estimator()))

    def _table(self) -> Table:
        return make_table(is_classes=self._is_classes())

    def _asked(self) -> Table:
        return make_table(n_rows=(2, 2, 2))

    def _long(self) -> Any:
        return clone(self.make_estimator()).set_params(task_feature=0)

    def _fit(self, table: Table, **parameters: Any) -> Any:
        return self._long().set_params(**parameters).fit(table.X, table.y)

    def _ways(self) -> list[dict[str, Any]]:
        has_ways = "loss_weights" in self._long().get_params()
        return [{"loss_weights": "sample"}, {"loss_weights": "task"}] if has_ways else [{}]

    def _answers(self, fitted: Any) -> Array:
        return self._respond(fitted, self._asked().X)

    def _respond(self, fitted: Any, X: Any) -> Array:
        """Predictions as numbers: those of a classifier before they are rounded to classes."""
        if not self._is_classes():
            return np.asarray(fitted.predict(X))
        return np.asarray(
            fitted.decision_function(X) if hasattr(fitted, "decision_function") else fitted.predict_proba(X)
        )

    def _refuses(self, words: str, X: Any, y: Any, **arguments: Any) -> None:
        message = _message(lambda: self._long().fit(X, y, **arguments), f"fit on what is refused with {words!r}")
        assert words in message, f"expected a message with {words!r}, found: {message}"

    def _close(self, found: Array, reference: Array) -> None:
        error = float(np.abs(np.asarray(found) - np.asarray(reference)).max())
        allowed = self.tolerance * max(float(np.abs(reference).max()), 1e-3)
        assert error <= allowed, f"off by {error:.3g}, allowed {allowed:.3g}"


def _message(call: Callable[[], Any], action: str) -> str:
    """Message of the error that a call raises."""
    try:
        call()
    except ValueError as error:
        return str(error)
    raise AssertionError(f"{action} raised no error")
