"""Newton's method on the logistic risk asks no more of its expansions than they are worth."""

from __future__ import annotations

import numpy as np
import pytest

from taskloom.regularised import LogisticRisk, TaskData, Trace, newton, solve


def test_expansions_that_do_not_hold_so_far_away_are_not_solved_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Classes that a plane separates, and a weak penalty: the first steps leave much of the gap whatever is done."""
    generator = np.random.default_rng(0)
    designs = tuple(generator.normal(size=(30, 120)) for _ in range(2))
    labels = tuple(np.where(X[:, 0] + X[:, 1] > 0, 1.0, -1.0) for X in designs)
    risk = LogisticRisk(TaskData(designs, labels, (np.full(30, 1 / 30),) * 2))
    made = []

    def counted(*given: object, **named: object) -> object:
        reached = by_least_squares(*given, **named)
        made.append(reached.n_iterations)
        return reached

    by_least_squares = newton.solve_least_squares
    monkeypatch.setattr(newton, "solve_least_squares", counted)
    solution = solve(risk, Trace(1e-4), tol=1e-4)
    assert solution.converged
    assert len(made) < 20
    assert sum(made) < 2000
