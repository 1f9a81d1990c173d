"""From user units to what a network is trained on, and back.

A preparation is fitted on training rows and then applied to any rows of the same columns: standardised numbers,
one-hot categories, dates as days and cycles, standardised regression targets. It is plain data (JSON, no pickle).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike

from taskloom.data._array_encoder import ArrayEncoder
from taskloom.data._encoders import ColumnEncoder, encoder_from_dict, fit_encoder, mean_and_scale
from taskloom.data._schema import Schema
from taskloom.data.mask import as_array
from taskloom.errors import DataError, TaskError, nearest
from taskloom.task import Task

if TYPE_CHECKING:
    from taskloom.data.multitask import MultiTaskData

__all__ = ["Preparation"]

_VERSION = 1


@dataclass(frozen=True, eq=False)
class Preparation:
    """Scales and encodings learnt from training rows.

    *Inputs.* Numbers: (x - mean) / standard deviation, missing ones at the mean with an indicator. Categories: one-hot,
    with a column for rare and new ones. Dates: days, and year, week and day as sine and cosine. Arrays (n, p): as
    numbers; arrays with more axes (images): one mean and one deviation for all. The number of columns depends on
    the table only, not on which rows are for training.

    *Targets.* Regression targets are standardised: per task, or, where all tasks of several data sets predict one
    quantity (``data.common_target``), by the pooled training rows of all tasks, so that a common head sees one scale.
    Classes stay codes.

    Args:
        schema: tasks and columns.
        columns: encoders of the feature columns; empty for array inputs.
        array: encoder of array inputs, or None for a table.
        target_mean: (K,), 0 for classes.
        target_scale: (K,), 1 for classes.

    Example:
        >>> from taskloom.data.multitask import MultiTaskData
        >>> from taskloom.task import Regression
        >>> data = MultiTaskData.from_arrays([[1.0], [3.0], [9.0]], {"a": [10.0, 30.0, None]}, {"a": Regression()})
        >>> preparation = Preparation.fit(data, np.array([0, 1]))
        >>> preparation.inputs(data).ravel().tolist(), preparation.targets(data).ravel().tolist()
        ([-1.0, 1.0, 7.0], [-1.0, 1.0, nan])
        >>> preparation.restore("a", np.array([0.5]))
        array([25.])
    """

    schema: Schema
    columns: tuple[ColumnEncoder, ...]
    array: ArrayEncoder | None
    target_mean: np.ndarray
    target_scale: np.ndarray

    @classmethod
    def fit(cls, data: MultiTaskData, rows: Any, *, scale_inputs: bool = True) -> Preparation:
        """Learn means, deviations and categories.

        Args:
            data: the data.
            rows: training rows, int (m,).
            scale_inputs: False leaves array inputs as they are (token numbers, inputs scaled already).

        Raises:
            DataError: no training rows.
        """
        training = as_array(rows).astype(np.int64)
        if training.size == 0:
            raise DataError("a preparation needs training rows, found none; give split.train")
        mean, scale = _target_scales(data, training)
        return cls(
            schema=data.schema,
            columns=tuple(fit_encoder(column, training) for column in data.features),
            array=None if data.inputs is None else ArrayEncoder.fit(data.inputs, training, scale=scale_inputs),
            target_mean=mean,
            target_scale=scale,
        )

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks, in the order of the columns of :meth:`targets`."""
        return tuple(task.name for task in self.schema.tasks)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the input columns (of the flattened input for arrays with more axes)."""
        if self.array is not None:
            return self.array.names
        return tuple(name for encoder in self.columns for name in encoder.names)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one prepared sample: ``(p,)`` for tables."""
        return (len(self.feature_names),) if self.array is None else self.array.output_shape

    def inputs(self, data: MultiTaskData, *, dtype: DTypeLike = np.float32) -> np.ndarray:
        """Inputs for a network.

        Args:
            data: any rows with the columns of the training data; targets are not looked at.
            dtype: floating type of the result; default float32.

        Returns:
            (n, p), or (n, ...) for arrays with more axes.

        Raises:
            DataError: a column is missing (names the nearest one) or is of another kind; arrays of another shape.
        """
        if self.array is not None:
            if data.inputs is None:
                raise DataError("the preparation was fitted on arrays, these data are a table; give arrays as before")
            return self.array.encode(data.inputs).astype(dtype)
        known = {column.name: column for column in data.features}
        pieces = []
        for encoder, (name, kind) in zip(self.columns, self.schema.features, strict=True):
            if name not in known:
                raise DataError(f"the data have no column {name!r}, which the preparation needs.{nearest(name, known)}")
            if known[name].kind != kind:
                raise DataError(
                    f"column {name!r} is {known[name].kind}, but was {kind} when the preparation was fitted; read "
                    "the data with "
                    "read_features(path, preparation.schema)"
                )
            pieces.append(encoder.encode(known[name]))
        return np.asarray(np.concatenate(pieces, axis=1), dtype=dtype)

    def targets(self, data: MultiTaskData) -> np.ndarray:
        """Targets for training, float64 (n, K): standardised values, class codes; NaN where not labelled.

        Raises:
            DataError: the data have other tasks.
        """
        names = tuple(task.name for task in data.tasks)
        if names != self.tasks:
            raise DataError(
                f"the data have the tasks {names[:8]}, the preparation {self.tasks[:8]}; give data of the same tasks"
            )
        targets = np.full((data.n_rows, len(names)), np.nan)
        for place, name in enumerate(names):
            known = data.mask[name]
            targets[known, place] = (data.targets[name][known] - self.target_mean[place]) / self.target_scale[place]
        return targets

    def restore(self, task: str | Task, predictions: np.ndarray) -> np.ndarray:
        """Predictions in the units of the user: the inverse of the scaling; probabilities are left as they are.

        Args:
            task: name of the task.
            predictions: any shape; what the kind's ``predict`` returned.

        Raises:
            TaskError: an unknown task.
        """
        place = self._place(task)
        if self.schema.tasks[place].kind.n_classes:
            return np.asarray(predictions)
        return np.asarray(np.asarray(predictions) * self.target_scale[place] + self.target_mean[place])

    def scale_of(self, task: str | Task) -> float:
        """Standard deviation by which the targets of a task were divided (1 for classes)."""
        return float(self.target_scale[self._place(task)])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON.

        Example:
            >>> import json
            >>> from taskloom.data.multitask import MultiTaskData
            >>> from taskloom.task import Regression
            >>> data = MultiTaskData.from_arrays([[1.0], [3.0]], {"a": [10.0, 30.0]}, {"a": Regression()})
            >>> text = json.dumps(Preparation.fit(data, [0, 1]).to_dict())
            >>> Preparation.from_dict(json.loads(text)).inputs(data).ravel().tolist()
            [-1.0, 1.0]
        """
        return {
            "version": _VERSION,
            "schema": self.schema.to_dict(),
            "columns": [encoder.to_dict() for encoder in self.columns],
            "array": None if self.array is None else self.array.to_dict(),
            "target_mean": self.target_mean.tolist(),
            "target_scale": self.target_scale.tolist(),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Preparation:
        """Inverse of :meth:`to_dict`.

        Raises:
            DataError: a record of a newer version, or of something else.
        """
        if record.get("version") != _VERSION:
            raise DataError(
                f"this is no preparation of version {_VERSION} (found version {record.get('version')!r}); read it "
                "with the "
                "version of taskloom that wrote it"
            )
        return cls(
            schema=Schema.from_dict(record["schema"]),
            columns=tuple(encoder_from_dict(entry) for entry in record["columns"]),
            array=None if record["array"] is None else ArrayEncoder.from_dict(record["array"]),
            target_mean=np.asarray(record["target_mean"], dtype=np.float64),
            target_scale=np.asarray(record["target_scale"], dtype=np.float64),
        )

    def _place(self, task: str | Task) -> int:
        name = task.name if isinstance(task, Task) else task
        if name not in self.tasks:
            raise TaskError(f"unknown task {name!r}.{nearest(name, self.tasks)}")
        return self.tasks.index(name)


def _target_scales(data: MultiTaskData, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each task's training targets, (K,) each; 0 and 1 for classes."""
    mean, scale = np.zeros(len(data.tasks)), np.ones(len(data.tasks))
    numbers = [place for place, task in enumerate(data.tasks) if not task.kind.n_classes]
    training = np.zeros(data.n_rows, dtype=bool)
    training[rows] = True
    values = {
        place: data.targets[data.tasks[place].name][data.mask[data.tasks[place].name] & training] for place in numbers
    }
    if data.common_target and numbers:
        pooled = np.concatenate(list(values.values()))
        values = dict.fromkeys(numbers, pooled)
    for place in numbers:
        mean[place], scale[place] = mean_and_scale(values[place])
    return mean, scale
