from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.sparse import csc_array, csr_matrix
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import DataConversionWarning

from taskloom.errors import DataError, TaskError
from taskloom.task_column import fit_rows, predict_rows


class Regressor(RegressorMixin, BaseEstimator):
    def __init__(self, task_feature: Any = None) -> None:
        self.task_feature = task_feature


class Classifier(ClassifierMixin, Regressor):
    pass


FEATURES = np.arange(12.0).reshape(6, 2)
TASKS = np.array([1, 0, 1, 0, 2, 2])
Y = np.arange(6.0)
LONG = np.column_stack([TASKS, FEATURES])


def test_rows_are_sorted_by_task() -> None:
    estimator = Regressor(0)
    rows = fit_rows(estimator, LONG, y=Y)
    assert rows.tasks.tolist() == [0, 1, 2]
    assert rows.tasks.dtype == np.int64  # the table is of floats, the labels are not
    assert [one.tolist() for one in rows.rows] == [[1, 3], [0, 2], [4, 5]]
    assert rows.designs[1].tolist() == FEATURES[[0, 2]].tolist()
    assert rows.targets[1].tolist() == [0.0, 2.0]
    assert (rows.n_tasks, rows.n_features, rows.output_ndim, rows.is_shared) == (3, 2, 1, False)
    assert estimator.n_features_in_ == 3


@pytest.mark.parametrize("task_feature", [1, -2], ids=["from the front", "from the back"])
def test_the_column_may_be_anywhere(task_feature: int) -> None:
    table = np.column_stack([FEATURES[:, 0], TASKS, FEATURES[:, 1]])
    assert fit_rows(Regressor(task_feature), table, y=Y).designs[0].tolist() == FEATURES[[1, 3]].tolist()


@pytest.mark.parametrize("library", [pd, pl], ids=["pandas", "polars"])
def test_frames_with_names_and_text(library: Any) -> None:
    frame = library.DataFrame({"a": FEATURES[:, 0], "school": list("babacc"), "b": FEATURES[:, 1]})
    estimator = Regressor("school")
    rows = fit_rows(estimator, frame, y=Y)
    assert rows.tasks.tolist() == ["a", "b", "c"]
    assert rows.designs[0].tolist() == FEATURES[[1, 3]].tolist()
    assert list(estimator.feature_names_in_) == ["a", "school", "b"]
    estimator.tasks_ = rows.tasks
    assert predict_rows(estimator, frame[4:]).positions.tolist() == [2, 2]
    as_array = np.array([[0.0, "b", 1.0]], dtype=object)  # names are known from fit
    with pytest.warns(UserWarning, match="feature names"):
        assert predict_rows(estimator, as_array).positions.tolist() == [1]


def test_text_in_an_array_of_objects() -> None:
    table = np.column_stack([np.array(list("babacc"), dtype=object), FEATURES])
    rows = fit_rows(Regressor(0), table, y=Y)
    assert rows.tasks.tolist() == ["a", "b", "c"]
    assert rows.designs[0].dtype == np.float64


def test_sparse_tables_stay_sparse() -> None:
    rows = fit_rows(Regressor(0), csr_matrix(LONG), y=Y, accept_sparse=True)
    assert all(isinstance(design, csc_array) for design in rows.designs)
    assert rows.designs[1].toarray().tolist() == FEATURES[[0, 2]].tolist()
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        fit_rows(Regressor(0), csr_matrix(LONG), y=Y)


def test_one_target_is_one_task_that_shares_everything() -> None:
    X = FEATURES.copy()
    rows = fit_rows(Regressor(), X, y=Y)
    assert rows.is_shared
    assert rows.designs[0] is X  # nothing is copied
    assert rows.output_ndim == 1


def test_a_shared_table_with_gaps() -> None:
    targets = np.column_stack([Y, np.where(Y > 2, np.nan, Y)])
    rows = fit_rows(Regressor(), FEATURES, y=targets)
    assert not rows.is_shared
    assert rows.output_ndim == 2
    assert [len(one) for one in rows.targets] == [6, 3]
    full = fit_rows(Regressor(), FEATURES, y=np.column_stack([Y, Y]))
    assert full.is_shared
    assert full.designs[0] is full.designs[1]


def test_weight_zero_leaves_a_row_out() -> None:
    weights = np.array([0.0, 1.0, 2.0, 1.0, 1.0, 1.0])
    long = fit_rows(Regressor(0), LONG, y=Y, sample_weight=weights)
    assert [one.tolist() for one in long.rows] == [[1, 3], [2], [4, 5]]
    assert long.sample_weights[1].tolist() == [2.0]
    shared = fit_rows(Regressor(), FEATURES, y=np.column_stack([Y, Y]), sample_weight=weights)
    assert shared.is_shared
    assert shared.rows[0].tolist() == [1, 2, 3, 4, 5]
    of_both = np.column_stack([weights, np.ones(6)])
    assert not fit_rows(Regressor(), FEATURES, y=np.column_stack([Y, Y]), sample_weight=of_both).is_shared


def test_a_task_without_a_label_stays_and_is_named() -> None:
    with pytest.warns(UserWarning, match="no labels .* for the tasks 1"):
        rows = fit_rows(Regressor(), FEATURES, y=np.column_stack([Y, np.full(6, np.nan)]))
    assert rows.observed.tolist() == [True, False]
    with pytest.warns(UserWarning, match="no labels .* for the tasks 0"):
        rows = fit_rows(Regressor(0), LONG, y=Y, sample_weight=(TASKS > 0).astype(float))
    assert rows.tasks.tolist() == [0, 1, 2]


def test_classes_become_signs() -> None:
    rows = fit_rows(Classifier(0), LONG, y=np.array(list("nynyyy")))
    assert rows.classes.tolist() == ["n", "y"]
    assert [one.tolist() for one in rows.targets] == [[1.0, 1.0], [-1.0, -1.0], [1.0, 1.0]]
    assert rows.of_one_class.tolist() == [True, True, True]
    gaps = fit_rows(Classifier(), FEATURES, y=np.column_stack([Y > 1, np.where(Y > 4, np.nan, Y > 2)]))
    assert gaps.targets[1].tolist() == [-1.0, -1.0, -1.0, 1.0, 1.0]
    assert gaps.of_one_class.tolist() == [False, False]


def test_a_column_for_a_vector_is_taken_with_a_warning() -> None:
    with pytest.warns(DataConversionWarning, match="column-vector"):
        fit_rows(Regressor(0), LONG, y=Y.reshape(-1, 1))
    assert fit_rows(Regressor(), FEATURES, y=Y.reshape(-1, 1)).output_ndim == 2


def test_unknown_tasks_are_marked_or_refused() -> None:
    estimator = Regressor(0)
    estimator.tasks_ = fit_rows(estimator, LONG[:4], y=Y[:4]).tasks
    with pytest.raises(TaskError, match=r"not in the data of fit: 2 \(fitted: 0, 1\).*TaskStratifiedKFold"):
        predict_rows(estimator, LONG)
    assert predict_rows(estimator, LONG, unknown_task="mean").positions.tolist() == [1, 0, 1, 0, -1, -1]
    text = np.column_stack([np.array(["a"], dtype=object), FEATURES[:1]])
    with pytest.raises(TaskError, match="write the labels as in fit"):
        predict_rows(estimator, text)
    with pytest.raises(DataError, match="Reshape your data"):
        predict_rows(estimator, LONG[0])


def with_value(value: Any, *place: int) -> np.ndarray:
    table = LONG.copy()
    table[place] = value
    return table


BAD = {
    "scaled column": (0, LONG / 3, Y, r"non-integer values; was X scaled\? use TaskStandardScaler.*0\.333333 in row 0"),
    "no label of a task": (0, with_value(np.nan, 2, 0), Y, "task column holds nan in row 2"),
    "mixed labels": (0, np.array([["a", 1.0], [1, 2.0]], dtype=object), Y[:2], "mixes text and numbers"),
    "missing text": (0, np.array([["a", 1.0], [None, 2.0]], dtype=object), Y[:2], "1 missing labels .first in row 1"),
    "missing in a frame": (
        "task",
        pd.DataFrame({"task": pd.array(["a", None], dtype="string"), "x": [1.0, 2.0]}),
        Y[:2],
        "1 missing labels .first in row 1",
    ),
    "position too large": (3, LONG, Y, "task_feature=3 but X has 3 columns"),
    "name without names": ("school", LONG, Y, "name of a column, but X has no column names"),
    "truth value": (True, LONG, Y, "expected None, the position or the name"),
    "list of tables": (0, [LONG, LONG], [Y, Y], r"X is a list of 2 arrays.*stack_tasks\(Xs, ys\).*task_feature=0"),
    "three axes": (0, np.stack([LONG, LONG]), Y, r"X is an array of shape \(2, 6, 3\).*stack_tasks"),
    "list of targets": (0, LONG, [Y, Y[:2]], "y is a list of 2 arrays.*stack_tasks"),
    "NaN in X": (0, with_value(np.nan, 1, 1), Y, "Input X contains NaN"),
    "infinity in X": (0, with_value(np.inf, 1, 1), Y, "Input X contains infinity"),
    "NaN in y": (0, LONG, np.where(Y == 3, np.nan, Y), r"Input y contains NaN. 1 rows have no label \(first: row 3\)"),
    "infinity in y": (0, LONG, np.where(Y == 3, np.inf, Y), r"Input y contains infinity.*First at \(3,\)"),
    "columns of y": (0, LONG, np.column_stack([Y, Y]), "has one label; expected .n,.. If all tasks share"),
    "all missing": (None, FEATURES, np.full((6, 2), np.nan), "every label of y is missing"),
    "infinity in Y": (None, FEATURES, np.full((6, 2), np.inf), "Input y contains infinity"),
    "lengths": (0, LONG, Y[:-1], "inconsistent numbers of samples"),
    "text for numbers": (0, LONG, list("abcdef"), "y does not hold numbers"),
    "single value": (None, FEATURES, 1.0, "single value|0d array"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_says_what_to_do(name: str) -> None:
    task_feature, X, y, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        fit_rows(Regressor(task_feature), X, y=y)


def test_an_unknown_name_gets_the_nearest() -> None:
    frame = pd.DataFrame(LONG, columns=["school", "a", "b"])
    with pytest.raises(DataError, match="Did you mean 'school'"):
        fit_rows(Regressor("scool"), frame, y=Y)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (-Y, r"sample_weight is negative in row 1 \(-1\)"),
        (0 * Y, "zero for every label"),
        (Y[:-1], r"shape \(5,\); expected \(6,\)"),
        (np.ones((6, 2)), r"shape \(6, 2\); expected \(6,\)"),
        (np.where(Y == 2, np.nan, 1), "sample_weight contains NaN"),
    ],
    ids=["negative", "zero", "short", "two columns", "NaN"],
)
def test_bad_weights_say_what_is_wrong(weights: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_rows(Regressor(0), LONG, y=Y, sample_weight=weights)


def test_objects_are_the_labels_that_they_hold() -> None:
    """Numbers, truth values or text; numbers may be missing where there is one column per task, text may not."""
    signs = fit_rows(Classifier(), FEATURES, y=np.array([0, 1, 1, 0, 1, 0], dtype=object)).targets[0]
    assert signs.tolist() == [-1.0, 1.0, 1.0, -1.0, 1.0, -1.0]
    truth = fit_rows(Classifier(), FEATURES, y=np.array([False, True] * 3, dtype=object))
    assert truth.classes.tolist() == [False, True]
    gaps = np.array([[0, 1], [1, None], [0, 0], [1, 1], [None, 0], [1, 0]], dtype=object)
    assert [len(target) for target in fit_rows(Classifier(), FEATURES, y=gaps).targets] == [5, 5]
    text = np.where(gaps == 1, "yes", "no").astype(object)
    assert fit_rows(Classifier(), FEATURES, y=text).classes.tolist() == ["no", "yes"]
    for y, message in (
        (np.array([None, "a", "b", "a", "b", "a"], dtype=object), r"y contains NaN: 1 labels .* .first at \(0,\)"),
        (np.where(gaps == None, None, text), r"2 labels are missing among text .first at \(1, 1\).*0\.0 and 1\.0"),  # noqa: E711
        (pd.Series(pd.array(["a", None] * 3, dtype="string")), "3 labels are missing among text"),
        (np.array(["a", 1] * 3, dtype=object), "y mixes text and numbers"),
        (np.full(6, None), r"Input y contains NaN. 6 rows have no label"),
    ):
        with pytest.raises(DataError, match=message):
            fit_rows(Classifier(), FEATURES, y=y)
    with pytest.raises(DataError, match="y does not hold numbers"):
        fit_rows(Regressor(), FEATURES, y=pd.Series(pd.array(["a", None] * 3, dtype="string")))


def test_more_than_two_classes_are_refused() -> None:
    with pytest.raises(DataError, match=r"Only binary.*Found the labels 0, 1, 2; all tasks share one pair"):
        fit_rows(Classifier(0), LONG, y=np.array([0, 1, 2, 0, 1, 2]))
    with pytest.raises(ValueError, match="Unknown label type"):
        fit_rows(Classifier(0), LONG, y=Y + 0.5)


# -- arrays of float64 skip general checks; the answers are those of any other form ----------------------------------

WEIGHTS = {
    "none": None,
    "of rows": np.arange(1.0, 7.0),
    "of labels": np.arange(1.0, 13.0).reshape(6, 2),
    "with a zero": np.array([1.0, 0, 1, 1, 1, 1]),
}


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("n_tasks", [1, 2])
def test_arrays_are_read_as_lists_are(name: str, n_tasks: int) -> None:
    targets, weights = np.arange(12.0).reshape(6, 2)[:, :n_tasks], WEIGHTS[name]
    if name == "of labels":
        assert weights is not None
        weights = weights[:, :n_tasks]
    listed = None if weights is None else weights.tolist()
    plain = fit_rows(Regressor(), FEATURES, y=targets, sample_weight=weights)
    other = fit_rows(Regressor(), FEATURES.tolist(), y=targets.tolist(), sample_weight=listed)
    assert (plain.is_shared, plain.output_ndim, plain.n_tasks) == (other.is_shared, 2, n_tasks)
    for one, two in ((plain.targets, other.targets), (plain.sample_weights, other.sample_weights)):
        assert [array.tolist() for array in one] == [array.tolist() for array in two]
    assert [array.tolist() for array in plain.rows] == [array.tolist() for array in other.rows]
    assert [array.tolist() for array in plain.designs] == [array.tolist() for array in other.designs]
    assert all(design is plain.designs[0] for design in plain.designs)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_arrays_with_a_bad_number_are_refused_as_lists_are(value: float) -> None:
    spoilt = FEATURES.copy()
    spoilt[2, 1] = value
    messages = []
    for table in (spoilt, spoilt.tolist()):
        with pytest.raises(ValueError, match="Input X contains") as caught:
            fit_rows(Regressor(), table, y=Y)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_numbers_whose_sum_is_too_large_are_finite() -> None:
    huge = np.full((4, 2), 1e308)
    rows = fit_rows(Regressor(), huge, y=np.full(4, 1e308))
    assert rows.designs[0].tolist() == huge.tolist()
    assert rows.targets[0].tolist() == [1e308] * 4


def test_names_of_an_earlier_frame_are_forgotten() -> None:
    estimator = Regressor()
    fit_rows(estimator, pd.DataFrame(FEATURES, columns=["a", "b"]), y=Y)
    assert estimator.feature_names_in_.tolist() == ["a", "b"]
    fit_rows(estimator, FEATURES, y=Y)
    assert not hasattr(estimator, "feature_names_in_")
    assert estimator.n_features_in_ == 2


def test_a_missing_y_is_named() -> None:
    with pytest.raises(ValueError, match="requires y to be passed"):
        fit_rows(Regressor(), FEATURES, y=None)
