from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskloom.errors import DataError
from taskloom.task_column import TaskStratifiedKFold


def folds_of(splitter: TaskStratifiedKFold, X: Any, y: Any = None) -> np.ndarray:
    folds = np.full(len(X), -1)
    for number, (train, test) in enumerate(splitter.split(X, y)):
        assert (folds[test] == -1).all(), "a row is tested twice"
        assert sorted([*train, *test]) == list(range(len(X)))
        folds[test] = number
    return folds


@given(
    counts=st.lists(st.integers(2, 12), min_size=1, max_size=6),
    n_splits=st.integers(2, 5),
    shuffle=st.booleans(),
    seed=st.integers(0, 50),
)
def test_every_task_is_spread_evenly(counts: list[int], n_splits: int, shuffle: bool, seed: int) -> None:
    tasks = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    if len(tasks) < n_splits:
        return
    X = np.column_stack([tasks, np.arange(len(tasks))])
    splitter = TaskStratifiedKFold(n_splits, shuffle=shuffle, random_state=seed if shuffle else None)
    folds = folds_of(splitter, X)
    assert (folds >= 0).all()
    for task, count in enumerate(counts):
        sizes = np.bincount(folds[tasks == task], minlength=n_splits)
        assert sizes.max() - sizes.min() <= 1
        if count < n_splits:
            assert (sizes > 0).sum() == count
    assert np.ptp(np.bincount(folds, minlength=n_splits)) <= 1


def test_classes_are_spread_within_tasks() -> None:
    tasks, y = np.repeat([0, 1], 20), np.tile([0, 0, 0, 1], 10)
    folds = folds_of(TaskStratifiedKFold(5), np.column_stack([tasks, y]), y)
    for task in (0, 1):
        for fold in range(5):
            chosen = y[(tasks == task) & (folds == fold)]
            assert (len(chosen), chosen.sum()) == (4, 1)


def test_whole_numbers_that_are_measurements_are_no_classes() -> None:
    tasks, y = np.repeat([0, 1], 10), np.arange(20)
    X = np.column_stack([tasks, y])
    assert folds_of(TaskStratifiedKFold(5), X, y).tolist() == folds_of(TaskStratifiedKFold(5), X).tolist()


def test_seeds_decide() -> None:
    X = np.column_stack([np.repeat([0, 1], 15), np.arange(30)])
    one, same, other = (folds_of(TaskStratifiedKFold(3, shuffle=True, random_state=s), X) for s in (1, 1, 2))
    assert one.tolist() == same.tolist()
    assert one.tolist() != other.tolist()


def test_a_task_of_one_row_is_named() -> None:
    X = np.array([[0, 1.0], [0, 2.0], [1, 3.0]])
    with pytest.warns(UserWarning, match=r"tasks of one row: 1\. .*unknown_task=\"mean\""):
        list(TaskStratifiedKFold(2).split(X))


def test_without_a_task_column_it_deals_rows() -> None:
    assert folds_of(TaskStratifiedKFold(2, task_feature=None), np.zeros((5, 1))).tolist() == [0, 1, 0, 1, 0]


@pytest.mark.parametrize("n_splits", [1, 0, 2.5, True])
def test_numbers_of_folds(n_splits: Any) -> None:
    with pytest.raises(DataError, match="n_splits"):
        TaskStratifiedKFold(n_splits)


def test_more_folds_than_rows() -> None:
    with pytest.raises(DataError, match="n_splits=5 but X has 3 rows"):
        list(TaskStratifiedKFold(5).split(np.zeros((3, 2))))
    with pytest.raises(DataError, match="random_state does nothing"):
        TaskStratifiedKFold(2, random_state=0)
    with pytest.raises(DataError, match="shuffle='no'; expected True or False"):
        TaskStratifiedKFold(2, shuffle="no")  # type: ignore[arg-type]
