"""Quadratic programs of K unknowns by an interior point, in batches, on the device where the Gramian is.

    minimise z^T H z / 2 + c^T z  over z >= 0,        y = H z + c >= 0,  z o y = 0 at the solution

A fixed number of predictor-corrector steps (Mehrotra): no number is looked at on the host, so that a GPU is never
waited for. H is scaled to a unit diagonal and c to a largest entry of 1 first. With the residual r = H z + c - y and a
target t for the products z o y, a step solves

    (H + diag(y / z)) dz = -r - y + t / z,    dy = -y + (t - y o dz) / z

once for the predictor, t = 0, and once for the corrector, whose t makes up for the predictor's error dz o dy, with one
Cholesky factor for both. Members of a batch that are done, or of which a step is not finite, stay as they are.

The arithmetic is K^3 / 3 per step and member: at K = 40 and 30 steps less than a million operations. On the host,
:mod:`taskloom.solvers.quadratic` (active set) is exact and quicker.

Source:
    Mehrotra, "On the Implementation of a Primal-Dual Interior Point Method", SIAM Journal on Optimization 2(4), 1992.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["dual_cone", "min_norm", "nonnegative"]

_STEPS = 30
_DONE = 1e-24  # mean of z o y
_SHORT_OF_THE_BOUNDARY = 0.995
_RIDGE = 1e-15  # on a unit diagonal, so that the Cholesky factor of a singular Gramian exists


def nonnegative(H: Tensor, c: Tensor) -> Tensor:
    """The minimiser of ``z^T H z / 2 + c^T z`` over ``z >= 0``.

    Args:
        H: symmetric and positive semi-definite, shape (..., K, K), float64.
        c: shape (..., K), such that the minimum is bounded; its leading dimensions go with those of H.

    Returns:
        z, shape (..., K). Where H is singular, one minimiser of several; ``H z`` is unique.

    Example:
        >>> H = torch.tensor([[1.0, -0.5], [-0.5, 1.0]], dtype=torch.float64)
        >>> nonnegative(H, torch.tensor([-1.0, 2.0], dtype=torch.float64))
        tensor([1.0000, 0.0000], dtype=torch.float64)
    """
    diagonal = H.diagonal(dim1=-2, dim2=-1)
    scale = torch.where(diagonal > 0, diagonal, 1).rsqrt()
    H = H * scale.unsqueeze(-1) * scale.unsqueeze(-2)
    c = c * scale
    size = c.abs().amax(-1, keepdim=True)
    size = torch.where(size > 0, size, 1)
    c = c / size
    z = y = torch.ones_like(c)
    ridge = _RIDGE * torch.eye(H.shape[-1], dtype=H.dtype, device=H.device)
    for _ in range(_STEPS):
        product = z * y
        mean = product.mean(-1, keepdim=True)
        residual = _times(H, z) + c - y
        # not of cholesky(), which would wait for the device to say whether it went well
        factor = torch.linalg.cholesky_ex(H + ridge + torch.diag_embed(y / z)).L

        dz = _solve(factor, -residual - y)  # straight at z o y = 0
        dy = -y - y * dz / z
        nearer = (z + _reach(z, dz) * dz) * (y + _reach(y, dy) * dy)
        aim = (nearer.mean(-1, keepdim=True) / mean).pow(3) * mean - dz * dy
        dz = _solve(factor, -residual - y + aim / z)
        dy = -y + (aim - y * dz) / z
        next_z = z + (_SHORT_OF_THE_BOUNDARY * _reach(z, dz, 1 / _SHORT_OF_THE_BOUNDARY)) * dz
        next_y = y + (_SHORT_OF_THE_BOUNDARY * _reach(y, dy, 1 / _SHORT_OF_THE_BOUNDARY)) * dy
        goes_on = (mean > _DONE) & (next_z + next_y).isfinite().all(-1, keepdim=True)
        z, y = torch.where(goes_on, next_z, z), torch.where(goes_on, next_y, y)
    is_finite = (H.sum((-2, -1)) + c.sum(-1)).isfinite()  # among many members one may have diverged
    return torch.where(is_finite.unsqueeze(-1), z * size * scale, torch.nan)


def min_norm(gramian: Tensor, active: Tensor | None = None) -> Tensor:
    """Weights of the shortest vector in the convex hull of the rows that are there.

    With ``d = min_i G_ii`` the solution of the program with ``H = G + d 1 1^T``, ``c = -1`` is a multiple of it; d
    keeps it bounded where 0 is in the hull.

    Args:
        gramian: G, shape (..., K, K), float64.
        active: bool (..., K): which rows there are; None: all of them.

    Returns:
        w, shape (..., K); rows that are not there get 0, and zero rows that are there share the weight.

    Example:
        >>> min_norm(torch.diag(torch.tensor([1.0, 3.0], dtype=torch.float64)))
        tensor([0.7500, 0.2500], dtype=torch.float64)
    """
    diagonal = gramian.diagonal(dim1=-2, dim2=-1)
    there = torch.ones_like(diagonal, dtype=torch.bool) if active is None else active.expand(diagonal.shape)
    smallest = torch.where(there, diagonal, torch.inf).amin(-1)[..., None, None]
    pairs = there.unsqueeze(-1) & there.unsqueeze(-2)
    identity = torch.eye(gramian.shape[-1], dtype=gramian.dtype, device=gramian.device)
    # a row that is not there is a program of its own, with the solution 0
    H = torch.where(pairs, _symmetric(gramian) + smallest, identity)
    z = nonnegative(H, torch.where(there, -1.0, 1.0).to(gramian))
    z = torch.where(there, z, 0)
    weights = z / torch.where(there.any(-1, keepdim=True), z.sum(-1, keepdim=True), 1)
    is_zero = there & (diagonal == 0)
    uniform = is_zero / is_zero.sum(-1, keepdim=True).clamp(min=1)
    return torch.where(is_zero.any(-1, keepdim=True), uniform, weights)


def dual_cone(gramian: Tensor, u: Tensor) -> Tensor:
    """Coefficients of the projections of R combinations of rows on ``{x : J x >= 0}``: ``u + z`` with ``c = G u``.

    Args:
        gramian: G, shape (..., K, K), float64.
        u: shape (..., R, K).

    Returns:
        v, shape (..., R, K).

    Example:
        >>> gramian = torch.tensor([[1.0, -1.0], [-1.0, 4.0]], dtype=torch.float64)
        >>> dual_cone(gramian, torch.eye(2, dtype=torch.float64))
        tensor([[1.0000, 0.2500],
                [1.0000, 1.0000]], dtype=torch.float64)
    """
    symmetric = _symmetric(gramian)
    return u + nonnegative(symmetric.unsqueeze(-3).expand(*u.shape, u.shape[-1]), u @ symmetric)


def _symmetric(gramian: Tensor) -> Tensor:
    return (gramian + gramian.mT) / 2


def _times(H: Tensor, z: Tensor) -> Tensor:
    return (H @ z.unsqueeze(-1)).squeeze(-1)


def _solve(factor: Tensor, right: Tensor) -> Tensor:
    return torch.cholesky_solve(right.unsqueeze(-1), factor).squeeze(-1)


def _reach(point: Tensor, step: Tensor, longest: float = 1.0) -> Tensor:
    """The largest multiple of a step, at most ``longest``, that keeps a positive point from being negative."""
    ratio = torch.where(step < 0, -point / step, longest)
    return ratio.amin(-1, keepdim=True).clamp(max=longest)
