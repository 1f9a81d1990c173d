"""Trace norm of stacked task parameters: the networks of the tasks should span few directions.

For a matrix M with singular values s_i, and M M^T taken on the side with fewer rows::

    ||M||_* = sum_i s_i,   smoothed:  sum_i (sqrt(s_i^2 + eps^2) - eps)

The plain derivative of the trace norm at a rank-deficient matrix is a subgradient that pushes equal tasks apart in
arbitrary directions. The smoothed form has gradient zero at zero and spectral norm of the gradient at most one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from taskloom.couplings.base import ParameterCoupling
from taskloom.errors import TaskError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["TraceNorm", "Unfolding"]


class Unfolding(Enum):
    """Which matrices are made of a stacked parameter of shape (d_1, .., d_p, K), task axis last.

    Example:
        >>> Unfolding("tucker")
        <Unfolding.TUCKER: 'tucker'>
    """

    LAF = "laf"
    """One matrix, tasks against all other axes (last axis flattening)."""
    TUCKER = "tucker"
    """Every axis against all others, averaged."""
    TT = "tt"
    """The first m axes against the rest, for every cut m, averaged (tensor train)."""


@dataclass(frozen=True)
class TraceNorm(ParameterCoupling):
    """Trace norm of stacked weights: each task's weight should be a combination of few common ones.

        strength * mean over layers of  sum over matrices M of the layer of  gamma ||M||_*

    Softer than distances: tasks may differ as much as they like inside a common low-dimensional space. Biases and
    other vectors are left out. Computed in float64 from the eigenvalues of the smaller Gram matrix, whatever the
    precision of the parameters and of autocast.

    Args:
        strength: lambda, 0 or more; default 1e-3 (our choice).
        unfolding: ``"laf"`` (default), ``"tucker"`` or ``"tt"``, see :class:`Unfolding`.

    Cost:
        one symmetric eigenvalue problem per matrix, of the size of its smaller side (``laf``: at most K).

    Differs from the paper:
        smoothed by eps = max(1e-4 times the root mean square of M, 1e-6), see the module text.

    Source:
        Y. Yang, T. Hospedales, Trace Norm Regularised Deep Multi-Task Learning, ICLR 2017 workshop,
        arXiv:1606.04038.

    Example:
        >>> import torch
        >>> equal = torch.ones(2, 3, 1)  # two tasks, equal weights: one singular value, sqrt(6)
        >>> round(float(TraceNorm(strength=1.0)({"weight": equal})), 3)
        2.449
    """

    unfolding: Unfolding | str = Unfolding.LAF

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            object.__setattr__(self, "unfolding", Unfolding(self.unfolding))
        except ValueError:
            known = [member.value for member in Unfolding]
            raise TaskError(f"unknown unfolding {self.unfolding!r}; choose one of {known}") from None

    def applies_to(self, shape: torch.Size) -> bool:
        """Matrices and kernels, no vectors."""
        return len(shape) >= 2

    def distance(self, stacks: Mapping[str, Tensor], centre: Mapping[str, Tensor] | None = None) -> Tensor:
        """Mean over layers of the smoothed trace norms; float64 scalar."""
        layers = [_layer_norm(stack, Unfolding(self.unfolding)) for stack in stacks.values()]
        total = layers[0]
        for layer in layers[1:]:
            total = total + layer
        return total / len(layers)


def _layer_norm(stack: Tensor, unfolding: Unfolding) -> Tensor:
    weight = stack.double().movedim(0, -1)  # (d_1, .., d_p, K)
    if unfolding is Unfolding.LAF:
        return smooth_trace_norm(weight.flatten(0, -2))
    if unfolding is Unfolding.TUCKER:
        matrices = [weight.movedim(axis, 0).flatten(1) for axis in range(weight.ndim)]
    else:
        matrices = [weight.flatten(0, cut).flatten(1) for cut in range(weight.ndim - 1)]
    total = smooth_trace_norm(matrices[0])
    for matrix in matrices[1:]:
        total = total + smooth_trace_norm(matrix)
    return total / len(matrices)


def smooth_trace_norm(matrix: Tensor) -> Tensor:
    """Smoothed trace norm of a float64 matrix (rows, columns); scalar, zero with zero gradient at zero.

    Example:
        >>> import torch
        >>> smooth_trace_norm(torch.zeros(2, 2, dtype=torch.float64)).item()
        0.0
    """
    import torch

    if matrix.shape[0] > matrix.shape[1]:
        matrix = matrix.mT
    rows = matrix.shape[0]
    eps = (1e-4 * matrix.detach().square().mean().sqrt()).clamp_min(1e-6)
    identity = torch.eye(rows, dtype=matrix.dtype, device=matrix.device)
    gram = matrix @ matrix.mT + eps.square() * identity  # (rows, rows)
    # All eigenvalues are at least eps^2; rounding may take one below zero when the matrix is large.
    eigenvalues = torch.maximum(torch.linalg.eigvalsh(gram), 0.25 * eps.square())
    return (eigenvalues.sqrt() - eps).sum()
