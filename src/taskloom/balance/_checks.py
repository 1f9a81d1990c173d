"""What a chain is given at its doors, checked before the first link runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from taskloom.balance._link import Link
from taskloom.balance.flow import Need, Rows, Signals
from taskloom.errors import BalanceError

__all__ = ["common_size", "require", "require_finite", "require_gramian", "require_jacobians", "require_numbers"]


def require_numbers(**given: object) -> None:
    """Tensors of floating-point numbers or None; the names of the arguments are used in the message."""
    for label, found in given.items():
        if found is not None and not isinstance(found, Tensor):
            raise BalanceError(
                f"{label} must be a tensor, found {type(found).__name__}; write torch.tensor({label}), torch.stack for "
                "several losses"
            )
        if found is not None and not found.is_floating_point():
            raise BalanceError(
                f"{label} must have real floating-point numbers, found {found.dtype}; write {label}.double()"
            )


def common_size(gramian: Tensor | None, losses: Tensor | None, batches: Sequence[Rows]) -> int:
    """The number of tasks K that everything given agrees on."""
    if gramian is not None and (gramian.ndim != 2 or gramian.shape[0] != gramian.shape[1] or not len(gramian)):
        raise BalanceError(f"a Gramian has shape (K, K), found {tuple(gramian.shape)}; compute J @ J.T")
    if losses is not None and losses.ndim != 1:
        raise BalanceError(f"losses have shape (K,), one per task, found {tuple(losses.shape)}")
    sizes = [len(given) for given in (gramian, losses) if given is not None] + [rows.n_tasks for rows in batches]
    if len(set(sizes)) != 1:
        raise BalanceError(f"gradients and losses are of different numbers of tasks: {sizes}")
    return sizes[0]


def require_jacobians(balancer: Link, jacobians: Sequence[Tensor]) -> None:
    """Matrices of one shape, as many as the balancer looks at."""
    require_numbers(**{"jacobian" if number == 0 else "others": one for number, one in enumerate(jacobians)})
    if any(one.ndim != 2 or one.shape != jacobians[0].shape for one in jacobians):
        shapes = [tuple(one.shape) for one in jacobians]
        raise BalanceError(f"a Jacobian has shape (K, P), one gradient per row, found {shapes}")
    if len(jacobians) < balancer.n_batches:
        raise BalanceError(
            f"{balancer!r} looks at {balancer.n_batches} independent batches in a step, found {len(jacobians)}; pass "
            "the Jacobians of the others as others=[...]"
        )


def require_finite(tasks: Sequence[str], **given: Tensor | None) -> None:
    """Finite numbers; the names of the arguments are used in the message."""
    for label, values in given.items():
        if values is not None and not bool(torch.isfinite(values).all()):
            bad = [tasks[k] for k in range(len(tasks)) if not bool(torch.isfinite(values[k]).all())]
            raise BalanceError(f"the {label} of the tasks {bad} are not finite; leave these tasks out of the step")


def require_gramian(tasks: Sequence[str], gramian: Tensor) -> None:
    """Finite inner products: a symmetric matrix without negative squares, up to the rounding of half precision."""
    matrix = gramian.detach().to("cpu", torch.float64).numpy()
    largest = np.abs(matrix).max()
    if not largest < np.inf:
        require_finite(tasks, Gramian=gramian)
    if np.abs(matrix - matrix.T).max() > _ROUNDING * largest:
        raise BalanceError(
            "the Gramian is not symmetric, so it does not hold the inner products of gradients; compute J @ J.T, or "
            "pass the gradients themselves to direction(jacobian)"
        )
    squares = matrix.diagonal()
    if squares.min() < -_ROUNDING * largest:
        bad = [task for task, square in zip(tasks, squares.tolist(), strict=True) if square < 0]
        raise BalanceError(
            f"the Gramian has squared gradient norms below 0 for the tasks {bad}; its diagonal is J.square().sum(1)"
        )


_ROUNDING = 2.0**-6


def require(balancer: Link, links: Iterable[Link], signals: Signals, draws: Tensor | None) -> None:
    """Everything that the links need at this step."""
    n_tasks = signals.n_tasks
    if signals.losses.shape != (n_tasks,):
        raise BalanceError(
            f"expected {n_tasks} losses for the tasks {list(signals.tasks)}, found {tuple(signals.losses.shape)}"
        )
    found = Need.LOSSES.value
    for need, measured in (
        (Need.GRAMIAN, signals.gramian),
        (Need.ROWS, signals.rows),
        (Need.LAST_LAYER, signals.last_layer),
        (Need.CROSS, signals.cross),
    ):
        if measured is not None:
            found |= need.value
    for link in links:
        missing = link.needs_at(signals.step).value & ~found
        if missing:
            raise BalanceError(f"{link!r} {_explained(Need(missing))}")
    if draws is None and balancer.draw_shape(n_tasks) is not None:
        raise BalanceError(f"{balancer!r} is random: pass draws=balancer.draw({n_tasks})")


def _explained(missing: Need) -> str:
    """What a link lacks, and where to get it."""
    if Need.ROWS in missing:
        return (
            "needs the task gradients themselves, a Gramian is not enough: use direction(jacobian) or taskloom.balance"
        )
    if Need.CROSS in missing:
        return (
            "compares independent batches, found one: use step(jacobian, others=[...]), or pass the losses of the "
            "other batches to taskloom.balance(..., independent=[...])"
        )
    return "needs the Gramian of the task gradients, found only losses"
