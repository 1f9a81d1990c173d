"""The laws of estimators must be able to fail: each broken estimator here breaks one law."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from taskloom.linear import MeanRegularized, MeanRegularizedClassifier
from taskloom.task_column import fit_rows
from taskloom.testing import EstimatorLaws


class Broken(EstimatorLaws):
    __test__ = False
    estimator: type[Any] = MeanRegularized

    def make_estimator(self) -> Any:
        return self.estimator(0.1)


class FlattersItsGap(MeanRegularized):
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        super().fit(X, y, sample_weight)
        self.objective_ *= 1 + 1 / self.max_iter
        return self


class LooksAtRowOrder(MeanRegularized):
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        super().fit(X, y, sample_weight)
        self.intercept_ = self.intercept_ + 0.01 * np.asarray(y, dtype=float).ravel()[0]
        return self


class SortsByNumberOfRows(MeanRegularized):
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        super().fit(X, y, sample_weight)
        self.coef_ = self.coef_[::-1].copy()
        return self


class PenalisesIntercepts(MeanRegularized):
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        super().fit(X, y, sample_weight)
        self.intercept_ = 0.99 * self.intercept_
        return self


class ForgetsWeights(MeanRegularized):
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        return super().fit(X, y)


class CountsRows(MeanRegularized):
    def _penalty(self, n_tasks: int, n_features: int) -> Any:
        return super()._penalty(n_tasks, n_features)

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        alpha = self.alpha
        self.alpha = alpha / len(y)
        super().fit(X, y, sample_weight)
        self.alpha = alpha
        return self


class ChangesItsInput(MeanRegularized):
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        super().fit(X, y, sample_weight)
        if isinstance(X, np.ndarray) and X.flags.writeable:
            X[0, 1] += 1
        return self


class PrefersTheFirstFeature(MeanRegularized):
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        super().fit(X, y, sample_weight)
        self.coef_[:, 0] *= 1.01
        return self


class Wanders(MeanRegularized):
    calls = 0

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        super().fit(X, y, sample_weight)
        Wanders.calls += 1
        self.intercept_ = self.intercept_ + 1e-12 * Wanders.calls
        return self


class TakesAnything(MeanRegularized):
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        try:
            return super().fit(X, y, sample_weight)
        except ValueError:
            return self


class GuessesUnknownTasks(MeanRegularized):
    def predict(self, X: Any) -> Any:
        table = np.asarray(X, dtype=object)
        if self.task_feature == 0 and table.ndim == 2 and 17 in table[:, 0]:
            return np.zeros(len(table))
        return super().predict(X)


class IgnoresMissingLabels(MeanRegularized):
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        return super().fit(X, np.nan_to_num(y) if np.ndim(y) == 2 else y, sample_weight)


CASES = {
    "test_the_gap_is_honest": FlattersItsGap,
    "test_row_order_does_not_matter": LooksAtRowOrder,
    "test_task_labels_do_not_matter": SortsByNumberOfRows,
    "test_targets_may_be_scaled_and_shifted": PenalisesIntercepts,
    "test_weights_count_samples": CountsRows,
    "test_layout_and_precision_of_the_input_do_not_matter": ChangesItsInput,
    "test_order_and_sign_of_features_do_not_matter": PrefersTheFirstFeature,
    "test_same_input_same_bits": Wanders,
    "test_copies_are_equal": Wanders,
    "test_wrong_input_is_refused": TakesAnything,
    "test_parameters_out_of_range_are_refused_by_name": TakesAnything,
    "test_an_unknown_task_is_refused_by_name": GuessesUnknownTasks,
    "test_missing_labels_are_left_out": IgnoresMissingLabels,
    "test_scikit_learn_finds_nothing": ForgetsWeights,
}


@pytest.mark.parametrize("law", CASES)
def test_a_broken_estimator_is_found(law: str) -> None:
    suite = Broken()
    suite.estimator = CASES[law]
    with pytest.raises((AssertionError, AttributeError)):
        getattr(suite, law)()


@pytest.mark.parametrize("law", CASES)
def test_a_whole_one_is_not(law: str) -> None:
    getattr(Broken(), law)()


def test_zeros_are_asked_for_where_they_are_promised() -> None:
    class Promises(Broken):
        def zero_and_less(self, table: Any) -> Any:
            return MeanRegularized(1e6), MeanRegularized(1.0)

    with pytest.raises(AssertionError, match="exactly 0"):
        Promises().test_the_largest_strength_gives_zero()


def test_the_tables_have_two_classes_in_every_task() -> None:
    suite = Broken()
    suite.estimator = MeanRegularizedClassifier
    table = suite._table()
    rows = fit_rows(suite._long(), table.X, y=table.y)
    assert not rows.of_one_class.any()
