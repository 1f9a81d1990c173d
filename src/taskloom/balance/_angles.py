"""The solvers of :mod:`taskloom.solvers.equal_angles` as operations on tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from torch import Tensor

from taskloom.balance._operators import (
    Array,
    each_gramian,
    falls_back,
    like_a_row_and_a_flag,
    operator,
)
from taskloom.solvers import equal_angles as _equal_angles

__all__ = ["Length", "conflict_free", "impartial"]

Length = Literal["projection", "min", "mean", "max"]


def impartial(gramian: Tensor, *, active: Tensor | None = None, sign_guard: bool = True) -> tuple[Tensor, Tensor]:
    """Weights of a direction with equal components along all rows.

    Args:
        gramian: G, shape (S, S). Zero rows get weight 0; if all rows are zero, their weights are uniform.
        active: bool (S,): which rows there are; the others get weight 0. None: all of them.
        sign_guard: False divides by the sum of the weights as it is, which can turn the direction against all rows.

    Returns:
        w, shape (S,), and bool (): True where there is no such direction, so that w is that of the nearest one.

    Example:
        >>> import torch
        >>> impartial(torch.diag(torch.tensor([1.0, 9.0])))
        (tensor([0.7500, 0.2500]), tensor(False))
    """
    weights, is_unsolved = _impartial_of(gramian.detach(), active, sign_guard)
    return weights, is_unsolved


def conflict_free(gramian: Tensor, preference: Tensor, *, length: Length = "projection") -> tuple[Tensor, Tensor]:
    """Weights of the direction whose cosines with the rows are in the ratio of a preference.

    Args:
        gramian: as in :func:`impartial`.
        preference: p >= 0, shape (S,).
        length: norm of the direction: the sum of the components of the rows along it, or the smallest, mean or largest
            norm of the rows that are not zero.

    Returns:
        as :func:`impartial`; uniform over p > 0 if all rows are zero.

    Example:
        >>> import torch
        >>> conflict_free(torch.diag(torch.tensor([1.0, 4.0])), torch.ones(2))
        (tensor([1.5000, 0.7500]), tensor(False))
    """
    weights, is_unsolved = _conflict_free_of(gramian.detach(), preference.detach(), length)
    return weights, is_unsolved


# -- the operators -----------------------------------------------------------------------------------------------------


def _solve_impartial(gramian: Tensor, active: Tensor | None, sign_guard: bool) -> tuple[Tensor, Tensor]:
    weights, solved = each_gramian(
        lambda matrix: _equal_angles.impartial(matrix, sign_guard=sign_guard), gramian, active
    )
    return weights, falls_back(solved, gramian)


def _solve_conflict_free(gramian: Tensor, preference: Tensor, length: Length) -> tuple[Tensor, Tensor]:
    def solve(matrix: Array, preferred: Array) -> tuple[Array, bool]:
        if length == "projection":
            return _equal_angles.conflict_free(matrix, preferred)
        norms = np.sqrt(matrix.diagonal())
        wanted = float(_NORMS[length](norms[norms > 0])) if norms.any() else 0.0
        return _equal_angles.conflict_free(matrix, preferred, length=wanted)

    weights, solved = each_gramian(solve, gramian, None, preference)
    return weights, falls_back(solved, gramian)


_NORMS: dict[str, Callable[[Array], Any]] = {"min": np.min, "mean": np.mean, "max": np.max}


_impartial_of = operator(
    "impartial",
    "Tensor gramian, Tensor? active, bool sign_guard",
    solve=_solve_impartial,
    fake=like_a_row_and_a_flag,
    n_results=2,
)
_conflict_free_of = operator(
    "conflict_free",
    "Tensor gramian, Tensor preference, str length",
    solve=_solve_conflict_free,
    fake=like_a_row_and_a_flag,
    n_results=2,
)
