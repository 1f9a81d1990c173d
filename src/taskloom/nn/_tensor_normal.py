"""A tensor normal prior on stacked weights: covariances along features, outputs and tasks, learned by flip-flop."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor, nn

__all__ = ["TensorNormal"]


class TensorNormal(nn.Module):
    """Negative log-likelihood of a tensor W (D_1, .., D_M) under TN(0, S_1, .., S_M), without its constant.

        1/2 [ <W, W x_1 S_1^-1 ... x_M S_M^-1> + sum_m (D / D_m) log|S_m| ],   D = D_1 ... D_M

    It is computed along the eigenvectors Q_m of the covariances, where the prior has the variances l, products of
    eigenvalues of S_1, .., S_M:

        1/2 sum over all entries of [ (W x_1 Q_1^T ... x_M Q_M^T)^2 / l + log l ]

    The covariances start as identities, are float64 buffers whatever the weights are, and change only in
    :meth:`update` and :meth:`set_covariance`.

    Left alone, likelihood and weights draw each other to zero: weights that shrink make variances small, small
    variances make the weights shrink, and the likelihood is unbounded in the end. Two bounds stop that.

    Args:
        shape: (D_1, .., D_M).
        modes: the axes with a covariance of their own; the others keep the identity.
        ridge: what :meth:`update` adds to the diagonal of a covariance, relative to its mean; no l is smaller than this
            share of their mean either, which holds together what ridges of several axes would multiply.
        smallest_variance: no l counts as smaller, once covariances are not identities; after :meth:`update` their mean
            is not smaller either. The gradient of the value is then at most ``weights / smallest_variance``, entry by
            entry along the eigenvectors.
    """

    floor: Tensor
    log_determinants: Tensor

    def __init__(self, shape: Sequence[int], *, modes: Sequence[int], ridge: float, smallest_variance: float) -> None:
        super().__init__()
        self.shape, self.modes = tuple(shape), tuple(modes)
        self.ridge, self.smallest_variance = ridge, smallest_variance
        for mode in self.modes:
            eye = torch.eye(self.shape[mode], dtype=torch.float64)
            self.register_buffer(f"covariance_{mode}", eye)
            self.register_buffer(f"directions_{mode}", eye.clone())
            self.register_buffer(f"variances_{mode}", torch.ones_like(eye[0]))
        self.register_buffer("floor", torch.zeros((), dtype=torch.float64))
        self.register_buffer("log_determinants", torch.zeros((), dtype=torch.float64))

    def covariance(self, mode: int) -> Tensor:
        """Covariance along an axis, (D_m, D_m)."""
        found: Tensor = getattr(self, f"covariance_{mode}")
        return found

    def forward(self, weights: Tensor) -> Tensor:
        """The value, a float64 scalar, differentiable in the weights."""
        turned = self._turned(weights.double(), self.modes)
        return 0.5 * ((turned.square() / self._variances()).sum() + self.log_determinants)

    @torch.no_grad()
    def update(self, weights: Tensor) -> None:
        """One sweep: each covariance in turn takes the value that minimises the whole, the bounds aside.

        S_m <- (D_m / D) W_(m) (x_(k != m) S_k)^-1 W_(m)^T + ridge

        Only the product of the scales is determined: all but the last get mean diagonal 1.

        Args:
            weights: (D_1, .., D_M), finite; zeros say nothing about relations and give multiples of identities.
        """
        weights = weights.detach().double()
        largest = weights.abs().max()  # taken out, so that no square of weights is too small or too large for float64
        weights = torch.where(largest > 0, weights / largest, weights)
        scale = largest
        for mode in self.modes:
            found = self._scatter(weights, mode)
            scale = found.diagonal().mean()
            eye = torch.eye(len(found)).to(found)
            relative = torch.where(scale > 0, found / scale, eye)
            self._set(mode, (relative + self.ridge * eye) / (1 + self.ridge))
        self._rescale((scale * largest.square()).clamp(min=self.smallest_variance))
        self._bound()

    @torch.no_grad()
    def set_covariance(self, mode: int, covariance: Tensor) -> None:
        """Give an axis a covariance that was found in another way."""
        self._set(mode, covariance.double())
        self._bound()

    def _scatter(self, weights: Tensor, mode: int) -> Tensor:
        """``(D_m / D) W_(m) (x_(k != m) S_k)^-1 W_(m)^T``; as a square of rows, so that rounding leaves it positive."""
        others = [other for other in self.modes if other != mode]
        turned = self._turned(weights, others)
        for other in others:
            turned = turned / self._spread(other).sqrt()
        rows = turned.movedim(mode, 0).flatten(1)
        return rows @ rows.T / rows.shape[1]

    def _turned(self, tensor: Tensor, modes: Sequence[int]) -> Tensor:
        """The tensor along the eigenvectors of some axes."""
        for mode in modes:
            tensor = torch.tensordot(getattr(self, f"directions_{mode}").T, tensor, dims=([1], [mode])).movedim(0, mode)
        return tensor

    def _spread(self, mode: int) -> Tensor:
        """Eigenvalues of an axis, (1, .., D_m, .., 1)."""
        shape = [1] * len(self.shape)
        shape[mode] = -1
        spread: Tensor = getattr(self, f"variances_{mode}").reshape(shape)
        return spread

    def _variances(self) -> Tensor:
        """Variances along the eigenvectors; a shape that spreads over that of the weights."""
        first, *others = self.modes
        product = self._spread(first)
        for mode in others:
            product = product * self._spread(mode)
        return torch.maximum(product, self.floor)

    def _set(self, mode: int, covariance: Tensor) -> None:
        symmetric = (covariance + covariance.T) / 2
        variances, directions = torch.linalg.eigh(symmetric)
        getattr(self, f"covariance_{mode}").copy_(symmetric)
        getattr(self, f"directions_{mode}").copy_(directions)
        # rounding may leave a singular matrix an eigenvalue below zero
        getattr(self, f"variances_{mode}").copy_(torch.maximum(variances, _smallest(variances, self.ridge)))

    def _rescale(self, scale: Tensor) -> None:
        """Give all variances a scale, by the covariance of the last axis."""
        for name in ("covariance", "variances"):
            getattr(self, f"{name}_{self.modes[-1]}").mul_(scale)

    def _bound(self) -> None:
        """What follows from all covariances: the floor of the variances, and the log-determinant."""
        means = torch.stack([getattr(self, f"variances_{mode}").mean() for mode in self.modes])
        self.floor.copy_(_smallest(means.prod(), self.ridge).clamp(min=self.smallest_variance))
        variances = self._variances()
        self.log_determinants.copy_(variances.log().sum() * (math.prod(self.shape) / variances.numel()))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move with the weights, but stay in float64: variances of many sizes have no room in half precision."""
        exact = dict(self.named_buffers())
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, buffer in exact.items():
            moved = getattr(self, name)
            if moved.dtype != buffer.dtype:
                setattr(self, name, buffer.to(moved.device))
        return self


def _smallest(variances: Tensor, ridge: float) -> Tensor:
    """The smallest variance that a ridge leaves beside others."""
    return variances.mean() * (ridge / (1 + ridge))
