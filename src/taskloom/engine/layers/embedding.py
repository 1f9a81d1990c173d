"""Embeddings: task gradients live on the rows of the table that the batch looked up, grouped by index.

With U different indices among those of the batch, a task's gradient is U vectors instead of the whole table:

    J_k[u] = sum over places p with index u of D_k[p],    0 at the padding index

The gradient of the whole table is made once, when the weights are known.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from taskloom.engine.layers.part import Part
from taskloom.engine.layers.pool import Lease
from taskloom.engine.layers.products import products
from taskloom.engine.layers.proofs import Layer
from taskloom.engine.layers.row_tasks import RowTasks
from taskloom.engine.layers.rows import signed

__all__ = ["EmbeddingRows"]


class EmbeddingRows(Part):
    """Task gradients of the looked-up rows."""

    rule: ClassVar[str] = "grouped"

    def __init__(self, layer: Layer, n_tasks: int, lease: Lease) -> None:
        super().__init__(layer, n_tasks, lease)
        table = layer.weight
        flat = torch.cat([one.reshape(-1) for one in self.inputs]).long()
        self.looked_up, inverse = torch.unique(flat, return_inverse=True)  # (U,)
        n_rows = len(self.looked_up)
        self.groups = []
        for call, part, one in zip(
            layer.calls, inverse.split([one.numel() for one in self.inputs]), self.inputs, strict=True
        ):
            padding = signed(call.node._saved_padding_idx)
            group = part.view(one.shape)
            # what this call looked up at its padding index goes to a row of its own that nobody reads
            self.groups.append(group if padding < 0 else group.masked_fill(one == padding, n_rows))
        dtype = torch.promote_types(table.dtype, torch.float32)
        self.block = lease.take((n_tasks, n_rows + 1, table.shape[1]), dtype, table.device).zero_()  # (K, U + 1, d)
        self.flat = self.block.view(n_tasks, -1)[:, : n_rows * table.shape[1]]  # (K, U d)

    def take(self, call: int, first: int, gradients: Tensor) -> None:
        group = self.groups[call].reshape(-1)
        for place, gradient in enumerate(gradients):
            flat = gradient.reshape(-1, self.block.shape[2]).to(self.block.dtype)
            self.block[first + place].index_add_(0, group, flat)

    def take_rows(self, call: int, tasks: RowTasks, gradient: Tensor, rows: slice | None = None) -> None:
        group = self.groups[call] if rows is None else self.groups[call][rows]
        n_rows, width = self.block.shape[1:]
        # rows of nobody have a gradient of zero
        own = tasks.tasks.clamp(min=0).view(-1, *[1] * (group.ndim - 1)) * n_rows + group
        flat = gradient.reshape(-1, width).to(self.block.dtype)
        self.block.view(-1, width).index_add_(0, own.reshape(-1), flat)

    def gramian(self, dtype: torch.dtype | None = None) -> Tensor:
        return products(self.flat, self.flat, dtype)

    def combine(self, weights: Tensor) -> list[Tensor]:
        table = self.layer.weight.detach()
        weights = weights.detach().to(self.flat.device, self.flat.dtype)
        rows = torch.mv(self.flat.T, weights).view(len(self.looked_up), -1).to(table.dtype)
        return [torch.zeros_like(table).index_copy_(0, self.looked_up, rows)]

    def rows(self) -> list[Tensor]:
        table = self.layer.weight.detach()
        whole = torch.zeros(self.n_tasks, *table.shape, dtype=table.dtype, device=table.device)
        known = self.flat.reshape(self.n_tasks, len(self.looked_up), -1).to(table.dtype)
        return [whole.index_copy_(1, self.looked_up, known).view(self.n_tasks, -1)]
