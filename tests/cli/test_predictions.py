"""Predictions become columns of a file."""

from __future__ import annotations

from pathlib import Path

import narwhals as nw
import numpy as np
import pytest

from taskloom.cli._predictions import check_format, prediction_columns, write_columns
from taskloom.errors import ExportError
from taskloom.task import Binary, Multiclass, Regression, Task

TASKS = (
    Task(name="가격 / m2", kind=Regression()),
    Task(name="sold", kind=Binary(("no", "yes"))),
    Task(name="colour", kind=Multiclass(3, ("red", "green", "blue"))),
)
PREDICTIONS = {
    "가격 / m2": np.array([1.5, -2.0]),
    "sold": np.array([0.25, 0.75]),
    "colour": np.array([[0.2, 0.5, 0.3], [0.7, 0.1, 0.2]]),
}


def test_each_task_gives_its_value_and_each_class_its_probability():
    columns = prediction_columns(TASKS, PREDICTIONS)
    assert list(columns) == [
        "가격 / m2",
        "sold",
        "sold: probability of no",
        "sold: probability of yes",
        "colour",
        "colour: probability of red",
        "colour: probability of green",
        "colour: probability of blue",
    ]
    assert columns["sold"].tolist() == ["no", "yes"]
    assert columns["sold: probability of no"].tolist() == [0.75, 0.25]
    assert columns["colour"].tolist() == ["green", "red"]


@pytest.mark.parametrize("name", ["predictions.csv", "predictions.parquet", "PREDICTIONS.CSV"])
def test_a_file_is_read_back_the_same(tmp_path, name):
    columns = prediction_columns(TASKS, PREDICTIONS)
    file = tmp_path / name
    write_columns(columns, file)
    read = nw.read_csv if file.suffix.lower() == ".csv" else nw.read_parquet
    frame = read(str(file), backend="polars")
    assert frame.columns == list(columns)
    assert frame["sold"].to_list() == ["no", "yes"]
    np.testing.assert_array_equal(frame["가격 / m2"].to_numpy(), PREDICTIONS["가격 / m2"])
    assert [found.name for found in tmp_path.iterdir()] == [name]


def test_another_ending_is_refused():
    with pytest.raises(ExportError, match=r"the ending '.xlsx' is not known"):
        check_format(Path("predictions.xlsx"))


def test_rows_of_several_data_sets_have_one_prediction_each():
    tasks = tuple(Task(name=name, kind=Binary(("no", "yes"))) for name in ("서울", "north"))
    nan = np.nan
    predictions = {"서울": np.array([0.25, nan, 0.75]), "north": np.array([nan, 0.5625, nan])}
    columns = prediction_columns(tasks, predictions, task_ids=np.array([0, 1, 0]))
    assert {name: column.tolist() for name, column in columns.items()} == {
        "task": ["서울", "north", "서울"],
        "prediction": ["no", "yes", "yes"],
        "probability of no": [0.75, 0.4375, 0.25],
        "probability of yes": [0.25, 0.5625, 0.75],
    }
