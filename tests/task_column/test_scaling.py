from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from taskloom.errors import DataError, TaskError
from taskloom.task_column import TaskStandardScaler

RNG = np.random.default_rng(3)
TASKS = np.array([0, 0, 0, 1, 1, 1, 1])
FEATURES = RNG.normal(size=(7, 2)) * [1.0, 20.0] + TASKS[:, None]
X = np.column_stack([FEATURES[:, 0], TASKS, FEATURES[:, 1]])


def test_scikit_learn_finds_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_estimator(TaskStandardScaler(), on_skip=None)


def test_without_tasks_it_is_the_scaler_of_scikit_learn() -> None:
    np.testing.assert_allclose(TaskStandardScaler().fit_transform(FEATURES), StandardScaler().fit_transform(FEATURES))


def test_the_task_column_stays() -> None:
    scaled = TaskStandardScaler(1).fit_transform(X)
    np.testing.assert_array_equal(scaled[:, 1], TASKS)
    np.testing.assert_allclose(scaled[:, [0, 2]], StandardScaler().fit_transform(FEATURES))


def test_each_task_by_itself() -> None:
    scaler = TaskStandardScaler(1, per_task=True).fit(X)
    scaled = scaler.transform(X)
    for task in (0, 1):
        own = FEATURES[task == TASKS]
        np.testing.assert_allclose(scaled[task == TASKS][:, [0, 2]], StandardScaler().fit_transform(own))
    # statistics are those of the training rows
    new = np.array([[1.0, 1.0, 2.0]])
    expected = (new[:, [0, 2]] - scaler.task_mean_[1]) / scaler.task_scale_[1]
    np.testing.assert_allclose(scaler.transform(new)[:, [0, 2]], expected)


@pytest.mark.parametrize("library", [pd, pl], ids=["pandas", "polars"])
def test_frames_stay_frames_with_their_text(library: Any) -> None:
    frame = library.DataFrame({"a": FEATURES[:, 0], "school": list("xxxyyyy"), "b": FEATURES[:, 1]})
    scaled = TaskStandardScaler("school").fit_transform(frame)
    assert isinstance(scaled, library.DataFrame)
    assert list(scaled.columns) == ["a", "school", "b"]
    assert list(scaled["school"]) == list("xxxyyyy")
    np.testing.assert_allclose(np.asarray(scaled[["a", "b"]]), StandardScaler().fit_transform(FEATURES))


def test_pandas_on_request() -> None:
    scaled = TaskStandardScaler(1).set_output(transform="pandas").fit_transform(X)
    assert list(scaled.columns) == ["x0", "x1", "x2"]


def test_each_task_where_there_are_none() -> None:
    with pytest.raises(DataError, match="per_task=True does nothing beside task_feature=None; leave it out, or name"):
        TaskStandardScaler(per_task=True).fit(FEATURES)


def test_unseen_tasks() -> None:
    new = np.array([[1.0, 5.0, 2.0]])
    assert TaskStandardScaler(1).fit(X).transform(new)[0, 1] == 5  # one scale for all: nothing to miss
    with pytest.raises(TaskError, match="5"):
        TaskStandardScaler(1, per_task=True).fit(X).transform(new)
    with pytest.raises(DataError, match="per_task='no'; expected True or False"):
        TaskStandardScaler(1, per_task="no").fit(X)  # type: ignore[arg-type]
    mean = TaskStandardScaler(1, per_task=True, unknown_task="mean").fit(X)
    np.testing.assert_allclose(mean.transform(new), TaskStandardScaler(1).fit(X).transform(new))
    with pytest.raises(DataError, match="unknown_task"):
        TaskStandardScaler(1, unknown_task="guess").fit(X)


def test_constant_features_and_single_rows_are_left_alone() -> None:
    table = np.column_stack([[0, 1, 1], [0.1, 0.1, 0.1], [1.0, 2.0, 3.0]])
    scaled = TaskStandardScaler(0, per_task=True).fit_transform(table)
    np.testing.assert_allclose(scaled[:, 1], 0, atol=1e-12)
    assert scaled[0, 2] == 0


def test_nothing_is_changed_in_place() -> None:
    before = X.copy()
    TaskStandardScaler(1).fit_transform(X)
    np.testing.assert_array_equal(before, X)
