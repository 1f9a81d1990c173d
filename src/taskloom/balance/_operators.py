"""Host solvers as operations on tensors.

A solver runs on the host, on one K x K matrix after the other. As an operator it is one operation to PyTorch:
``torch.func.vmap`` hands it a batch of matrices, a recorder of tensor operations sees one call, and the meta device
knows its shape. Where nobody watches, which is the common case, the solver is called as it is: going through the
dispatcher takes longer than most of the solutions. Gradients do not pass. Everything works in float64; results have the
dtype and device of the Gramian.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "Array",
    "each",
    "each_gramian",
    "falls_back",
    "is_finite",
    "is_plain",
    "like_a_row",
    "like_a_row_and_a_flag",
    "operator",
    "symmetric",
]

Array = NDArray[np.float64]


# -- what a solver is called with -------------------------------------------------------------------------------------


def each_gramian(
    solve: Callable[..., tuple[Array, bool]], gramian: Tensor, active: Tensor | None, *given: Tensor
) -> tuple[Tensor, NDArray[np.bool_]]:
    """A solver on every matrix (..., K, K): weights (..., K), and what it says of the solution, (...).

    It is called with a matrix and what else is given for its rows, (..., K). Rows that are not there (``active`` is
    False, (..., K)) do not take part and get 0. NaN, and True, where numbers are not finite: among many networks one
    may have diverged.
    """
    matrices, rows = _on_host(gramian), [_on_host(one) for one in given]
    if matrices.ndim == 2 and active is None:
        weights, is_solved = _guarded(solve, matrices, *rows)
        return torch.from_numpy(weights).to(gramian), np.array(is_solved)
    n = matrices.shape[-1]
    flat, flat_rows = matrices.reshape(-1, n, n), [one.reshape(-1, n) for one in rows]
    there = True if active is None else active.cpu().numpy()
    present = np.broadcast_to(there, matrices.shape[:-1]).reshape(-1, n)
    found, solved = np.zeros((len(flat), n)), np.ones(len(flat), np.bool_)
    for number, matrix in enumerate(flat):
        kept = np.flatnonzero(present[number])
        own = [one[number, kept] for one in flat_rows]
        if len(kept):
            found[number, kept], solved[number] = _guarded(solve, matrix[np.ix_(kept, kept)], *own)
    weights = found.reshape(matrices.shape[:-1])
    return torch.from_numpy(weights).to(gramian), solved.reshape(matrices.shape[:-2])


def each(solve: Callable[..., tuple[Array, ...]], *given: Tensor) -> tuple[Tensor, ...]:
    """A solver on every member of batches of matrices (..., R, C); its results are matrices too."""
    arrays, like = [_on_host(one) for one in given], given[0]
    if arrays[0].ndim == 2:
        return tuple(torch.from_numpy(one).to(like) for one in solve(*arrays))
    batch = arrays[0].shape[:-2]
    results = [solve(*members) for members in zip(*(one.reshape(-1, *one.shape[-2:]) for one in arrays), strict=True)]
    stacked = [np.stack(parts) for parts in zip(*results, strict=True)]
    return tuple(torch.from_numpy(one.reshape(*batch, *one.shape[1:])).to(like) for one in stacked)


def falls_back(solved: NDArray[np.bool_], gramian: Tensor) -> Tensor:
    """Where a solver has found no solution, bool (...); uses the memory of what it is given."""
    return torch.from_numpy(np.logical_not(solved, out=solved)).to(gramian.device)


def _on_host(given: Tensor) -> Array:
    found: Array = given.to("cpu", torch.float64).numpy()
    return found


def _guarded(solve: Callable[..., tuple[Array, bool]], matrix: Array, *given: Array) -> tuple[Array, bool]:
    if not all(map(is_finite, (matrix, *given))):
        return np.full(len(matrix), np.nan), True
    return solve(symmetric(matrix), *given)


def is_finite(matrix: Array) -> bool:
    """Whether all numbers are."""
    return bool(np.isfinite(matrix.sum()))


def symmetric(matrix: Array) -> Array:
    """What rounding has left unsymmetric, symmetric."""
    return (matrix + matrix.T) / 2


# -- operators --------------------------------------------------------------------------------------------------------

# Defined by hand: torch.library.custom_op makes the same operator, but adds 60 microseconds to every call.
_LIBRARY = torch.library.Library("taskloom", "FRAGMENT")


def operator(
    name: str, arguments: str, *, solve: Callable[..., Any], fake: Callable[..., Any], n_results: int = 1
) -> Callable[..., Any]:
    """The solver as ``torch.ops.taskloom.<name>``, called directly where that makes no difference.

    Args:
        name: of the operator.
        arguments: in the language of operator schemas; tensors, with batch dimensions in front, come first.
        solve: makes the results, on any device.
        fake: makes empty tensors of the right shapes.
        n_results: number of tensors that it returns.
    """
    results = "Tensor" if n_results == 1 else f"({', '.join(['Tensor'] * n_results)})"
    _LIBRARY.define(f"{name}({arguments}) -> {results}")
    _LIBRARY.impl(name, solve, "CompositeExplicitAutograd")
    found: Callable[..., Any] = getattr(torch.ops.taskloom, name).default

    def batched(info: Any, in_dims: Sequence[int | None], *given: Any) -> tuple[Any, Any]:
        def in_front(argument: Any, dim: int | None) -> Any:
            if not isinstance(argument, Tensor):
                return argument
            return argument.expand(info.batch_size, *argument.shape) if dim is None else argument.movedim(dim, 0)

        batches = [in_front(one, dim) for one, dim in zip(given, in_dims, strict=True)]
        return found(*batches), 0 if n_results == 1 else (0,) * n_results

    torch.library.register_fake(f"taskloom::{name}", fake, lib=_LIBRARY)
    torch.library.register_vmap(f"taskloom::{name}", batched, lib=_LIBRARY)

    def called(gramian: Tensor, *given: Any) -> Any:
        return solve(gramian, *given) if is_plain(gramian) else found(gramian, *given)

    return called


def like_a_row(gramian: Tensor, *rest: Any) -> Tensor:
    """Shape of weights, for fakes."""
    return gramian.new_empty(gramian.shape[:-1])


def like_a_row_and_a_flag(gramian: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    """Shapes of weights and of a bool, for fakes."""
    return like_a_row(gramian), gramian.new_empty(gramian.shape[:-2], dtype=torch.bool)


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is numbers on the host that no transform, recorder or compiler is looking at.

    Example:
        >>> found = []
        >>> _ = torch.func.vmap(lambda one: found.append(is_plain(one)) or one)(torch.ones(2, 3))
        >>> is_plain(torch.ones(2)), found
        (True, [False])
    """
    return (
        type(tensor) is Tensor
        and tensor.device.type == "cpu"
        and torch._C._functorch.peek_interpreter_stack() is None
        and torch._C._len_torch_dispatch_stack() == 0
        and not torch.compiler.is_compiling()
    )
