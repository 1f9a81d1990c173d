"""The solvers of :mod:`taskloom.solvers` as operations on tensors, and the projection on the simplex.

A solver runs on the host, on one K x K matrix after the other. As a custom operator it is one operation to PyTorch:
``torch.func.vmap`` hands it a batch of matrices, a recorder of tensor operations sees one call, and the meta device
knows its shape. Gradients do not pass. Everything works in float64; results have the dtype and device of the Gramian.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taskloom.errors import BalanceError
from taskloom.solvers import conflict_averse as _conflict_averse
from taskloom.solvers import dual_cone as _dual_cone
from taskloom.solvers import fair as _fair
from taskloom.solvers import minimum_norm as _minimum_norm
from taskloom.solvers import nash as _nash

__all__ = [
    "OnStationary",
    "conflict_averse",
    "conflict_averse_weights",
    "dual_cone",
    "fair",
    "min_norm",
    "nash",
    "project_simplex",
]

OnStationary = Literal["regularise", "zero"]
Array = NDArray[np.float64]

_ROUNDING = torch.finfo(torch.float64).eps


# -- what callers use -------------------------------------------------------------------------------------------------


def min_norm(gramian: Tensor, *, active: Tensor | None = None) -> Tensor:
    """Weights of the shortest vector in the convex hull of the rows.

    Args:
        gramian: G, shape (S, S).
        active: bool (S,): which rows there are; the others get weight 0. None: all of them.

    Returns:
        w, shape (S,), on the simplex; zero rows that there are share the weight.

    Example:
        >>> min_norm(torch.diag(torch.tensor([1.0, 3.0], dtype=torch.float64)))
        tensor([0.7500, 0.2500], dtype=torch.float64)
    """
    return _min_norm_of(gramian.detach(), active)


def dual_cone(gramian: Tensor, u: Tensor) -> Tensor:
    """Coefficients of the projections of combinations of rows on ``{x : J x >= 0}``.

    Args:
        gramian: G, shape (S, S).
        u: coefficients of one combination, shape (S,), or of R of them, shape (R, S).

    Returns:
        v, shape of ``u``, with ``G v >= 0``.

    Example:
        >>> gramian = torch.tensor([[1.0, -1.0], [-1.0, 4.0]], dtype=torch.float64)
        >>> dual_cone(gramian, torch.tensor([0.5, 0.0], dtype=torch.float64))
        tensor([0.5000, 0.1250], dtype=torch.float64)
    """
    rows = u.detach() if u.ndim == 2 else u.detach().unsqueeze(0)
    return _dual_cone_of(gramian.detach(), rows).reshape(u.shape)


def conflict_averse(gramian: Tensor, c: float, *, active: Tensor | None = None) -> Tensor:
    """Point of the simplex that minimises ``w^T G b + c ||g_0|| ||J^T w||``, b uniform.

    Args:
        gramian: G, shape (S, S).
        c: radius of the ball around the mean gradient, as a multiple of its length.
        active: as in :func:`min_norm`; b is uniform over these rows.

    Returns:
        w, shape (S,).

    Example:
        >>> gramian = torch.tensor([[1.0, -1.0], [-1.0, 4.0]], dtype=torch.float64)
        >>> conflict_averse(gramian, 0.4)
        tensor([1., 0.], dtype=torch.float64)
    """
    return _conflict_averse_of(gramian.detach(), active, c)


def conflict_averse_weights(
    gramian: Tensor, c: float, *, active: Tensor | None = None, rounding: float = _ROUNDING
) -> Tensor:
    """Weights of the direction in the ball ``||d - g_0|| <= c ||g_0||`` that does most for the worst-off task.

    Args:
        gramian: as in :func:`conflict_averse`.
        c: as in :func:`conflict_averse`.
        active: as in :func:`conflict_averse`.
        rounding: relative rounding error of the gradients; decides when there is no such direction but g_0 itself.

    Returns:
        ``b + c ||g_0|| w / ||J^T w||`` with w of :func:`conflict_averse`, shape (S,).

    Example:
        >>> gramian = torch.tensor([[1.0, -1.0], [-1.0, 4.0]], dtype=torch.float64)
        >>> conflict_averse_weights(gramian, 0.5)
        tensor([0.9330, 0.5000], dtype=torch.float64)
    """
    return _conflict_averse_weights_of(gramian.detach(), active, c, rounding)


def nash(
    gramian: Tensor,
    *,
    active: Tensor | None = None,
    rounding: float = _ROUNDING,
    on_stationary: OnStationary = "regularise",
) -> Tensor:
    """Positive solution of ``G a = 1 / a``.

    Args:
        gramian: G, shape (S, S). Zero rows get weight 0; if all rows are zero, their weights are uniform.
        active: as in :func:`min_norm`.
        rounding: relative rounding error of the gradients; decides what counts as Pareto stationary. Coarser than
            float32 counts as float32.
        on_stationary: at Pareto stationary points, where there is no solution: "regularise" solves with a slightly
            larger diagonal, "zero" gives zeros.

    Returns:
        a, shape (S,).

    Example:
        >>> nash(torch.diag(torch.tensor([1.0, 4.0], dtype=torch.float64)))
        tensor([1.0000, 0.5000], dtype=torch.float64)
    """
    return _nash_of(gramian.detach(), active, rounding, on_stationary == "regularise")


def fair(
    gramian: Tensor,
    alpha: float,
    *,
    active: Tensor | None = None,
    rounding: float = _ROUNDING,
    on_stationary: OnStationary = "regularise",
) -> Tensor:
    """Positive solution of ``G w = w^(-1/alpha)``.

    Args:
        gramian: as in :func:`nash`.
        alpha: > 0; 1 is Nash.
        active: as in :func:`min_norm`.
        rounding: as in :func:`nash`.
        on_stationary: as in :func:`nash`.

    Returns:
        w, shape (S,).

    Example:
        >>> fair(torch.diag(torch.tensor([1.0, 8.0], dtype=torch.float64)), 2.0)
        tensor([1.0000, 0.2500], dtype=torch.float64)
    """
    return _fair_of(gramian.detach(), active, alpha, rounding, on_stationary == "regularise")


def project_simplex(v: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Nearest point with entries between ``low`` and ``high`` that sum to 1, along the last axis.

    Tensor operations only: it runs under every transform and on every device, and lets gradients pass.

    Args:
        v: shape (..., S).
        low: smallest entry, at most 1 / S.
        high: largest entry, at least 1 / S.

    Returns:
        shape (..., S).

    Raises:
        BalanceError: no point satisfies the bounds.

    Example:
        >>> project_simplex(torch.tensor([0.5, 0.8, -1.0]))
        tensor([0.3500, 0.6500, 0.0000])
        >>> project_simplex(torch.tensor([0.5, 0.8, -1.0]), low=0.1, high=0.5)
        tensor([0.4000, 0.5000, 0.1000])
    """
    n = v.shape[-1]
    if not low * n <= 1 + 1e-12 <= high * n + 2e-12:
        raise BalanceError(f"no {n} numbers between {low} and {high} sum to 1; {low} <= 1/{n} <= {high} is needed")
    left = 1 - low * n  # what is to be shared out above the lower bound
    if low + left <= high:
        ordered = v.sort(dim=-1, descending=True).values
        counts = torch.arange(1, n + 1, dtype=v.dtype, device=v.device)
        thresholds = (ordered.cumsum(-1) - left) / counts  # of the first 1, 2, ... entries alone
        last = (ordered > thresholds).sum(-1, keepdim=True).clamp(min=1) - 1
        return (v - thresholds.gather(-1, last)).clamp(min=0) + low
    # bisection for the shift that makes the clipped entries sum to 1, then its value on the entries between the bounds
    smallest, largest = v.amin(-1, keepdim=True) - high, v.amax(-1, keepdim=True) - low
    for _ in range(_BISECTIONS):
        middle = (smallest + largest) / 2
        too_small = (v - middle).clamp(low, high).sum(-1, keepdim=True) > 1
        smallest, largest = torch.where(too_small, middle, smallest), torch.where(too_small, largest, middle)
    clipped = (v - (smallest + largest) / 2).clamp(low, high)
    free = (clipped > low) & (clipped < high)
    excess = clipped.sum(-1, keepdim=True) - 1
    return (clipped - free * excess / free.sum(-1, keepdim=True).clamp(min=1)).clamp(low, high)


_BISECTIONS = 60


# -- the operators ----------------------------------------------------------------------------------------------------


def _each(solve: Callable[[Array], Array], gramian: Tensor, active: Tensor | None) -> Tensor:
    """A solver on every matrix of a batch; rows that are not there do not take part and get 0."""
    matrices = gramian.to("cpu", torch.float64).numpy()
    n = matrices.shape[-1]
    flat = matrices.reshape(-1, n, n)
    present = None if active is None else np.broadcast_to(active.cpu().numpy(), matrices.shape[:-1]).reshape(-1, n)
    weights = np.zeros((len(flat), n))
    for number, matrix in enumerate(flat):
        if present is None or present[number].all():
            weights[number] = _guarded(solve, matrix)
        elif present[number].any():
            kept = np.flatnonzero(present[number])
            weights[number, kept] = _guarded(solve, matrix[np.ix_(kept, kept)])
    return torch.from_numpy(weights.reshape(matrices.shape[:-1])).to(gramian)


def _guarded(solve: Callable[[Array], Array], matrix: Array) -> Array:
    """NaN for what is not finite: among many networks one may have diverged."""
    if not np.isfinite(matrix).all():
        return np.full(len(matrix), np.nan)
    return solve((matrix + matrix.T) / 2)


def _tolerance(gramian: Array, rounding: float) -> float:
    """Squared length in the hull of unit gradients that counts as zero."""
    return 10 * len(gramian) * min(rounding, _COARSEST)


_COARSEST = torch.finfo(torch.float32).eps


def _solve_min_norm(gramian: Tensor, active: Tensor | None) -> Tensor:
    return _each(_minimum_norm.minimum_norm, gramian, active)


def _solve_conflict_averse(gramian: Tensor, active: Tensor | None, c: float) -> Tensor:
    return _each(lambda matrix: _conflict_averse.conflict_averse(matrix, c), gramian, active)


def _solve_conflict_averse_weights(gramian: Tensor, active: Tensor | None, c: float, rounding: float) -> Tensor:
    return _each(lambda matrix: _conflict_averse.conflict_averse_weights(matrix, c, rounding=rounding), gramian, active)


def _solve_nash(gramian: Tensor, active: Tensor | None, rounding: float, regularise: bool) -> Tensor:
    def solve(matrix: Array) -> Array:
        if not np.diagonal(matrix).any():
            return np.full(len(matrix), 1 / len(matrix))
        return _nash.nash(matrix, tolerance=_tolerance(matrix, rounding), regularise=regularise)

    return _each(solve, gramian, active)


def _solve_fair(gramian: Tensor, active: Tensor | None, alpha: float, rounding: float, regularise: bool) -> Tensor:
    def solve(matrix: Array) -> Array:
        if not np.diagonal(matrix).any():
            return np.full(len(matrix), 1 / len(matrix))
        return _fair.fair(matrix, alpha, tolerance=_tolerance(matrix, rounding), regularise=regularise)

    return _each(solve, gramian, active)


def _solve_dual_cone(gramian: Tensor, u: Tensor) -> Tensor:
    matrices = gramian.to("cpu", torch.float64).numpy()
    targets = u.to("cpu", torch.float64).numpy()
    n = matrices.shape[-1]
    found = np.empty_like(targets)
    rows, results = targets.reshape(-1, *targets.shape[-2:]), found.reshape(-1, *targets.shape[-2:])
    for number, matrix in enumerate(matrices.reshape(-1, n, n)):
        if np.isfinite(matrix).all() and np.isfinite(rows[number]).all():
            results[number] = _dual_cone.dual_cone((matrix + matrix.T) / 2, rows[number])
        else:
            results[number] = np.nan
    return torch.from_numpy(found).to(gramian)


# Defined by hand: torch.library.custom_op makes the same operator, but adds 60 microseconds to every call.
_LIBRARY = torch.library.Library("taskloom", "FRAGMENT")


def _operator(
    name: str, arguments: str, solve: Callable[..., Tensor], fake: Callable[..., Tensor]
) -> Callable[..., Tensor]:
    """The solver as ``torch.ops.taskloom.<name>``; its first two arguments are tensors."""
    _LIBRARY.define(f"{name}({arguments}) -> Tensor")
    _LIBRARY.impl(name, solve, "CompositeExplicitAutograd")
    found: Callable[..., Tensor] = getattr(torch.ops.taskloom, name).default

    def batched(info: Any, in_dims: Sequence[int | None], *given: Any) -> tuple[Tensor, int]:
        def in_front(argument: Any, dim: int | None) -> Any:
            if argument is None:
                return None
            return argument.expand(info.batch_size, *argument.shape) if dim is None else argument.movedim(dim, 0)

        tensors = [in_front(one, dim) for one, dim in zip(given[:2], in_dims[:2], strict=True)]
        return found(*tensors, *given[2:]), 0

    torch.library.register_fake(f"taskloom::{name}", fake, lib=_LIBRARY)
    torch.library.register_vmap(f"taskloom::{name}", batched, lib=_LIBRARY)
    return found


def _like_a_row(gramian: Tensor, *rest: Any) -> Tensor:
    return gramian.new_empty(gramian.shape[:-1])


_min_norm_of = _operator("min_norm", "Tensor gramian, Tensor? active", _solve_min_norm, _like_a_row)
_conflict_averse_of = _operator(
    "conflict_averse", "Tensor gramian, Tensor? active, float c", _solve_conflict_averse, _like_a_row
)
_conflict_averse_weights_of = _operator(
    "conflict_averse_weights",
    "Tensor gramian, Tensor? active, float c, float rounding",
    _solve_conflict_averse_weights,
    _like_a_row,
)
_nash_of = _operator(
    "nash", "Tensor gramian, Tensor? active, float rounding, bool regularise", _solve_nash, _like_a_row
)
_fair_of = _operator(
    "fair", "Tensor gramian, Tensor? active, float alpha, float rounding, bool regularise", _solve_fair, _like_a_row
)
_dual_cone_of = _operator(
    "dual_cone", "Tensor gramian, Tensor u", _solve_dual_cone, lambda gramian, u: gramian.new_empty(u.shape)
)
