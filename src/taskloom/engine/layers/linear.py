"""Linear layers, ``y = x W^T + b``, as weight gradients or without them.

With inputs A (N, i) and output gradients D_k (N, o) of task k,

    form     J_k = (D_k^T A, D_k^T 1)                              one block (K, o i) and one (K, o)
    ghost    G_jk = <(A A^T + 1 1^T) D_j, D_k>,                    no weight gradient is ever formed
             J^T w = ((sum_k w_k D_k)^T A, (sum_k w_k D_k)^T 1)

The 1 1^T, there with a bias, covers its gradient. Several calls of a layer are more rows. Ghost wins where rows are few
and the layer is wide. Where every row belongs to one task (several data sets, or one label per row), D is the gradient
of the sum of the losses and both forms work on the rows of a task, K never multiplying anything:

    form     J_k = D[k]^T A[k]
    ghost    G_jk = sum over the rows of j and k of (A A^T + 1 1^T) o (D D^T)

The kernel M = A A^T + 1 1^T is symmetric. With T what lies above its diagonal and half of the diagonal, M = T + T^T and

    G = H + H^T,    H_jk = <T D_j, D_k>

so that about half of the products with the kernel are made, in blocks of rows.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from taskloom.engine.layers.part import Blocks, Part
from taskloom.engine.layers.pool import Lease
from taskloom.engine.layers.products import products, wide
from taskloom.engine.layers.proofs import Layer
from taskloom.engine.layers.row_tasks import RowTasks

__all__ = ["LinearForm", "LinearGhost", "LinearRowGhost", "blocks_of_rows"]

_NUMBERS_AT_ONCE = 1 << 20  # size of the products T D that are held at a time
_LEAST_ROWS, _MOST_BLOCKS = 64, 8


class LinearForm(Blocks):
    """The weight gradients of all tasks."""

    rule: ClassVar[str] = "form"

    def add(self, inputs: Tensor, gradients: Tensor, call: int, tasks: slice, is_first: bool) -> None:
        out = self.blocks[0][tasks]
        left, right = gradients.transpose(1, 2), inputs  # (c, o, N) and (N, i)
        if gradients.shape[0] == 1:
            pair = (left[0], right) if self.layer.is_turned else (right.T, gradients[0])
            out = out[0]
        else:
            right = right.expand(gradients.shape[0], *right.shape)
            pair = (left, right) if self.layer.is_turned else (right.transpose(1, 2), gradients)
        multiply = torch.mm if out.ndim == 2 else torch.bmm
        if out.dtype != gradients.dtype:
            product = multiply(*pair)
            out.copy_(product) if is_first else out.add_(product)
        elif is_first:
            multiply(*pair, out=out)
        elif out.ndim == 2:
            out.addmm_(*pair)
        else:
            out.baddbmm_(*pair)
        if self.layer.bias is not None:
            summed = gradients.sum(1)
            self.blocks[1][tasks].copy_(summed) if is_first else self.blocks[1][tasks].add_(summed)


class LinearGhost(Part):
    """Inputs and output gradients; the inner products do without weight gradients."""

    rule: ClassVar[str] = "ghost"

    def __init__(self, layer: Layer, n_tasks: int, lease: Lease) -> None:
        super().__init__(layer, n_tasks, lease)
        self.sizes = [call.shape[0] for call in layer.calls]
        self.dtype = torch.promote_types(layer.weight.dtype, torch.float32)
        self.is_missing = {(task, call) for task in range(n_tasks) for call in range(len(self.sizes))}
        self.held: Tensor | None = None  # (K, N, o)

    def take(self, call: int, first: int, gradients: Tensor) -> None:
        tasks = range(first, first + gradients.shape[0])
        self.is_missing.difference_update((task, call) for task in tasks)
        if len(tasks) == self.n_tasks and len(self.sizes) == 1:
            self.held = gradients.to(self.dtype).contiguous()
        else:
            self._place(tasks.start, tasks.stop, call).copy_(gradients)

    def take_rows(self, call: int, tasks: RowTasks, gradient: Tensor, rows: slice | None = None) -> None:
        order = torch.arange(len(gradient), device=gradient.device) if tasks.order is None else tasks.order
        for task, run in tasks.runs:
            own = order[run]
            place = self._place(task, task + 1, call)[0]
            if (task, call) in self.is_missing:
                self.is_missing.remove((task, call))
                place.zero_()
            if rows is not None:
                place = place[rows]
            place[own] += gradient[own].to(self.dtype)

    def _place(self, first: int, last: int, call: int) -> Tensor:
        """Where the gradients of some tasks for one call lie."""
        if self.held is None:
            shape = (self.n_tasks, sum(self.sizes), self.layer.calls[0].shape[-1])
            self.held = self.lease.take(shape, self.dtype, self.inputs[0].device)
        start = sum(self.sizes[:call])
        return self.held[first:last, start : start + self.sizes[call]]

    def finish(self) -> None:
        for task, call in self.is_missing:
            self._place(task, task + 1, call).zero_()
        assert self.held is not None
        self.gradients = self.held
        inputs = self.inputs[0] if len(self.inputs) == 1 else torch.cat(self.inputs)
        self.inputs = [inputs.to(self.dtype)]

    def gramian(self, dtype: torch.dtype | None = None) -> Tensor:
        inputs, gradients = self.inputs[0], self.gradients  # (N, i) and (K, N, o)
        total = torch.zeros(self.n_tasks, self.n_tasks, dtype=wide(inputs.device), device=inputs.device)
        for rows in blocks_of_rows(len(inputs), inputs.device):
            kernel = _upper_kernel(inputs, rows, self.layer)  # (n, N - start)
            own = gradients[:, rows].flatten(1)
            step = max(1, _NUMBERS_AT_ONCE // max(own.shape[1], 1))
            for start in range(0, self.n_tasks, step):
                part = gradients[start : start + step, rows.start :]
                spread = torch.bmm(kernel.expand(len(part), *kernel.shape), part).view(len(part), -1)
                total[start : start + step] += products(spread, own, dtype)
        return total + total.T

    def combine(self, weights: Tensor) -> list[Tensor]:
        flat = self.gradients.view(self.n_tasks, -1)
        mixed = torch.mv(flat.T, weights.detach().to(flat.device, flat.dtype)).view(self.gradients.shape[1:])
        return _finished(self.layer, mixed, self.inputs[0])

    def rows(self) -> list[Tensor]:
        found = [_finished(self.layer, gradient, self.inputs[0]) for gradient in self.gradients]
        return [torch.stack(column).view(self.n_tasks, -1) for column in zip(*found, strict=True)]


class LinearRowGhost(Part):
    """Inputs and output gradients of rows that belong to one task each."""

    rule: ClassVar[str] = "ghost"

    def __init__(self, layer: Layer, n_tasks: int, lease: Lease) -> None:
        super().__init__(layer, n_tasks, lease)
        self.dtype = torch.promote_types(layer.weight.dtype, torch.float32)
        self.pieces: list[tuple[Tensor, Tensor, Tensor]] = []  # tasks (n,), inputs (n, i), gradients (n, o)

    def take(self, call: int, first: int, gradients: Tensor) -> None:
        for place, gradient in enumerate(gradients):
            self.take_rows(call, RowTasks.of_task(first + place, len(gradient), gradient.device), gradient)

    def take_rows(self, call: int, tasks: RowTasks, gradient: Tensor, rows: slice | None = None) -> None:
        inputs = self.inputs[call] if rows is None else self.inputs[call][rows]
        # rows of nobody have a gradient of zero
        self.pieces.append((tasks.tasks.clamp(min=0), inputs.to(self.dtype), gradient.to(self.dtype)))

    def finish(self) -> None:
        if self.pieces:
            columns = zip(*self.pieces, strict=True)
            self.tasks, self.flat_inputs, self.gradients = (
                column[0] if len(column) == 1 else torch.cat(column) for column in columns
            )
        else:
            like = self.inputs[0].to(self.dtype)
            self.tasks = torch.zeros(0, dtype=torch.long, device=like.device)
            self.flat_inputs, self.gradients = like[:0], like.new_zeros(0, self.layer.calls[0].shape[-1])
        self.pieces, self.inputs = [], []

    def gramian(self, dtype: torch.dtype | None = None) -> Tensor:
        inputs, gradients = self.flat_inputs, self.gradients  # (M, i) and (M, o)
        total = torch.zeros(self.n_tasks, self.n_tasks, dtype=wide(inputs.device), device=inputs.device)
        for rows in blocks_of_rows(len(inputs), inputs.device):
            kernel = _upper_kernel(inputs, rows, self.layer)  # (m, M - start)
            kernel *= gradients[rows] @ gradients[rows.start :].T
            of_tasks = kernel.new_zeros(self.n_tasks, kernel.shape[1]).index_add_(0, self.tasks[rows], kernel)
            total.index_add_(1, self.tasks[rows.start :], of_tasks.to(total.dtype))
        return total + total.T

    def combine(self, weights: Tensor) -> list[Tensor]:
        factors = weights.detach().to(self.gradients)[self.tasks]
        return _finished(self.layer, self.gradients * factors.unsqueeze(1), self.flat_inputs)

    def rows(self) -> list[Tensor]:
        found = []
        for task in range(self.n_tasks):
            own = self.tasks == task
            found.append(_finished(self.layer, self.gradients[own], self.flat_inputs[own]))
        return [torch.stack(column).view(self.n_tasks, -1) for column in zip(*found, strict=True)]


def blocks_of_rows(n_rows: int, device: torch.device) -> list[slice]:
    """Blocks in which the upper half of a kernel is made: few enough that the products stay large."""
    least = _LEAST_ROWS if device.type == "cpu" else 8 * _LEAST_ROWS
    n_blocks = max(1, min(_MOST_BLOCKS, n_rows // least))
    step = -(-n_rows // n_blocks)
    return [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, max(step, 1))]


def _upper_kernel(inputs: Tensor, rows: slice, layer: Layer) -> Tensor:
    """Some rows of T from the first column on that is not zero; its block on the diagonal is half of the kernel's."""
    kernel = inputs[rows] @ inputs[rows.start :].T
    if layer.bias is not None:
        kernel += 1
    kernel[:, : rows.stop - rows.start] *= 0.5
    return kernel


def _finished(layer: Layer, gradient: Tensor, inputs: Tensor) -> list[Tensor]:
    """Gradients of weight and bias for one output gradient (N, o)."""
    weight = gradient.T @ inputs if layer.is_turned else inputs.T @ gradient
    found = [weight.to(layer.weight)]
    if layer.bias is not None:
        found.append(gradient.sum(0).to(layer.bias))
    return [one.detach() for one in found]
