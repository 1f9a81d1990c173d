from __future__ import annotations

import numpy as np
import pytest

from taskloom.errors import DataError
from taskloom.kernel import MultiTaskSVR, evgeniou_pontil


def test_the_machine_minimises_what_the_paper_writes() -> None:
    """Common and own vectors are read off the dual; no nearby pair has a smaller value of the paper's problem."""
    generator = np.random.default_rng(1)
    n_tasks, size, lambda_1, lambda_2, epsilon = 3, 12, 2.0, 0.5, 0.1
    tasks = np.repeat(np.arange(n_tasks), size)
    rows = generator.normal(size=(len(tasks), 2))
    y = rows @ [1.0, -1.0] + 0.5 * tasks * rows[:, 0] + 0.1 * generator.normal(size=len(tasks))
    constants = evgeniou_pontil(lambda_1, lambda_2, n_tasks=n_tasks)
    model = MultiTaskSVR(constants.C, epsilon=epsilon, kernel="linear", mu=constants.mu, task_feature=0)
    model.fit(np.column_stack([tasks, rows]), y)

    spread = np.zeros((n_tasks, 2))
    np.add.at(spread, model._positions, model.dual_coef_[:, None] * model._inputs)
    common, own = spread.sum(axis=0) / constants.mu, spread

    def value(common: np.ndarray, own: np.ndarray, intercept: float) -> float:
        misses = np.abs(y - (rows * (common + own[tasks])).sum(axis=1) - intercept) - epsilon
        penalty = lambda_1 / n_tasks * (own**2).sum() + lambda_2 * common @ common
        return float(np.maximum(misses, 0).sum() + penalty)

    best = value(common, own, model.intercept_)
    # the machine's value is C times that of the paper
    assert model.objective_ == pytest.approx(constants.C * best, rel=1e-9)
    for scale in (1e-1, 1e-3):
        for _ in range(50):
            step, steps, shift = generator.normal(size=2), generator.normal(size=(n_tasks, 2)), generator.normal()
            assert value(common + scale * step, own + scale * steps, model.intercept_ + scale * shift) >= best


def test_bad_input() -> None:
    with pytest.raises(DataError, match=r"lambda_1=0\.0"):
        evgeniou_pontil(0.0, 1.0, n_tasks=2)
