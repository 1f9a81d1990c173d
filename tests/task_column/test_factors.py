from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from taskloom.errors import DataError
from taskloom.task_column import fit_rows, loss_factors

X = np.eye(4)
Y = np.array([[1.0, 1.0, np.nan], [2.0, np.nan, np.nan], [3.0, 1.0, np.nan], [4.0, np.nan, np.nan]])


def test_samples_or_tasks_count_the_same() -> None:
    rows = fit_rows(Ridge(), X, y=Y[:, :2])
    np.testing.assert_allclose(loss_factors(rows), [2 / 6, 2 / 6])
    np.testing.assert_allclose(loss_factors(rows, "task"), [1 / 4, 1 / 2])
    np.testing.assert_allclose(loss_factors(rows, [8.0, 3.0]), [2.0, 1.5])


def test_sample_weights_count() -> None:
    rows = fit_rows(Ridge(), X, y=Y[:, :2], sample_weight=[1.0, 2.0, 1.0, 2.0])
    np.testing.assert_allclose(loss_factors(rows), [2 / 8, 2 / 8])
    np.testing.assert_allclose(loss_factors(rows, "task"), [1 / 6, 1 / 2])


@pytest.mark.filterwarnings("ignore:no labels")
def test_a_task_without_labels_does_not_count() -> None:
    rows = fit_rows(Ridge(), X, y=Y)
    np.testing.assert_allclose(loss_factors(rows), [2 / 6, 2 / 6, 0.0])
    np.testing.assert_allclose(loss_factors(rows, "task"), [1 / 4, 1 / 2, 0.0])


def test_equal_tasks_make_all_ways_equal() -> None:
    rows = fit_rows(Ridge(), X, y=np.column_stack([Y[:, 0]] * 3))
    for way in ("sample", "task", np.ones(3)):
        np.testing.assert_allclose(loss_factors(rows, way), np.full(3, 1 / 4))


@pytest.mark.parametrize("wrong", ["rows", [1.0], [1.0, -1.0], [1.0, 0.0], [1.0, np.inf], None, "2"])
def test_other_weights_are_refused(wrong: Any) -> None:
    with pytest.raises(DataError, match="loss_weights"):
        loss_factors(fit_rows(Ridge(), X, y=Y[:, :2]), wrong)
