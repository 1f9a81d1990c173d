from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array, issparse

from taskloom.errors import DataError, TaskError
from taskloom.task_column import stack_tasks, unstack_tasks

XS = [np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, 6.0]])]
YS = [np.array([0.1]), np.array([0.2, 0.3])]


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=5), seed=st.integers(0, 100))
def test_there_and_back(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    Xs, ys = [rng.normal(size=(n, 3)) for n in sizes], [rng.normal(size=n) for n in sizes]
    X, y = stack_tasks(Xs, ys)
    assert X.shape == (sum(sizes), 4)
    back, targets, labels = unstack_tasks(X, y)
    assert labels.tolist() == list(range(len(sizes)))
    for found, given_table, target, given_target in zip(back, Xs, targets, ys, strict=True):
        np.testing.assert_array_equal(found, given_table)
        np.testing.assert_array_equal(target, given_target)


def test_text_labels_make_a_table_of_objects() -> None:
    X, _ = stack_tasks(XS, YS, labels=["maths", "art"])
    assert X.dtype == object
    assert X[:, 0].tolist() == ["maths", "art", "art"]
    _, _, labels = unstack_tasks(X, np.concatenate(YS))
    assert labels.tolist() == ["art", "maths"]


@pytest.mark.parametrize("library", [pd, pl], ids=["pandas", "polars"])
def test_frames_stay_frames(library: Any) -> None:
    frames = [library.DataFrame({"a": X[:, 0], "b": X[:, 1]}) for X in XS]
    X, y = stack_tasks(frames, YS, labels=["x", "y"], name="school")
    assert list(X.columns) == ["school", "a", "b"]
    assert isinstance(X, library.DataFrame)
    Xs, ys, labels = unstack_tasks(X, y, task_feature="school")
    assert list(Xs[1].columns) == ["a", "b"]
    assert np.asarray(Xs[1]).tolist() == XS[1].tolist()
    assert ys[1].tolist() == [0.2, 0.3]
    assert labels.tolist() == ["x", "y"]
    with pytest.raises(DataError, match="choose another name="):
        stack_tasks(frames, YS, name="a")


def test_sparse_tables_stay_sparse() -> None:
    X, y = stack_tasks([csr_array(one) for one in XS], YS, labels=[7, 3])
    assert issparse(X)
    assert X.toarray()[:, 0].tolist() == [7, 3, 3]
    Xs, _, labels = unstack_tasks(X, y)
    assert labels.tolist() == [3, 7]
    assert Xs[1].toarray().tolist() == XS[0].tolist()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((XS, YS[:1], None), DataError, "Xs has 2 tables and ys has 1 vectors"),
        (([], [], None), DataError, "0 tables"),
        ((XS, YS[::-1], None), DataError, r"task 0: its table has shape \(1, 2\) and its y \(2,\)"),
        (([XS[0], XS[1][:, :1]], YS, None), DataError, "task 1 has 1 columns and task 0 has 2"),
        ((XS, YS, ["a"]), TaskError, "one label for each of the 2 tasks"),
        ((XS, YS, ["a", "a"]), TaskError, "not different"),
    ],
    ids=["number", "none", "rows", "columns", "labels", "same labels"],
)
def test_what_does_not_fit_is_named(arguments: Any, error: type[Exception], message: str) -> None:
    Xs, ys, labels = arguments
    with pytest.raises(error, match=message):
        stack_tasks(Xs, ys, labels=labels)
    with pytest.raises(DataError, match="X has 2 rows and y has 1"):
        unstack_tasks([[0, 1.0], [1, 2.0]], [1.0])
