"""A tensor normal prior on stacked weights: covariances along features, outputs and tasks, learned by flip-flop."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["TensorNormal"]


class TensorNormal(nn.Module):
    """Negative log-likelihood of a tensor W (D_1, .., D_M) under TN(0, S_1, .., S_M), without its constant.

        1/2 [ <W, W x_1 S_1^-1 ... x_M S_M^-1> + sum_m (D / D_m) log|S_m| ],   D = D_1 ... D_M

    The covariances start as identities, are float64 buffers, and change only in :meth:`update`.

    Args:
        shape: (D_1, .., D_M).
        modes: the axes with a covariance of their own; the others keep the identity.
        ridge: what :meth:`update` adds to the diagonal, relative to its mean: without it equal tasks make a covariance
            singular and the likelihood unbounded.
    """

    log_determinants: Tensor

    def __init__(self, shape: Sequence[int], *, modes: Sequence[int], ridge: float) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.modes = tuple(modes)
        self.ridge = ridge
        for mode in self.modes:
            eye = torch.eye(self.shape[mode], dtype=torch.float64)
            self.register_buffer(f"covariance_{mode}", eye)
            self.register_buffer(f"precision_{mode}", eye.clone())
        self.register_buffer("log_determinants", torch.zeros((), dtype=torch.float64))

    def covariance(self, mode: int) -> Tensor:
        """Covariance along an axis, (D_m, D_m)."""
        found: Tensor = getattr(self, f"covariance_{mode}")
        return found

    def forward(self, weights: Tensor) -> Tensor:
        """The value, a float64 scalar, differentiable in the weights."""
        weights = weights.double()
        whitened = weights
        for mode in self.modes:
            whitened = _along(getattr(self, f"precision_{mode}").double(), whitened, mode)
        return 0.5 * ((weights * whitened).sum() + self.log_determinants.double())

    @torch.no_grad()
    def update(self, weights: Tensor) -> None:
        """One sweep: each covariance in turn takes the value that minimises the whole, the ridge aside.

        S_m <- (D_m / D) W_(m) (x_(k != m) S_k)^-1 W_(m)^T + ridge
        """
        weights = weights.detach().double()
        for mode in self.modes:
            whitened = weights
            for other in self.modes:
                if other != mode:
                    whitened = _along(getattr(self, f"precision_{other}").double(), whitened, other)
            found = _unfolded(weights, mode) @ _unfolded(whitened, mode).T * (self.shape[mode] / weights.numel())
            self._set(
                mode, found + self.ridge * found.diagonal().mean().clamp(min=1e-12) * torch.eye(len(found)).to(found)
            )
        self._normalise()

    @torch.no_grad()
    def set_covariance(self, mode: int, covariance: Tensor) -> None:
        """Give an axis a covariance that was found in another way."""
        self._set(mode, covariance.double())
        self._count()

    def _set(self, mode: int, covariance: Tensor) -> None:
        symmetric = (covariance + covariance.T) / 2
        getattr(self, f"covariance_{mode}").copy_(symmetric)
        getattr(self, f"precision_{mode}").copy_(torch.cholesky_inverse(torch.linalg.cholesky(symmetric)))

    def _normalise(self) -> None:
        """Only the product of the scales is determined: all but the last get mean diagonal 1."""
        last, scale = self.modes[-1], torch.ones((), dtype=torch.float64)
        for mode in self.modes[:-1]:
            factor = self.covariance(mode).diagonal().mean()
            scale = scale.to(factor) * factor
            self._set(mode, self.covariance(mode).double() / factor)
        self._set(last, self.covariance(last).double() * scale)
        self._count()

    def _count(self) -> None:
        logs = [torch.linalg.slogdet(self.covariance(mode).double())[1] for mode in self.modes]
        counts = [math.prod(self.shape) / self.shape[mode] for mode in self.modes]
        self.log_determinants.copy_(torch.stack([log * n for log, n in zip(logs, counts, strict=True)]).sum())


def _along(matrix: Tensor, tensor: Tensor, mode: int) -> Tensor:
    """``tensor x_mode matrix``."""
    product: Tensor = torch.tensordot(matrix, tensor, dims=([1], [mode]))
    return product.movedim(0, mode)


def _unfolded(tensor: Tensor, mode: int) -> Tensor:
    return tensor.movedim(mode, 0).flatten(1)
