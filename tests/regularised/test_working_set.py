from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from taskloom.regularised import RowNorm, SquaredRisk, TaskData, largest_alpha
from taskloom.regularised._measure import Measured
from taskloom.regularised.data import Array
from taskloom.regularised.proximal_gradient import solve_by_proximal_gradient
from taskloom.regularised.working_set import Parts, Reached, Rows, restricted, solve_on_working_sets


def risk_of(d: int, *, n: int = 20, n_tasks: int = 2, common: float = 0.0) -> SquaredRisk:
    random = np.random.default_rng(0)
    X = np.asfortranarray(random.normal(size=(n, d)) + common * random.normal(size=(n, 1)))
    weights = np.full(n, 1 / n)
    return SquaredRisk(
        TaskData((X,) * n_tasks, tuple(random.normal(size=(n_tasks, n))), (weights,) * n_tasks, fit_intercept=False)
    )


def run(risk: SquaredRisk, penalty: RowNorm, *, target: float, first: int | None = None) -> tuple[Reached, list[Rows]]:
    """With proximal gradients on the sets, which are written down."""
    sets = []

    def solve_rows(rows: Rows, parts: Parts, measured: Measured, inner: float) -> tuple[Parts, int]:
        sets.append(rows)
        X = risk.data.designs[0][:, rows]
        among = SquaredRisk(TaskData((X,) * risk.n_tasks, risk.data.targets, risk.data.weights, fit_intercept=False))
        curvature = float(np.linalg.eigvalsh(X @ X.T).max()) / len(X)
        reached = solve_by_proximal_gradient(
            among.at, restricted(penalty, rows), curvature=curvature, start=parts, target=inner, max_iterations=5000
        )
        return reached.parts, reached.n_iterations

    reached = solve_on_working_sets(
        risk.at,
        penalty,
        start=(np.zeros((risk.n_features, risk.n_tasks)),),
        solve_rows=solve_rows,
        target=target,
        max_iterations=100_000,
        first=None if first is None else lambda thresholds: min(int(np.count_nonzero(thresholds > 1)), first),
    )
    return reached, sets


def gap_of(risk: SquaredRisk, penalty: RowNorm, A: Array) -> float:
    """Apart from the library: objective minus the dual value at the scaled residuals."""
    X, Y = risk.data.designs[0], np.stack(risk.data.targets, axis=1)
    residuals = (Y - X @ A) / len(X)
    scaled = residuals * min(1.0, penalty.alpha / float(np.linalg.norm(X.T @ residuals, axis=1).max()))
    dual = float((scaled * Y).sum() - len(X) / 2 * (scaled**2).sum())
    objective = float(((Y - X @ A) ** 2).sum()) / (2 * len(X)) + penalty.alpha * float(np.linalg.norm(A, axis=1).sum())
    return objective - dual


@pytest.mark.parametrize(
    ("d", "share", "first"), [(60, 0.3, None), (400, 0.2, None), (400, 0.2, 20), (2500, 0.05, 1500)]
)
def test_the_gap_on_all_rows_is_reached(d: int, share: float, first: int | None) -> None:
    risk = risk_of(d)
    penalty = RowNorm(share * largest_alpha(risk, RowNorm(1.0)))
    target = 1e-5 * risk.at(np.zeros((d, 2))).loss
    reached, sets = run(risk, penalty, target=target, first=first)
    assert reached.gap <= target
    assert gap_of(risk, penalty, reached.parts[0]) <= 2 * target
    for rows in sets:
        assert len(np.unique(rows)) == len(rows)


def test_few_rows_are_taken_at_once() -> None:
    risk = risk_of(60)
    _, sets = run(risk, RowNorm(0.3 * largest_alpha(risk, RowNorm(1.0))), target=1e-6)
    assert [len(rows) for rows in sets] == [60]


def test_small_sets_grow_and_keep_their_order() -> None:
    risk = risk_of(400)
    _, sets = run(risk, RowNorm(0.2 * largest_alpha(risk, RowNorm(1.0))), target=1e-6, first=20)
    for before, after in pairwise(sets):
        assert after[: len(before)].tolist() == before.tolist() or len(after) == 400


def test_large_sets_shrink_to_what_matters() -> None:
    risk = risk_of(2500, n=40, common=3.0)  # what a part of the rows explains was in the gradients of all
    penalty = RowNorm(0.2 * largest_alpha(risk, RowNorm(1.0)))
    reached, sets = run(risk, penalty, target=1e-4 * risk.at(np.zeros((2500, 2))).loss, first=1050)
    assert len(sets[0]) == 1050
    assert min(len(rows) for rows in sets) < 1000
    assert np.isin(np.flatnonzero(reached.parts[0].any(axis=1)), sets[-1]).all()
