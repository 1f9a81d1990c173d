"""What every rule has in common: it takes gradients of layer outputs and keeps what inner products need."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from taskloom.engine.layers.pool import Lease
from taskloom.engine.layers.products import gramian_of
from taskloom.engine.layers.proofs import Layer
from taskloom.engine.layers.room import Room
from taskloom.engine.layers.row_tasks import RowTasks

__all__ = ["Blocks", "Part"]


class Part:
    """Task gradients of the parameters of one layer, in the form in which their inner products cost least.

    Args:
        layer: the parameters and their uses.
        n_tasks: number of rows K.
        lease: where to take memory from.

    Class attributes:
        rule: name in tables.
    """

    rule: ClassVar[str]

    def __init__(self, layer: Layer, n_tasks: int, lease: Lease) -> None:
        self.layer, self.n_tasks, self.lease = layer, n_tasks, lease
        self.inputs = layer.inputs()

    def take(self, call: int, first: int, gradients: Tensor) -> None:
        """Gradients (c, *result) of the tasks ``first``, ``first + 1``, ... for the result of one call.

        Every task is handed over once for every call that it reaches.
        """
        raise NotImplementedError

    def take_rows(self, call: int, tasks: RowTasks, gradient: Tensor, rows: slice | None = None) -> None:
        """Gradient (n, *) of some rows (default all) of the result of one call, which belong to one task each."""
        raise NotImplementedError

    def finish(self) -> None:
        """Everything was handed over."""

    def gramian(self, dtype: torch.dtype | None = None) -> Tensor:
        """Inner products of the task gradients (K, K)."""
        raise NotImplementedError

    def combine(self, weights: Tensor) -> list[Tensor]:
        """J^T w for the weight and, if it has one, the bias; tensors of their own."""
        raise NotImplementedError

    def rows(self) -> list[Tensor]:
        """J for the weight and the bias, (K, p) each; may be the memory of the part."""
        raise NotImplementedError


class Blocks(Part):
    """A part that keeps the task gradients themselves, one block (K, *parameter) per parameter.

    Subclasses write :meth:`add`, and nothing else.

    Args:
        layer: the parameters and their uses.
        n_tasks: number of rows K.
        lease: where to take memory from.
        room: where the blocks stand beside others, whose owner then makes products and combinations; default: by
            themselves.
    """

    def __init__(self, layer: Layer, n_tasks: int, lease: Lease, room: Room | None = None) -> None:
        super().__init__(layer, n_tasks, lease)
        parameters = [layer.weight] if layer.bias is None else [layer.weight, layer.bias]
        self.is_guest = room is not None
        self.room = room or Room(parameters, n_tasks, lease)
        self.blocks = [self.room.of(one) for one in parameters]
        self.is_fresh = [True] * n_tasks

    def add(self, inputs: Tensor, gradients: Tensor, call: int, tasks: slice, is_first: bool) -> None:
        """Write (``is_first``) or add what gradients (c, n, *) of neighbouring tasks and n rows of inputs make."""
        raise NotImplementedError

    def take(self, call: int, first: int, gradients: Tensor) -> None:
        self._add(self.inputs[call], gradients, call, slice(first, first + gradients.shape[0]))

    def take_rows(self, call: int, tasks: RowTasks, gradient: Tensor, rows: slice | None = None) -> None:
        inputs = self.inputs[call] if rows is None else self.inputs[call][rows]
        if tasks.order is not None:
            inputs = self._in_order("inputs", inputs, tasks.order)
            gradient = self._in_order("gradient", gradient, tasks.order)
        for task, own in tasks.runs:
            self._add(inputs[own], gradient[own].unsqueeze(0), call, slice(task, task + 1))

    def _in_order(self, name: str, rows: Tensor, order: Tensor) -> Tensor:
        room = self.lease.scratch(name, (len(order), *rows.shape[1:]), rows.dtype, rows.device)
        return torch.index_select(rows, 0, order, out=room)

    def _add(self, inputs: Tensor, gradients: Tensor, call: int, tasks: slice) -> None:
        fresh = self.is_fresh[tasks]
        if any(fresh) and not all(fresh):
            for block in self.blocks:
                for task in range(tasks.start, tasks.stop):
                    if self.is_fresh[task]:
                        block[task].zero_()
        self.add(inputs.to(gradients.dtype), gradients, call, tasks, all(fresh))
        self.is_fresh[tasks] = [False] * len(fresh)

    def finish(self) -> None:
        for task, is_fresh in enumerate(self.is_fresh):
            if is_fresh:
                for block in self.blocks:
                    block[task].zero_()

    def rows(self) -> list[Tensor]:
        return [block.flatten(1) for block in self.blocks]

    def gramian(self, dtype: torch.dtype | None = None) -> Tensor:
        found = gramian_of(self.rows(), dtype)
        assert found is not None
        return found

    def combine(self, weights: Tensor) -> list[Tensor]:
        assert not self.is_guest
        return self.room.combine(weights)
