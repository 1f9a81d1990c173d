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

__all__ = ["Array", "each_gramian", "each_target", "is_plain", "operator"]

Array = NDArray[np.float64]


# -- what a solver is called with -------------------------------------------------------------------------------------


def each_gramian(
    solve: Callable[[Array], tuple[Array, bool]], gramian: Tensor, active: Tensor | None
) -> tuple[Tensor, NDArray[np.bool_]]:
    """A solver on every matrix (..., K, K): weights (..., K), and what it says of the solution, (...).

    Rows that are not there (``active`` is False, (..., K)) do not take part and get 0. NaN, and True, for matrices that
    are not finite: among many networks one may have diverged.
    """
    matrices = _on_host(gramian)
    if matrices.ndim == 2 and active is None:
        weights, is_solved = _guarded(solve, matrices)
        return torch.from_numpy(weights).to(gramian), np.array(is_solved)
    n = matrices.shape[-1]
    flat = matrices.reshape(-1, n, n)
    present = None if active is None else np.broadcast_to(active.cpu().numpy(), matrices.shape[:-1]).reshape(-1, n)
    found, solved = np.zeros((len(flat), n)), np.ones(len(flat), np.bool_)
    for number, matrix in enumerate(flat):
        if present is None or present[number].all():
            found[number], solved[number] = _guarded(solve, matrix)
        elif present[number].any():
            kept = np.flatnonzero(present[number])
            found[number, kept], solved[number] = _guarded(solve, matrix[np.ix_(kept, kept)])
    weights = found.reshape(matrices.shape[:-1])
    return torch.from_numpy(weights).to(gramian), solved.reshape(matrices.shape[:-2])


def each_target(solve: Callable[[Array, Array], Array], gramian: Tensor, targets: Tensor) -> Tensor:
    """A solver on every matrix (..., K, K) with its rows (..., R, K); NaN where something is not finite."""
    matrices, rows = _on_host(gramian), _on_host(targets)
    if matrices.ndim == 2 and np.isfinite(matrices.sum() + rows.sum()):
        return torch.from_numpy(solve((matrices + matrices.T) / 2, rows)).to(gramian)
    n = matrices.shape[-1]
    found = np.empty_like(rows)
    results, given = found.reshape(-1, *rows.shape[-2:]), rows.reshape(-1, *rows.shape[-2:])
    for number, matrix in enumerate(matrices.reshape(-1, n, n)):
        is_finite = np.isfinite(matrix.sum()) and np.isfinite(given[number].sum())
        results[number] = solve((matrix + matrix.T) / 2, given[number]) if is_finite else np.nan
    return torch.from_numpy(found).to(gramian)


def _on_host(given: Tensor) -> Array:
    found: Array = given.to("cpu", torch.float64).numpy()
    return found


def _guarded(solve: Callable[[Array], tuple[Array, bool]], matrix: Array) -> tuple[Array, bool]:
    if not np.isfinite(matrix.sum()):
        return np.full(len(matrix), np.nan), True
    return solve((matrix + matrix.T) / 2)


# -- operators --------------------------------------------------------------------------------------------------------

# Defined by hand: torch.library.custom_op makes the same operator, but adds 60 microseconds to every call.
_LIBRARY = torch.library.Library("taskloom", "FRAGMENT")


def operator(
    name: str, arguments: str, *, solve: Callable[..., Any], fake: Callable[..., Any], n_results: int = 1
) -> Callable[..., Any]:
    """The solver as ``torch.ops.taskloom.<name>``, called directly where that makes no difference.

    Args:
        name: of the operator.
        arguments: in the language of operator schemas; the first two are tensors, with batch dimensions in front.
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
            if argument is None:
                return None
            return argument.expand(info.batch_size, *argument.shape) if dim is None else argument.movedim(dim, 0)

        tensors = [in_front(one, dim) for one, dim in zip(given[:2], in_dims[:2], strict=True)]
        return found(*tensors, *given[2:]), 0 if n_results == 1 else (0,) * n_results

    torch.library.register_fake(f"taskloom::{name}", fake, lib=_LIBRARY)
    torch.library.register_vmap(f"taskloom::{name}", batched, lib=_LIBRARY)

    def called(gramian: Tensor, *given: Any) -> Any:
        return solve(gramian, *given) if is_plain(gramian) else found(gramian, *given)

    return called


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
