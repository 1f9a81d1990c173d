"""Planted groups: what tasks share, their scales and noise, determinism, errors."""

from __future__ import annotations

import numpy as np
import pytest

from taskloom.data.problems import planted_groups
from taskloom.errors import DataError


def targets(**settings) -> np.ndarray:
    data = planted_groups(**settings).data
    return np.stack([data.targets[task.name] for task in data.tasks], axis=1)


def test_a_group_spans_as_many_directions_as_it_has_features():
    """Signals of tasks combine the features of their group: 5 tasks on 2 features have rank 2, two groups 4."""
    found = targets(group_sizes=(5, 5), n_rows=300, n_hidden=2, correlation=0.0, noise=0.0)
    assert np.linalg.matrix_rank(found[:, :5], tol=1e-8) == 2
    assert np.linalg.matrix_rank(found, tol=1e-8) == 4


def test_signals_have_unit_variance_and_noise_has_its_own():
    signals = targets(n_rows=4000, noise=0.0)
    assert signals.std(0) == pytest.approx(np.ones(6))
    noisy = targets(n_rows=4000, noise=0.5)
    assert noisy.var(0) == pytest.approx(np.full(6, 1.25), rel=0.1)


def test_tasks_of_a_group_are_alike_as_far_as_asked():
    within, across = [], []
    for seed in range(100):
        found = np.corrcoef(
            targets(n_rows=200, n_hidden=20, gain=0.5, correlation=0.8, noise=0.0, seed=seed), rowvar=False
        )
        within.append(found[0, 1])
        across.append(found[0, 3])
    assert np.mean(within) == pytest.approx(0.8, abs=0.1)
    assert np.mean(across) == pytest.approx(0.0, abs=0.15)


def test_seeds():
    assert np.array_equal(targets(n_rows=20), targets(n_rows=20))
    assert not np.array_equal(targets(n_rows=20), targets(n_rows=20, seed=1))


def test_groups_are_named():
    problem = planted_groups((1, 2), n_rows=20)
    assert [task.name for task in problem.data.tasks] == ["a1", "b1", "b2"]
    assert problem.groups == (0, 1, 1)


@pytest.mark.parametrize(
    "settings",
    [
        {"group_sizes": ()},
        {"group_sizes": (2, 0)},
        {"n_rows": 1},
        {"n_hidden": 0},
        {"correlation": 1.5},
        {"noise": -1.0},
        {"gain": 0.0},
    ],
    ids=str,
)
def test_parameters_are_checked(settings):
    with pytest.raises(DataError, match="found"):
        planted_groups(**settings)
