from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone

from taskloom.linear import DirtyModel, DirtyModelClassifier, MultiTaskGroupLasso, MultiTaskLasso1
from taskloom.regularised import EntryNorm, RowNorm, SquaredRisk, TaskData
from taskloom.testing import EstimatorLaws
from taskloom.testing._estimator_data import Table

RNG = np.random.default_rng(5)
N, D, T = 50, 10, 4
X = RNG.normal(size=(N, D))
COEF = np.zeros((D, T))
COEF[0] = [1.0, -1.0, 1.0, 1.0]
COEF[4, 1] = COEF[7, 2] = 1.5
Y = X @ COEF + 0.4 * RNG.normal(size=(N, T))


class TestLaws(EstimatorLaws):
    out_of_range = {"alpha_shared": (-1.0, np.nan), "alpha_specific": (-1.0,), "q": (0.5, "inf")}
    tolerance = 1e-4

    def make_estimator(self) -> DirtyModel:
        return DirtyModel(0.4, alpha_specific=0.25, tol=1e-12)

    def for_scaled_targets(self, estimator: DirtyModel, factor: float) -> DirtyModel:
        return estimator.set_params(
            alpha_shared=factor * estimator.alpha_shared, alpha_specific=factor * estimator.alpha_specific
        )

    def zero_and_less(self, table: Table) -> tuple[DirtyModel, DirtyModel]:
        designs, targets = zip(
            *[(table.features[table.tasks == t], table.y[table.tasks == t]) for t in np.unique(table.tasks)],
            strict=True,
        )
        weights = tuple(np.full(len(y), 3 / len(table.y)) for y in targets)
        G = SquaredRisk(TaskData(designs, targets, weights)).at(np.zeros((4, 3))).dual.G
        factor = max(RowNorm(0.4, np.inf).gauge(G), EntryNorm(0.25).gauge(G))
        return tuple(
            clone(self.make_estimator()).set_params(alpha_shared=f * 0.4, alpha_specific=f * 0.25, tol=1e-6)
            for f in (factor, 0.999 * factor)
        )


class TestLawsWithLengths(TestLaws):
    def make_estimator(self) -> DirtyModel:
        return DirtyModel(0.3, alpha_specific=0.2, q=2.0, tol=1e-12)

    def zero_and_less(self, table: Table) -> None:
        return None


class TestClassifierLaws(EstimatorLaws):
    out_of_range = {"alpha_shared": (-1.0,), "q": (0.5,)}
    tolerance = 1e-4

    def make_estimator(self) -> DirtyModelClassifier:
        return DirtyModelClassifier(0.06, alpha_specific=0.04, tol=1e-11)


@pytest.mark.parametrize("q", [2.0, np.inf])
def test_ends_of_the_useful_range(q: float) -> None:
    """At its ends it is the one or the other of its parts."""
    dual = 1.0 if np.isinf(q) else q / (q - 1)
    lasso = DirtyModel(0.1 * T ** (1 / dual), alpha_specific=0.1, q=q, tol=1e-12).fit(X, Y)
    np.testing.assert_allclose(lasso.coef_, MultiTaskLasso1(0.1, tol=1e-12).fit(X, Y).coef_, atol=1e-5)
    rows = DirtyModel(0.1, alpha_specific=0.1, q=q, tol=1e-12).fit(X, Y)
    np.testing.assert_allclose(rows.coef_, MultiTaskGroupLasso(0.1, q=q, tol=1e-12).fit(X, Y).coef_, atol=1e-5)


@pytest.mark.parametrize(("shared", "specific"), [(0.3, 0.1), (0.1, 0.3)])
def test_one_task_takes_the_cheaper_part(shared: float, specific: float) -> None:
    model = DirtyModel(shared, alpha_specific=specific, tol=1e-12).fit(X, Y[:, 0])
    lasso = MultiTaskLasso1(min(shared, specific), tol=1e-12).fit(X, Y[:, 0])
    np.testing.assert_allclose(model.coef_, lasso.coef_, atol=1e-6)


def test_parts_sum_up_and_cost_what_the_objective_says() -> None:
    model = DirtyModel(0.2, alpha_specific=0.12, tol=1e-11).fit(X, Y)
    np.testing.assert_allclose(model.coef_shared_ + model.coef_specific_, model.coef_, atol=1e-14)
    loss = ((Y - model.predict(X)) ** 2).sum() / (2 * N)
    norms = 0.2 * np.abs(model.coef_shared_).max(axis=0).sum() + 0.12 * np.abs(model.coef_specific_).sum()
    assert model.objective_ == pytest.approx(loss + norms, rel=1e-10)
    assert model.coef_shared_[:, 0].all()
    assert np.count_nonzero(model.coef_specific_) < 10


def test_the_default_ratio_is_in_the_middle() -> None:
    given = DirtyModel(0.2, alpha_specific=0.1, tol=1e-11).fit(X, Y)  # 4 tasks, q = inf: the square root of 4
    np.testing.assert_allclose(DirtyModel(0.2, tol=1e-11).fit(X, Y).coef_, given.coef_, atol=1e-8)


def test_many_features() -> None:
    """By coordinate descent on working sets: beyond the sizes that are solved by splitting."""
    generator = np.random.default_rng(6)
    wide = generator.normal(size=(80, 400))
    coef = np.zeros((400, 3))
    coef[0], coef[5, 1] = 1.0, 1.0
    model = DirtyModel(0.3, tol=1e-9).fit(wide, wide @ coef + 0.1 * generator.normal(size=(80, 3)))
    assert model.dual_gap_ <= 1e-9 * 10
    assert model.coef_shared_[:, 0].all()
    assert model.coef_[1, 5] > 0.3
