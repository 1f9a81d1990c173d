"""Everything that a data loader yields, read once into arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from taskloom.data._arrays import as_inputs, check_names, empty_targets, encode_target, one_number_per_row
from taskloom.errors import DataError
from taskloom.task import Task

__all__ = ["read_loader"]


def read_loader(
    loader: Iterable[Any], tasks: Sequence[Task]
) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Inputs (n, ...), targets and masks of all batches.

    Raises:
        DataError: no batch, a batch of another form, or samples of different shapes.
    """
    inputs: list[np.ndarray] = []
    targets: dict[str, list[np.ndarray]] = {task.name: [] for task in tasks}
    masks: dict[str, list[np.ndarray]] = {task.name: [] for task in tasks}
    for number, batch in enumerate(loader):
        if not isinstance(batch, tuple | list) or len(batch) not in (2, 3) or not isinstance(batch[1], Mapping):
            raise DataError(
                f"batch {number} of the loader is no (inputs, {{task: targets}}) pair; found "
                f"{type(batch).__name__}. Let the data set return such pairs"
            )
        inputs.append(as_inputs(batch[0], owner=f"inputs of batch {number}"))
        if inputs[-1].shape[1:] != inputs[0].shape[1:]:
            raise DataError(
                f"batch {number} of the loader has samples of shape {inputs[-1].shape[1:]}, batch 0 of "
                f"{inputs[0].shape[1:]}; pad or crop them to one shape"
            )
        check_names(batch[1], tasks, argument=f"targets of batch {number}", complete=False)
        given_masks = batch[2] if len(batch) == 3 else {}
        for task in tasks:
            target, known = _batch_target(task, batch[1], given_masks, len(inputs[-1]))
            targets[task.name].append(target)
            masks[task.name].append(known)
    if not inputs:
        raise DataError("the loader yields no batch; give a loader that can be iterated again")
    return (
        np.concatenate(inputs),
        {name: np.concatenate(pieces) for name, pieces in targets.items()},
        {name: np.concatenate(pieces) for name, pieces in masks.items()},
    )


def _batch_target(
    task: Task, targets: Mapping[str, Any], masks: Mapping[str, Any], n_rows: int
) -> tuple[np.ndarray, np.ndarray]:
    if task.name not in targets:
        empty, known = empty_targets([task], n_rows)
        return empty[task.name], known[task.name]
    values = one_number_per_row(targets[task.name], n_rows, name=f"the target of task {task.name!r}")
    return encode_target(task, values, mask=masks.get(task.name))
