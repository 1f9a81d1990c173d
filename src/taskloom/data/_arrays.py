"""From the targets that people hold - numbers, labels, codes, with gaps - to one encoding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from taskloom.data._columns import number_text, shorten
from taskloom.data.mask import as_array, is_labelled
from taskloom.errors import DataError, nearest
from taskloom.task import Kind, Task, check_tasks

__all__ = [
    "as_inputs",
    "as_tasks",
    "check_names",
    "empty_targets",
    "encode_target",
    "group_codes",
    "join_parts",
    "joined",
    "one_number_per_row",
    "time_numbers",
]


def as_tasks(tasks: Sequence[Task] | Mapping[str, Kind]) -> tuple[Task, ...]:
    """Tasks as they were given, or made from a mapping name -> kind.

    Example:
        >>> from taskloom.task import Regression
        >>> as_tasks({"a": Regression()})[0].name
        'a'
    """
    if isinstance(tasks, Mapping):
        return check_tasks(Task(name=name, kind=kind) for name, kind in tasks.items())
    return check_tasks(tasks)


def as_inputs(inputs: Any, *, owner: str = "X") -> np.ndarray:
    """Check an input array: numbers, at least two axes, nothing infinite.

    Example:
        >>> as_inputs([[1, 2], [3, 4]]).shape
        (2, 2)
    """
    array = np.asarray(as_array(inputs))
    if array.dtype == object or array.dtype.kind not in "fiub":
        raise DataError(
            f"{owner} must hold numbers, found {array.dtype}; use MultiTaskData.from_frame or read_table for columns "
            "of "
            "text, categories and dates"
        )
    if array.ndim < 2:
        raise DataError(
            f"{owner} must have shape (n, features) or (n, ...), found {array.shape}; one feature per sample is "
            f"{owner}.reshape(-1, 1)"
        )
    if array.dtype.kind == "f" and np.isinf(array).any():
        place = np.argwhere(np.isinf(array))[0]
        raise DataError(
            f"{owner} has {int(np.isinf(array).sum())} infinite values (the first at {tuple(int(i) for i in place)}); "
            "numbers must be finite. Replace them, or write NaN where a value is unknown"
        )
    return array


def one_number_per_row(values: Any, n_rows: int, *, name: str) -> np.ndarray:
    """Check the shape of an array that has one entry per row (groups, times, a target)."""
    array = values if isinstance(values, np.ma.MaskedArray) else as_array(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.shape != (n_rows,):
        raise DataError(f"{name} has shape {array.shape}, expected ({n_rows},): one entry per row of the inputs")
    return array


def encode_target(task: Task, values: Any, *, mask: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Encode the targets of one task.

    Args:
        task: whose kind decides: values become float64, NaN where unlabelled; classes int64 codes, -1 where unlabelled.
        values: shape (n,): numbers; for classes the labels of the kind or codes 0..C-1.
        mask: True where labelled.

    Returns:
        targets (n,) and mask (n,).

    Raises:
        DataError: infinite or non-numeric values of a regression; classes that the kind does not know.

    Example:
        >>> from taskloom.task import Binary
        >>> encode_target(Task(name="a", kind=Binary(("no", "yes"))), ["yes", None, "no"])[0].tolist()
        [1, -1, 0]
    """
    classes = task.kind.n_classes > 0
    array = values if isinstance(values, np.ma.MaskedArray) else as_array(values)
    known = is_labelled(array, codes=classes, mask=mask)
    plain = np.asarray(array.data) if isinstance(array, np.ma.MaskedArray) else array
    return (_encode_classes if classes else _encode_numbers)(task, plain, known), known


def _encode_numbers(task: Task, values: np.ndarray, known: np.ndarray) -> np.ndarray:
    encoded = np.full(values.shape, np.nan)
    try:
        encoded[known] = values[known].astype(np.float64)
    except (TypeError, ValueError):
        first = next(value for value in values[known] if not _is_number(value))
        raise DataError(
            f"task {task.name!r} is a {task.kind.name}, but its target holds {first!r}; give numbers, or make the task "
            "Binary or Multiclass"
        ) from None
    infinite = np.isinf(encoded)
    if infinite.any():
        raise DataError(
            f"the target of task {task.name!r} has {int(infinite.sum())} infinite values (the first in data row "
            f"{int(np.flatnonzero(infinite)[0]) + 1}); targets must be finite. Write NaN where the target is unknown"
        )
    return encoded


def _encode_classes(task: Task, values: np.ndarray, known: np.ndarray) -> np.ndarray:
    labels = tuple(getattr(task.kind, "labels", ())) or tuple(str(code) for code in range(task.kind.n_classes))
    encoded = np.full(values.shape, -1, dtype=np.int64)
    chosen = values[known]
    if chosen.size == 0:
        return encoded
    if chosen.dtype == object or chosen.dtype.kind in "US":
        distinct, position = np.unique(np.asarray([_text(value) for value in chosen], dtype=str), return_inverse=True)
        texts = [str(text) for text in distinct]
    else:
        distinct, position = np.unique(chosen, return_inverse=True)
        numbers = distinct.astype(np.float64)
        if np.all((numbers >= 0) & (numbers < task.kind.n_classes) & (numbers == np.floor(numbers))):
            encoded[known] = numbers.astype(np.int64)[position]
            return encoded
        texts = [number_text(number) for number in numbers]
    code_of = {label: code for code, label in enumerate(labels)}
    if not set(texts) <= set(code_of) and all(text.isdigit() and int(text) < len(labels) for text in texts):
        code_of = {text: int(text) for text in texts}  # codes that came as text
    unknown = [text for text in texts if text not in code_of]
    if unknown:
        raise DataError(
            f"task {task.name!r} has {task.kind.n_classes} classes ({shorten(labels, 8)}), but its target holds "
            f"{unknown[0]!r}.{nearest(unknown[0], labels)} Give labels or codes 0 to {task.kind.n_classes - 1}; -1, "
            "None "
            "and NaN mean that a row is not labelled"
        )
    encoded[known] = np.asarray([code_of[text] for text in texts], dtype=np.int64)[position]
    return encoded


def _text(value: object) -> str:
    if isinstance(value, bool | np.bool_):
        return str(value)
    return number_text(float(value)) if isinstance(value, int | float | np.number) else str(value)


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def check_names(given: Mapping[str, Any], tasks: Sequence[Task], *, argument: str, complete: bool = True) -> None:
    names = [task.name for task in tasks]
    for name in given:
        if name not in names:
            raise DataError(f"{argument} has an entry for {name!r}, which is no task.{nearest(str(name), names)}")
    missing = [name for name in names if name not in given] if complete else []
    if missing:
        raise DataError(f"{argument} has no entry for task {missing[0]!r}.{nearest(missing[0], given)}")


def empty_targets(tasks: Sequence[Task], n_rows: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    targets = {
        task.name: np.full(n_rows, -1, dtype=np.int64) if task.kind.n_classes else np.full(n_rows, np.nan)
        for task in tasks
    }
    return targets, {task.name: np.zeros(n_rows, dtype=bool) for task in tasks}


def join_parts(
    parts: Mapping[str, tuple[Any, Any]], tasks: Sequence[Task]
) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray], list[int]]:
    """Inputs of all tasks below each other, targets and masks of that length, and the rows of each task.

    Raises:
        DataError: the tasks have different features, or shapes do not fit.
    """
    arrays = [as_inputs(parts[task.name][0], owner=f"X of task {task.name!r}") for task in tasks]
    for task, array in zip(tasks, arrays, strict=True):
        if array.shape[1:] != arrays[0].shape[1:]:
            raise DataError(
                f"X of task {task.name!r} has samples of shape {array.shape[1:]}, that of {tasks[0].name!r} "
                f"{arrays[0].shape[1:]}; all tasks must have the same features"
            )
    sizes = [len(array) for array in arrays]
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    targets, masks = empty_targets(tasks, int(bounds[-1]))
    for position, task in enumerate(tasks):
        values = one_number_per_row(parts[task.name][1], sizes[position], name=f"the target of task {task.name!r}")
        rows = slice(bounds[position], bounds[position + 1])
        targets[task.name][rows], masks[task.name][rows] = encode_target(task, values)
    return np.concatenate(arrays), targets, masks, sizes


def joined(parts: Mapping[str, Any] | None, tasks: Sequence[Task], argument: str) -> np.ndarray | None:
    if parts is None:
        return None
    check_names(parts, tasks, argument=argument)
    return np.concatenate([as_array(parts[task.name]) for task in tasks])


def group_codes(groups: Any, n_rows: int) -> np.ndarray | None:
    if groups is None:
        return None
    values = one_number_per_row(groups, n_rows, name="groups")
    if not is_labelled(values).all():
        missing = int((~is_labelled(values)).sum())
        raise DataError(f"groups has {missing} missing values; give every row a group, a group of its own if need be")
    plain = values.astype(str) if values.dtype == object else values
    return np.unique(plain, return_inverse=True)[1].astype(np.int64).reshape(n_rows)


def time_numbers(times: Any, n_rows: int) -> np.ndarray | None:
    if times is None:
        return None
    values = one_number_per_row(times, n_rows, name="times")
    if values.dtype.kind == "M":
        days = values.astype("datetime64[us]")
        numbers = np.where(np.isnat(days), np.nan, days.astype(np.int64) / 86_400e6)
    else:
        numbers = np.array(values, dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise DataError(
            f"times has {int((~np.isfinite(numbers)).sum())} missing or infinite values; every row needs its time"
        )
    return numbers
