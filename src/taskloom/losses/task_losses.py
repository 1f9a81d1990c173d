"""The losses of all tasks of a batch, with one stacked call for all tasks that share a loss and a shape."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from taskloom.errors import TaskError, nearest
from taskloom.losses.base import Loss
from taskloom.losses.defaults import default_loss
from taskloom.task import Task

__all__ = ["task_losses"]


def task_losses(
    tasks: Sequence[Task],
    outputs: Mapping[str, Tensor],
    *,
    targets: Mapping[str, Tensor],
    mask: Mapping[str, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Loss of every task on one batch, and which tasks are present in it.

    Tasks with equal losses and equally shaped outputs are stacked and evaluated in one call, so that 139 regression
    tasks cost one call and not 139. Runs under ``torch.func.vmap``: nothing depends on the values in the tensors.

    Args:
        tasks: the K tasks, in the order of the result.
        outputs: raw head outputs by task name, shape (..., n, n_outputs); n may differ between tasks.
        targets: targets by task name, shape (..., n). A task without an entry is absent.
        mask: True where labelled, by task name, shape (..., n). A task with no labelled element is absent. None: every
            target that is given is labelled.

    Returns:
        losses times ``Task.loss_weight``, shape (..., K): 0, with gradient exactly 0, for an absent task; and a bool
        tensor of shape (..., K), True for the tasks with at least one labelled element.

    Raises:
        TaskError: the batch has targets of a task but no outputs or no mask of it, or of none of the tasks.
        DataError: shapes do not fit together.

    Example:
        >>> from taskloom.task import Regression
        >>> tasks = [Task(name="a", kind=Regression()), Task(name="b", kind=Regression(), loss_weight=2.0)]
        >>> outputs = {"a": torch.tensor([[1.0], [2.0]]), "b": torch.tensor([[3.0], [4.0]])}
        >>> targets = {"a": torch.tensor([0.0, 0.0]), "b": torch.tensor([float("nan"), 1.0])}
        >>> mask = {name: ~target.isnan() for name, target in targets.items()}
        >>> task_losses(tasks, outputs, targets=targets, mask=mask)
        (tensor([ 2.5000, 18.0000]), tensor([True, True]))
    """
    groups = _groups(tasks, outputs, targets, mask)
    if not groups:
        raise TaskError(
            f"the batch has targets for none of the tasks; found targets of {sorted(targets)}, expected some of "
            f"{[task.name for task in tasks]}. Use the names of the tasks as keys of the targets."
        )
    losses: list[Tensor] = []  # one (..., size of group) per group
    active: list[Tensor] = []
    order: list[int] = []
    for loss, positions in groups:
        names = [tasks[position].name for position in positions]
        labelled = None if mask is None else _stack([mask[name] for name in names], axis=-2)  # (..., size, n)
        if isinstance(loss, Loss):
            stacked = _stack([outputs[name] for name in names], axis=-3)  # (..., size, n, n_outputs)
            losses.append(loss(stacked, _stack([targets[name] for name in names], axis=-2), labelled))
        else:  # a function of the user need not know about leading axes: one call per task
            known = {name: torch.ones_like(targets[name], dtype=torch.bool) for name in names} if mask is None else mask
            losses.append(_stack([loss(outputs[name], targets[name], known[name]) for name in names], axis=-1))
        active.append(torch.ones_like(losses[-1], dtype=torch.bool) if labelled is None else labelled.any(-1))
        order.extend(positions)

    absent = [position for position in range(len(tasks)) if position not in set(order)]
    if absent:
        order.extend(absent)
        losses.append(losses[0].new_zeros((*losses[0].shape[:-1], len(absent))))
        active.append(active[0].new_zeros((*active[0].shape[:-1], len(absent))))

    dtype = max((part.dtype for part in losses), key=lambda kind: kind.itemsize)
    values = _join([part.to(dtype) for part in losses])  # (..., K), in the order of the groups
    present = _join(active)
    if order != list(range(len(tasks))):
        place = torch.empty(len(order), dtype=torch.long)
        place[order] = torch.arange(len(order))
        place = place.to(values.device)
        values, present = values.index_select(-1, place), present.index_select(-1, place)
    if any(task.loss_weight != 1.0 for task in tasks):
        values = values * values.new_tensor([task.loss_weight for task in tasks])
    return values, present


def _groups(
    tasks: Sequence[Task],
    outputs: Mapping[str, Tensor],
    targets: Mapping[str, Tensor],
    mask: Mapping[str, Tensor] | None,
) -> list[tuple[Any, list[int]]]:
    """Loss and positions of the tasks that can be evaluated in one call: equal losses, shapes, dtypes, devices."""
    groups: dict[tuple[Any, ...], tuple[Any, list[int]]] = {}
    for position, task in enumerate(tasks):
        name = task.name
        if name not in targets:
            continue
        for what, mapping in (("outputs", outputs), ("mask", mask)):
            if mapping is not None and name not in mapping:
                raise TaskError(
                    f"the batch has targets of task {name!r} but no {what} of it.{nearest(name, mapping)} "
                    f"Give {what} for every task that has targets."
                )
        loss = task.loss if task.loss is not None else default_loss(task.kind)
        output, target = outputs[name], targets[name]
        # Losses that cannot be hashed cannot be told equal either: each is a group of its own.
        identity = loss if isinstance(loss, Hashable) else id(loss)
        key = (identity, output.shape, output.dtype, output.device, target.dtype)
        groups.setdefault(key, (loss, []))[1].append(position)
    return list(groups.values())


def _stack(parts: Sequence[Tensor], *, axis: int) -> Tensor:
    """Stack on a new axis counted from the end; a single part is only viewed."""
    return parts[0].unsqueeze(axis) if len(parts) == 1 else torch.stack(tuple(parts), dim=axis)


def _join(parts: Sequence[Tensor]) -> Tensor:
    """Concatenate along the last axis; a single part is returned as it is."""
    return parts[0] if len(parts) == 1 else torch.cat(tuple(parts), dim=-1)
