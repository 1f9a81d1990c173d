"""MultiTaskData from arrays, tasks, frames and loaders."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from taskloom.data.multitask import MultiTaskData
from taskloom.errors import DataError, TaskError
from taskloom.task import Binary, Multiclass, Regression, Task

X = np.arange(12.0).reshape(6, 2)


def both(**changes):
    y = {"a": [1.0, 2.0, None, 4.0, 5.0, 6.0], "b": ["no", "yes", "no", None, "yes", "no"]}
    return MultiTaskData.from_arrays(X, {**y, **changes}, {"a": Regression(), "b": Binary(("no", "yes"))})


def test_from_arrays_encodes_and_masks():
    data = both()
    assert (data.layout, data.n_rows, data.n_features, data.task_ids) == ("multi_label", 6, 2, None)
    assert data.targets["a"].dtype == np.float64
    assert data.targets["b"].tolist() == [0, 1, 0, -1, 1, 0]
    assert data.mask["a"].tolist() == [True, True, False, True, True, True]


def test_immutable_and_independent_of_the_users_arrays():
    inputs, target = X.copy(), np.arange(6.0)
    data = MultiTaskData.from_arrays(
        inputs, {"a": target}, {"a": Regression()}, groups=np.arange(6), times=np.arange(6.0)
    )
    inputs[0, 0] = target[0] = 99.0
    assert data.inputs[0, 0] == 0.0
    assert data.targets["a"][0] == 0.0
    for array in (data.inputs, data.targets["a"], data.mask["a"], data.groups, data.times):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    with pytest.raises(AttributeError):
        data.n_rows = 3


@pytest.mark.parametrize(
    ("kind", "values", "codes"),
    [
        (Multiclass(3), [0, 1, 2], [0, 1, 2]),
        (Multiclass(3), [0.0, np.nan, 2.0], [0, -1, 2]),
        (Multiclass(3), ["0", "2", None], [0, 2, -1]),
        (Multiclass(3, ("1", "2", "3")), [1, 2, 3], [0, 1, 2]),
        (Multiclass(3, ("x", "y", "z")), ["2", "0", None], [2, 0, -1]),
        (Binary(), [True, False, True], [1, 0, 1]),
        (Binary(), [1, 0, -100], [1, 0, -1]),
        (Binary(("False", "True")), np.array([True, False, None], dtype=object), [1, 0, -1]),
    ],
)
def test_class_encodings(kind, values, codes):
    data = MultiTaskData.from_arrays(np.zeros((3, 1)), {"a": values}, {"a": kind})
    assert data.targets["a"].tolist() == codes


def test_masks_and_masked_arrays():
    data = MultiTaskData.from_arrays(
        X,
        {"a": np.ma.MaskedArray(np.arange(6.0), mask=[0, 0, 0, 0, 0, 1])},
        {"a": Regression()},
        mask={"a": [1, 0, 1, 1, 1, 1]},
    )
    assert data.mask["a"].tolist() == [True, False, True, True, True, False]
    assert np.isnan(data.targets["a"][[1, 5]]).all()


@pytest.mark.parametrize(
    ("y", "tasks", "message"),
    [
        ({"a": [1.0] * 5}, {"a": Regression()}, r"shape \(5,\), expected \(6,\)"),
        ({"a": np.zeros((6, 2))}, {"a": Regression()}, r"expected \(6,\)"),
        ({"aa": [1.0] * 6}, {"aaa": Regression()}, "aaa"),
        ({}, {"a": Regression()}, "no entry for task 'a'"),
        ({"a": ["x"] * 6}, {"a": Regression()}, "'x'"),
        ({"a": [np.inf] * 6}, {"a": Regression()}, "6 infinite values"),
        ({"a": [7] * 6}, {"a": Multiclass(3)}, "3 classes"),
        ({"a": ["yess"] * 6}, {"a": Binary(("no", "yes"))}, "Did you mean 'yes'"),
    ],
)
def test_from_arrays_refuses(y, tasks, message):
    with pytest.raises(DataError, match=message):
        MultiTaskData.from_arrays(X, y, tasks)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.zeros(6), r"reshape\(-1, 1\)"),
        (np.array([["a"]] * 6), "from_frame"),
        (np.full((6, 2), np.inf), "infinite"),
    ],
)
def test_bad_inputs(inputs, message):
    with pytest.raises(DataError, match=message):
        MultiTaskData.from_arrays(inputs, {"a": np.zeros(6)}, {"a": Regression()})


def test_from_tasks_has_rows_of_each_task():
    data = MultiTaskData.from_tasks(
        {"학교 1/a": (X[:2], [1.0, 2.0]), "b": (X[2:], [3.0, None, 5.0, 6.0])},
        groups={"학교 1/a": [1, 2], "b": [1, 2, 3, 4]},
    )
    assert (data.layout, data.n_rows, data.common_target) == ("multi_data_set", 6, True)
    assert data.task_ids.tolist() == [0, 0, 1, 1, 1, 1]
    assert data.mask["b"].tolist() == [False, False, True, False, True, True]
    assert data.groups.tolist() == [0, 1, 0, 1, 2, 3]
    own = MultiTaskData.from_tasks({"a": (X[:2], [0, 1]), "b": (X, np.arange(6.0))}, {"a": Binary(), "b": Regression()})
    assert not own.common_target
    assert own.targets["a"].tolist() == [0, 1, -1, -1, -1, -1, -1, -1]


def test_from_tasks_refuses_different_features():
    with pytest.raises(DataError, match=r"'b'.*same features"):
        MultiTaskData.from_tasks({"a": (np.zeros((3, 2)), np.zeros(3)), "b": (np.zeros((3, 4)), np.zeros(3))})
    with pytest.raises(DataError, match="no task"):
        MultiTaskData.from_tasks({})


def test_only_and_take():
    data = both()
    assert [task.name for task in data.only("b").tasks] == ["b"]
    assert [task.name for task in data.only(["b", "a"]).tasks] == ["b", "a"]
    assert data.take(np.array([False, True, False, False, True, False])).targets["b"].tolist() == [1, 1]
    with pytest.raises(TaskError, match="Did you mean"):
        MultiTaskData.from_arrays(X, {"height": np.zeros(6)}, {"height": Regression()}).only("hieght")
    with pytest.raises(TaskError, match="duplicate"):
        data.only(["a", "a"])
    several = MultiTaskData.from_tasks({name: (X + k, np.full(6, float(k))) for k, name in enumerate("abc")})
    part = several.only(["c", "a"])
    assert part.n_rows == 12
    assert part.task_ids.tolist() == [1] * 6 + [0] * 6
    assert several.rows_of("b").tolist() == list(range(6, 12))
    assert np.nanmax(part.targets["c"]) == 2.0


def test_fingerprint_follows_content():
    assert both().fingerprint == both().fingerprint
    assert both().fingerprint != both(a=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).fingerprint
    assert both().only("a").fingerprint != both().only("b").fingerprint
    assert both().take(np.arange(6)).fingerprint == both().fingerprint
    # stored: must not change between versions without notice, results on disk are compared by it
    assert both().fingerprint == "b8c3912663724360c28752a23f6895e7"


def test_survives_pickling_for_worker_processes():
    data = both()
    assert pickle.loads(pickle.dumps(data)).fingerprint == data.fingerprint


def test_from_loader():
    torch = pytest.importorskip("torch")
    inputs = torch.arange(10.0).reshape(5, 2)
    batches = [
        (inputs[:3], {"a": torch.tensor([1.0, float("nan"), 3.0]), "b": torch.tensor([0, -100, 1])}),
        (inputs[3:], {"a": torch.tensor([4.0, 5.0])}, {"a": torch.tensor([True, False])}),
    ]
    data = MultiTaskData.from_loader(batches, {"a": Regression(), "b": Binary()})
    assert data.mask["a"].tolist() == [True, False, True, True, False]
    assert data.mask["b"].tolist() == [True, False, True, False, False]
    with pytest.raises(DataError, match="no batch"):
        MultiTaskData.from_loader([], {"a": Regression()})
    with pytest.raises(DataError, match="pair"):
        MultiTaskData.from_loader([inputs], {"a": Regression()})
    with pytest.raises(DataError, match="no task"):
        MultiTaskData.from_loader([(inputs, {"c": inputs[:, 0]})], {"a": Regression()})
    with pytest.raises(DataError, match="shape"):
        MultiTaskData.from_loader([(inputs, {}), (inputs[:, :1], {})], {"a": Regression()})


@pytest.mark.parametrize("library", ["polars", "pandas", "pyarrow"])
def test_from_frame_of_any_library(library):
    module = pytest.importorskip(library)
    random = np.random.default_rng(0)
    columns = {
        "size": random.normal(size=40).tolist(),
        "colour": ["red", "blue", None, "red"] * 10,
        "price": random.normal(size=40).tolist(),
        "sold": [True, False] * 20,
    }
    frame = module.table(columns) if library == "pyarrow" else module.DataFrame(columns)
    data = MultiTaskData.from_frame(frame, targets=["price", "sold"])
    assert [(column.name, column.kind) for column in data.features] == [("size", "numeric"), ("colour", "categorical")]
    assert data.features[1].categories == ("blue", "red")
    assert data.features[1].is_missing.sum() == 10
    assert data.tasks[1].kind == Binary(("False", "True"))


def test_frame_targets_given_as_tasks():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"x": np.random.default_rng(0).normal(size=40), "stars": [1, 2, 3, 4] * 10})
    task = Task(name="how good", kind=Regression(), target="stars")
    data = MultiTaskData.from_frame(frame, targets=task)
    assert data.targets["how good"][:4].tolist() == [1.0, 2.0, 3.0, 4.0]
    with pytest.raises(DataError, match="data frame is needed"):
        MultiTaskData.from_frame([1, 2], targets="a")


def test_labelled_and_describe_print():
    data = both()
    assert data.labelled().records() == [
        {"task": "a", "part": "all", "rows": 5},
        {"task": "b", "part": "all", "rows": 5},
    ]
    text = str(data.describe())
    assert "regression" in text
    assert "2 classes: no (3), yes (2)" in text
    assert repr(data).startswith("MultiTaskData(multi_label, 2 tasks: a, b")


def test_checked_refuses_what_cannot_be_learnt():
    many = np.arange(40.0)
    inputs = np.random.default_rng(0).normal(size=(40, 2))

    def checked(target, kind):
        return MultiTaskData.from_arrays(inputs, {"a": target}, {"a": kind}).checked()

    with pytest.raises(DataError, match="label in no row"):
        checked(np.full(40, np.nan), Regression())
    with pytest.raises(DataError, match=r"fewer than 10 labelled rows: a \(9\)"):
        checked(np.where(many < 9, many, np.nan), Regression())
    with pytest.raises(DataError, match="constant target"):
        checked(np.ones(40), Regression())
    with pytest.raises(DataError, match=r"constant target.*-1"):
        checked(np.where(many < 20, -1, 1).astype(int), Binary())
    with pytest.raises(DataError, match="class of one member: '2'"):
        checked(np.where(many == 3, 2, many % 2).astype(int), Multiclass(3))
    assert checked(many, Regression()).notices == ()


def test_checked_names_all_small_tasks():
    parts = {f"task {k}": (np.random.default_rng(k).normal(size=(5 + k, 1)), np.arange(5.0 + k)) for k in range(8)}
    with pytest.raises(DataError, match=r"5 tasks have fewer than 10.*task 0 \(5\).*task 4 \(9\)"):
        MultiTaskData.from_tasks(parts).checked()
