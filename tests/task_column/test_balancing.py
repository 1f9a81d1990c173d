from __future__ import annotations

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_sample_weight

from taskloom.errors import DataError
from taskloom.task_column import balanced_weights

RNG = np.random.default_rng(0)
TASKS = RNG.integers(0, 3, 40)
Y = np.where(RNG.random(40) < 0.3, "yes", "no")


def test_it_is_that_of_scikit_learn_in_each_task() -> None:
    found = balanced_weights(np.column_stack([TASKS, np.zeros(40)]), Y)
    for task in range(3):
        rows = task == TASKS
        np.testing.assert_allclose(found[rows], compute_sample_weight("balanced", Y[rows]))
        assert found[rows].sum() == pytest.approx(rows.sum())
    alone = balanced_weights(np.zeros((40, 1)), Y, task_feature=None)
    np.testing.assert_allclose(alone, compute_sample_weight("balanced", Y))


def test_lengths() -> None:
    with pytest.raises(DataError, match="X has 1 rows and y has 2"):
        balanced_weights([[0, 1.0]], [0, 1])
