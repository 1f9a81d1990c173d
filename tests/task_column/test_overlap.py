from __future__ import annotations

import numpy as np
import pytest

from taskloom.errors import DataError
from taskloom.regularised import EntryNorm, RowNorm, SquaredRisk, TaskData
from taskloom.regularised.solve import largest_alpha, path
from taskloom.task_column import feature_overlap


def supports(n_tasks: int, n_features: int, size: int, common: int) -> np.ndarray:
    """Tasks with ``size`` features each, the first ``common`` of them in all tasks."""
    coef = np.zeros((n_tasks, n_features))
    coef[:, :common] = 1.0
    for task in range(n_tasks):
        start = common + task * (size - common)
        coef[task, start : start + size - common] = 1.0
    return coef


@pytest.mark.parametrize("common", [0, 3, 10])
def test_the_overlap_is_the_common_fraction(common: int) -> None:
    found = feature_overlap(supports(2, 60, 10, common))
    assert found.overlap == pytest.approx(common / 10)
    assert found.sizes.tolist() == [10, 10]
    assert found.n_used == 20 - common
    assert found.pairs[0, 0] == 1


def test_evenness() -> None:
    assert feature_overlap(np.ones((4, 3))).evenness == 1
    assert feature_overlap(np.eye(4)).evenness == pytest.approx(1 / 4)


def test_estimates_at_the_ends() -> None:
    """No coefficient needs no sample; a dense row needs one per feature; one task is the lasso."""
    assert feature_overlap(np.zeros((3, 50))).samples_rows == pytest.approx(0, abs=0.05)
    dense = feature_overlap(np.ones((3, 50)))
    assert dense.samples_rows == pytest.approx(50)
    assert dense.samples_elementwise == pytest.approx(50)
    alone = feature_overlap(supports(1, 100, 10, 10))
    assert alone.samples_rows == pytest.approx(alone.samples_elementwise)


def test_a_known_statistical_dimension() -> None:
    """Phase transition of l1 recovery: s/d = 0.1 needs about a third of d samples (Donoho & Tanner's weak curve)."""
    found = feature_overlap(supports(1, 10_000, 1000, 1000))
    assert found.samples_elementwise / 10_000 == pytest.approx(0.33, abs=0.01)


def test_advice_follows_the_overlap() -> None:
    same = feature_overlap(supports(5, 200, 10, 10))
    apart = feature_overlap(supports(5, 200, 10, 0))
    assert same.samples_rows < same.samples_elementwise
    assert apart.samples_rows > apart.samples_elementwise
    assert same.advice.startswith("Rows: l1/l2 and l1/linf")
    assert apart.advice.startswith("Element-wise l1")
    ratios = [feature_overlap(supports(5, 400, 10, c)) for c in range(0, 11, 2)]
    gains = [one.samples_rows / one.samples_elementwise for one in ratios]
    assert gains == sorted(gains, reverse=True)
    assert "mean overlap 0.00" in str(apart)


def test_special_patterns() -> None:
    assert "not sparse" in feature_overlap(np.ones((3, 5))).advice
    assert "one task" in feature_overlap(np.eye(1, 5)).advice
    assert "too strong" in feature_overlap(np.zeros((3, 5))).advice
    assert np.isnan(feature_overlap(np.zeros((3, 5))).overlap)
    assert feature_overlap([[1.0, 1e-9]], threshold=1e-6).sizes.tolist() == [1]
    with pytest.raises(DataError, match=r"shape \(3,\); expected finite numbers of shape \(tasks, features\)"):
        feature_overlap([1.0, 2.0, 3.0])


@pytest.mark.parametrize(("norm", "name"), [(EntryNorm, "samples_elementwise"), (RowNorm, "samples_rows")])
@pytest.mark.parametrize("common", [0, 6], ids=["apart", "alike"])
def test_estimates_are_where_recovery_begins(norm: type[EntryNorm] | type[RowNorm], name: str, common: int) -> None:
    """Well below the estimate no pattern is recovered, well above it all are."""
    coef = supports(3, 120, 6, common)
    estimate = getattr(feature_overlap(coef), name)
    for share, is_enough in ((0.65, False), (1.6, True)):
        n = round(share * estimate)
        for seed in range(2):
            rng = np.random.default_rng([seed, n])
            A = (coef * rng.choice([-1.0, 1.0], size=coef.shape)).T
            designs = tuple(rng.normal(size=(n, 120)) for _ in range(3))
            targets = tuple(X @ A[:, task] for task, X in enumerate(designs))
            risk = SquaredRisk(TaskData(designs, targets, (np.full(n, 1 / n),) * 3, fit_intercept=False))
            largest = largest_alpha(risk, norm(1.0))
            steps = [norm(factor * largest) for factor in (0.1, 0.01, 0.001)]
            found = path(risk, steps, tol=1e-6, max_iterations=2000)[-1].coefficients
            assert (np.linalg.norm(found - A) < 0.05 * np.linalg.norm(A)) == is_enough
