"""The solvers of :mod:`taskloom.solvers` as operations on tensors.

Gramians on a GPU go to the host, which is exact; where that would be all that a step waits for, and an equal way exists
there (quadratic programs: :mod:`taskloom.balance._interior`), they stay.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from taskloom.balance import _interior
from taskloom.balance._operators import (
    Array,
    each,
    each_gramian,
    falls_back,
    is_finite,
    like_a_row,
    like_a_row_and_a_flag,
    operator,
    symmetric,
)
from taskloom.solvers import conflict_averse as _conflict_averse
from taskloom.solvers import dual_cone as _dual_cone
from taskloom.solvers import fair as _fair
from taskloom.solvers import minimum_norm as _minimum_norm
from taskloom.solvers import nash as _nash

__all__ = [
    "OnStationary",
    "allocate",
    "bargain",
    "conflict_averse",
    "conflict_averse_weights",
    "dual_cone",
    "fair",
    "min_norm",
    "nash",
]

OnStationary = Literal["regularise", "zero"]

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
    weights: Tensor = _min_norm_of(gramian.detach(), active)
    return weights


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
    found: Tensor = _dual_cone_of(gramian.detach(), rows)
    return found.reshape(u.shape)


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
    weights: Tensor = _conflict_averse_of(gramian.detach(), active, c)
    return weights


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
    weights: Tensor = _conflict_averse_weights_of(gramian.detach(), active, c, rounding)
    return weights


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
    return bargain(gramian, active=active, rounding=rounding, on_stationary=on_stationary)[0]


def bargain(
    gramian: Tensor,
    *,
    active: Tensor | None = None,
    rounding: float = _ROUNDING,
    on_stationary: OnStationary = "regularise",
) -> tuple[Tensor, Tensor]:
    """The same, and whether there is no solution.

    Args:
        gramian: as in :func:`nash`.
        active: as in :func:`nash`.
        rounding: as in :func:`nash`.
        on_stationary: as in :func:`nash`.

    Returns:
        a, shape (S,), and bool ().

    Example:
        >>> bargain(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]), on_stationary="zero")
        (tensor([0., 0.]), tensor(True))
    """
    weights, is_unsolved = _nash_of(gramian.detach(), active, rounding, on_stationary == "regularise")
    return weights, is_unsolved


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
    return allocate(gramian, alpha, active=active, rounding=rounding, on_stationary=on_stationary)[0]


def allocate(
    gramian: Tensor,
    alpha: float,
    *,
    active: Tensor | None = None,
    rounding: float = _ROUNDING,
    on_stationary: OnStationary = "regularise",
) -> tuple[Tensor, Tensor]:
    """The same, and whether there is no solution.

    Args:
        gramian: as in :func:`fair`.
        alpha: as in :func:`fair`.
        active: as in :func:`fair`.
        rounding: as in :func:`fair`.
        on_stationary: as in :func:`fair`.

    Returns:
        w, shape (S,), and bool ().

    Example:
        >>> allocate(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]), 2.0, on_stationary="zero")
        (tensor([0., 0.]), tensor(True))
    """
    weights, is_unsolved = _fair_of(gramian.detach(), active, alpha, rounding, on_stationary == "regularise")
    return weights, is_unsolved


# -- the operators ----------------------------------------------------------------------------------------------------


def _tolerance(gramian: Array, rounding: float) -> float:
    """Squared length in the hull of unit gradients that counts as zero."""
    return 10 * len(gramian) * min(rounding, _COARSEST)


_COARSEST = torch.finfo(torch.float32).eps


def _stays(gramian: Tensor) -> bool:
    """Whether a Gramian is solved on its device: one with double precision."""
    return gramian.is_cuda


def _solve_min_norm(gramian: Tensor, active: Tensor | None) -> Tensor:
    if _stays(gramian):
        return _interior.min_norm(gramian.double(), active).to(gramian)
    return each_gramian(lambda matrix: (_minimum_norm.minimum_norm(matrix), True), gramian, active)[0]


def _solve_conflict_averse(gramian: Tensor, active: Tensor | None, c: float) -> Tensor:
    return each_gramian(lambda matrix: (_conflict_averse.conflict_averse(matrix, c), True), gramian, active)[0]


def _solve_conflict_averse_weights(gramian: Tensor, active: Tensor | None, c: float, rounding: float) -> Tensor:
    def solve(matrix: Array) -> tuple[Array, bool]:
        return _conflict_averse.conflict_averse_weights(matrix, c, rounding=rounding), True

    return each_gramian(solve, gramian, active)[0]


def _solve_nash(gramian: Tensor, active: Tensor | None, rounding: float, regularise: bool) -> tuple[Tensor, Tensor]:
    def solve(matrix: Array) -> tuple[Array, bool]:
        if not matrix.diagonal().any():
            return np.full(len(matrix), 1 / len(matrix)), True
        return _nash.bargain(matrix, tolerance=_tolerance(matrix, rounding), regularise=regularise)

    weights, solved = each_gramian(solve, gramian, active)
    return weights, falls_back(solved, gramian)


def _solve_fair(
    gramian: Tensor, active: Tensor | None, alpha: float, rounding: float, regularise: bool
) -> tuple[Tensor, Tensor]:
    def solve(matrix: Array) -> tuple[Array, bool]:
        if not matrix.diagonal().any():
            return np.full(len(matrix), 1 / len(matrix)), True
        return _fair.allocate(matrix, alpha, tolerance=_tolerance(matrix, rounding), regularise=regularise)

    weights, solved = each_gramian(solve, gramian, active)
    return weights, falls_back(solved, gramian)


def _solve_dual_cone(gramian: Tensor, u: Tensor) -> Tensor:
    if _stays(gramian):
        return _interior.dual_cone(gramian.double(), u.double()).to(gramian)

    def solve(matrix: Array, rows: Array) -> tuple[Array]:
        if not (is_finite(matrix) and is_finite(rows)):
            return (np.full_like(rows, np.nan),)
        return (_dual_cone.dual_cone(symmetric(matrix), rows),)

    return each(solve, gramian, u)[0]


_min_norm_of = operator("min_norm", "Tensor gramian, Tensor? active", solve=_solve_min_norm, fake=like_a_row)
_conflict_averse_of = operator(
    "conflict_averse", "Tensor gramian, Tensor? active, float c", solve=_solve_conflict_averse, fake=like_a_row
)
_conflict_averse_weights_of = operator(
    "conflict_averse_weights",
    "Tensor gramian, Tensor? active, float c, float rounding",
    solve=_solve_conflict_averse_weights,
    fake=like_a_row,
)
_nash_of = operator(
    "nash",
    "Tensor gramian, Tensor? active, float rounding, bool regularise",
    solve=_solve_nash,
    fake=like_a_row_and_a_flag,
    n_results=2,
)
_fair_of = operator(
    "fair",
    "Tensor gramian, Tensor? active, float alpha, float rounding, bool regularise",
    solve=_solve_fair,
    fake=like_a_row_and_a_flag,
    n_results=2,
)
_dual_cone_of = operator(
    "dual_cone",
    "Tensor gramian, Tensor u",
    solve=_solve_dual_cone,
    fake=lambda gramian, u: gramian.new_empty(u.shape),
)
