"""Inner products of long rows: in the precision of the rows, added up in float64."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from taskloom.solvers.row_products import IS_COMPILED, inner_products

__all__ = ["gramian_of", "own_precision", "products", "wide"]

_COLUMNS = 1 << 10  # what the precision of the rows adds up before float64 takes over
_NUMBERS_AT_ONCE = 1 << 18  # bounds the extra memory: of partial sums, and of columns in another precision
_SHORT = 1 << 13  # columns up to which float64 from the start costs less than several operations
_SMALL = 1 << 12  # columns below which blocks are put side by side before the product
_FEW_ROWS, _FEW_THREADS = 48, 2  # up to which our own loop on one core beats matrix products on all threads


def wide(device: torch.device) -> torch.dtype:
    """The dtype in which Gramians are added up."""
    return torch.float32 if device.type == "mps" else torch.float64


def own_precision(device: torch.device) -> AbstractContextManager[object]:
    """While inside, products are made in the precision of their factors, also where the caller is inside autocast."""
    return torch.autocast(device.type, enabled=False) if torch.is_autocast_enabled(device.type) else nullcontext()


def products(left: Tensor, right: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Inner products (a, b) of the rows of (a, p) and (b, p).

    Short stretches of columns are multiplied in one batched product, which is as fast as one long product and rounds a
    hundred times less; with numba, up to 48 rows on a CPU of few threads, in loops that take half to a fifth of that.

    Args:
        left: rows.
        right: rows of the same dtype.
        dtype: precision of the products; default that of the rows, at least float32.
    """
    accurate = torch.promote_types(left.dtype, dtype or torch.float32)
    if left.shape[1] <= _SHORT:
        one = left.to(wide(left.device))
        return one @ (one if left is right else right.to(one.dtype)).T
    if _suits_loops(left, accurate) and _suits_loops(right, accurate):
        first = left.detach().numpy()
        return torch.from_numpy(inner_products(first, first if left is right else right.detach().numpy()))
    total: Tensor | None = None
    of_sums = _COLUMNS * max(1, _NUMBERS_AT_ONCE // (left.shape[0] * right.shape[0] or 1))
    step = min(of_sums, _NUMBERS_AT_ONCE) if left.dtype != accurate else of_sums
    for start in range(0, left.shape[1], step):
        one = left[:, start : start + step].to(accurate)
        other = one if left is right else right[:, start : start + step].to(accurate)
        whole = one.shape[1] // _COLUMNS * _COLUMNS
        if whole:
            stretches = [part[:, :whole].unflatten(1, (-1, _COLUMNS)).transpose(0, 1) for part in (one, other)]
            found = torch.bmm(stretches[0], stretches[1].transpose(1, 2)).sum(0, dtype=wide(left.device))
            total = found if total is None else total.add_(found)
        if whole < one.shape[1]:
            found = (one[:, whole:] @ other[:, whole:].T).to(wide(left.device))
            total = found if total is None else total.add_(found)
    assert total is not None
    return total


def _suits_loops(rows: Tensor, accurate: torch.dtype) -> bool:
    return (
        IS_COMPILED
        and type(rows) in (Tensor, torch.nn.Parameter)
        and rows.device.type == "cpu"
        and rows.dtype == accurate
        and not (rows.requires_grad and torch.is_grad_enabled())
        and rows.shape[0] <= _FEW_ROWS
        and rows.stride(1) == 1
        and torch.get_num_threads() <= _FEW_THREADS
    )


def gramian_of(blocks: Sequence[Tensor], dtype: torch.dtype | None = None) -> Tensor | None:
    """Inner products (K, K) of rows that lie in blocks (K, p_b); None without blocks."""
    total: Tensor | None = None
    small: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    parts = []
    for block in blocks:
        if block.shape[1] > _SMALL:
            parts.append(block)
        else:
            small.setdefault((block.dtype, block.device), []).append(block)
    parts.extend(torch.cat(group, dim=1) if len(group) > 1 else group[0] for group in small.values())
    for part in parts:
        found = products(part, part, dtype)
        total = found if total is None else total + found.to(total.device)
    return total
