"""Layers whose inputs are projected to a few numbers before weight gradients are formed.

With inputs A (N, i), output gradients D_k (N, o) and a random matrix S (i, r) with mean S S^T = 1,

    G_jk = <A^T D_j, A^T D_k>   is the mean of   <S^T A^T D_j, S^T A^T D_k>,

r instead of i columns. Half of the columns are not random: they span the directions in which the inputs are largest
(found by one random pass over some rows), and the others are drawn in what those leave. That halves the error where
inputs have a mean or a few strong directions, and leaves the estimate unbiased. What a bias adds is exact.

The random columns are independent of each other, so that they also tell how far their mean is off.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from taskloom.engine.layers.part import Part
from taskloom.engine.layers.pool import Lease
from taskloom.engine.layers.products import products, wide
from taskloom.engine.layers.proofs import Layer

__all__ = ["ConvolutionSketch", "LinearSketch", "SketchPart"]

_ROWS_LOOKED_AT = 512
"""Rows of the inputs among which the strongest directions are looked for; a few thousand are as good as all."""


class SketchPart(Part):
    """Projected weight gradients (K, r, o), the first of them exact, and what their products are off by.

    Args:
        layer: the layer.
        n_tasks: number of rows K.
        lease: where to take memory from.
        size: number of columns of the projection.
        generator: where random numbers come from.
        dtype: precision of the products with output gradients.
    """

    rule: ClassVar[str] = "sketch"

    def __init__(
        self, layer: Layer, n_tasks: int, lease: Lease, *, size: int, generator: Generator, dtype: torch.dtype
    ) -> None:
        super().__init__(layer, n_tasks, lease)
        self.dtype = dtype
        accurate = torch.promote_types(layer.weight.dtype, torch.float32)
        self.inputs = [one.to(accurate) for one in self.inputs]
        basis = self.basis(size, generator)  # (i, r)
        self.projected = [self.project(call, basis) for call in range(len(self.inputs))]
        self.inputs = []
        self.n_exact = size // 2
        shape = (n_tasks, size, self.n_outputs)
        self.block = lease.take(shape, torch.promote_types(dtype, torch.float32), basis.device)
        self.is_fresh = [True] * n_tasks

    @property
    def n_outputs(self) -> int:
        """Width o of the output."""
        raise NotImplementedError

    def strongest(self, start: Tensor) -> Tensor:
        """A^T A times (i, n), of some rows A of the inputs."""
        raise NotImplementedError

    def project(self, call: int, basis: Tensor) -> Tensor:
        """The inputs of a call in the basis, in the form that :meth:`weigh` needs; ones before them for a bias."""
        raise NotImplementedError

    def weigh(self, call: int, gradients: Tensor) -> Tensor:
        """Projected weight gradients (c, r, o) of output gradients (c, *result) for one call."""
        raise NotImplementedError

    def basis(self, size: int, generator: Generator) -> Tensor:
        """Columns (i, r): the strongest directions of the inputs, then random ones in what those leave."""
        width = self.layer.weight.numel() // self.n_outputs
        like, n_random = self.inputs[0], size - size // 2
        n_strong = size // 2 - (self.layer.bias is not None)
        random = torch.randn(width, n_random, generator=generator).to(like.device, like.dtype) / n_random**0.5
        start = torch.randn(width, n_strong, generator=generator).to(like.device, like.dtype)
        strong: Tensor = torch.linalg.qr(self.strongest(start)).Q  # (i, n_strong)
        return torch.cat([strong, random - strong @ (strong.T @ random)], dim=1)

    def take(self, call: int, first: int, gradients: Tensor) -> None:
        tasks = slice(first, first + gradients.shape[0])
        found, fresh = self.weigh(call, gradients.to(self.dtype)), self.is_fresh[tasks]
        self.block[tasks].copy_(found) if all(fresh) else self.block[tasks].add_(found)
        self.is_fresh[tasks] = [False] * len(fresh)

    def finish(self) -> None:
        for task, is_fresh in enumerate(self.is_fresh):
            if is_fresh:
                self.block[task].zero_()

    def gramian_and_variance(self) -> tuple[Tensor, Tensor]:
        """Inner products (K, K), and the estimated variance of each."""
        exact = self.block[:, : self.n_exact].flatten(1)
        random = self.block[:, self.n_exact :].transpose(0, 1)  # (r, K, o)
        each = torch.bmm(random, random.transpose(1, 2)).to(wide(random.device))
        total = each.sum(0)
        if exact.shape[1]:
            total += products(exact, exact)
        variance = len(each) * each.var(0) if len(each) > 1 else torch.full_like(total, torch.inf)
        return total, variance

    def gramian(self, dtype: torch.dtype | None = None) -> Tensor:
        return self.gramian_and_variance()[0]


class LinearSketch(SketchPart):
    """A linear layer."""

    @property
    def n_outputs(self) -> int:
        return self.layer.calls[0].shape[-1]

    def strongest(self, start: Tensor) -> Tensor:
        step = max(1, sum(map(len, self.inputs)) // _ROWS_LOOKED_AT)
        some = torch.cat([one[::step] for one in self.inputs])
        return some.T @ (some @ start)

    def project(self, call: int, basis: Tensor) -> Tensor:
        columns = self.inputs[call].to(self.dtype) @ basis.to(self.dtype)
        if self.layer.bias is not None:
            columns = torch.cat([columns.new_ones(len(columns), 1), columns], dim=1)
        return columns.T.contiguous()  # (r, n)

    def weigh(self, call: int, gradients: Tensor) -> Tensor:
        return self.projected[call] @ gradients


class ConvolutionSketch(SketchPart):
    """A convolution without groups: projecting its inputs is a convolution with random filters."""

    @property
    def n_outputs(self) -> int:
        return self.layer.weight.shape[0]

    def strongest(self, start: Tensor) -> Tensor:
        inputs, filters, settings = self.inputs[0], self._filters(start), self._settings(0)
        n_places = math.prod(self.layer.calls[0].shape[2:])
        some = inputs[:: max(1, len(inputs) * n_places // _ROWS_LOOKED_AT)]
        found = torch.convolution(some, filters, None, *settings)
        _, gradient, _ = torch.ops.aten.convolution_backward(
            found, some, filters, None, *settings, [False, True, False]
        )
        turned: Tensor = gradient.flatten(1).T
        return turned

    def project(self, call: int, basis: Tensor) -> Tensor:
        columns = torch.convolution(self.inputs[call], self._filters(basis), None, *self._settings(call)).flatten(2)
        if self.layer.bias is not None:
            columns = torch.cat([columns.new_ones(len(columns), 1, columns.shape[2]), columns], dim=1)
        return columns.to(self.dtype)  # (B, r, L)

    def weigh(self, call: int, gradients: Tensor) -> Tensor:
        turned = gradients.flatten(3).transpose(2, 3)  # (c, B, L, o)
        return torch.stack([torch.bmm(self.projected[call], one).sum(0) for one in turned])

    def _filters(self, basis: Tensor) -> Tensor:
        return basis.T.reshape(-1, *self.layer.weight.shape[1:])

    def _settings(self, call: int) -> tuple[Any, ...]:
        node = self.layer.calls[call].node
        n_axes = self.layer.weight.ndim - 2
        return node._saved_stride, node._saved_padding, node._saved_dilation, False, [0] * n_axes, 1
