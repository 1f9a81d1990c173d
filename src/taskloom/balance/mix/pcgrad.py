"""PCGrad: a task gradient that conflicts with another one loses the component along it.

For every task i, start from ``x = g_i`` and visit the other tasks j in random order; where ``x . g_j < 0``,

    x <- x - (x . g_j / ||g_j||^2) g_j,    with the original g_j;    d = sum_i x_i

With ``x = J^T c`` all of it happens on inner products: ``x . g_j = (G c)_j``, and the step is
``c_j <- c_j - min(0, (G c)_j) / G_jj``. All K rows ``c`` are advanced together, so that one step costs a few vector
operations whatever K is: compiled ones (:mod:`taskloom.solvers.surgery`) for one Gramian, tensor operations for the
stacked Gramians of many networks and where there is no compiler.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from taskloom.balance._operators import is_finite, is_plain, symmetric
from taskloom.balance.base import Balancer, Mix, chain
from taskloom.balance.flow import Flow
from taskloom.balance.reduce.mean import mean
from taskloom.balance.reduce.sum import sum_
from taskloom.errors import BalanceError
from taskloom.solvers import surgery

__all__ = ["ProjectConflicts", "pcgrad", "project_conflicts"]


class ProjectConflicts(Mix):
    """Removes from every row the components that conflict with other rows (see :func:`project_conflicts`)."""

    def __init__(self, order: Literal["random", "ascending"], *, seed: int, generator: torch.Generator | None) -> None:
        super().__init__()
        if order not in ("random", "ascending"):
            raise BalanceError(f"project_conflicts(): order must be 'random' or 'ascending', found {order!r}")
        self.order = order
        self.seed = seed
        self.generator = generator

    def draw_shape(self, n_tasks: int) -> tuple[int, ...] | None:
        return (n_tasks, n_tasks) if self.order == "random" else None

    def mix(self, gramian: Tensor) -> Tensor:
        """Combination matrix (S, S), other tasks visited in ascending order."""
        return _project(gramian, torch.arange(len(gramian), device=gramian.device).expand(len(gramian), -1))

    def forward(self, flow: Flow) -> Flow:
        if self.order == "ascending" or flow.n_rows == 1:
            return super().forward(flow)
        assert flow.draws is not None  # Balancer checks that random numbers are there
        keys = flow.draws[: flow.n_rows, : flow.n_rows].to(flow.mix.device)
        return flow.combined(_project(flow.gramian(), keys))

    def __repr__(self) -> str:
        return "project_conflicts()" if self.order == "random" else f"project_conflicts({self.order!r})"


def _project(gramian: Tensor, keys: Tensor) -> Tensor:
    """Coefficients C (S, S) of the projected rows; row i visits the other rows by ascending ``keys[i]``."""
    n_rows = len(gramian)
    if surgery.IS_COMPILED and n_rows > 2 and is_plain(gramian):
        matrix = symmetric(gramian.detach().double().numpy())
        if is_finite(matrix):
            return torch.from_numpy(surgery.without_conflicts(matrix, keys.double().numpy())).to(gramian)
    identity = torch.eye(n_rows, dtype=gramian.dtype, device=gramian.device)
    if n_rows == 1:
        return identity
    squares = gramian.diagonal()
    inverse = torch.where(squares > 0, 1 / torch.where(squares > 0, squares, 1), 0)  # zero partners are skipped
    if n_rows == 2:  # nothing to put in order
        return torch.where(identity.bool(), identity, -gramian.clamp(max=0) * inverse)
    # A row never visits itself: several code bases let it, which changes d in heavily conflicting sets.
    keys = torch.where(identity.bool(), torch.inf, keys.to(gramian.dtype))
    visits = keys.argsort(dim=1)[:, : n_rows - 1]  # (S, S-1)
    scaled = gramian * inverse.unsqueeze(1)  # g_j . g_k / ||g_j||^2
    inner = gramian  # (S, S), x_i . g_j, kept up to date
    against = []
    for visit in visits.unbind(dim=1):  # (S,)
        opposed = inner.gather(1, visit.unsqueeze(1)).clamp(max=0)  # (S, 1), of every row along its partner
        inner = torch.addcmul(inner, opposed, scaled.index_select(0, visit), value=-1)
        against.append(opposed)
    return identity.scatter_add(1, visits, -torch.cat(against, dim=1) * inverse[visits])


def project_conflicts(
    order: Literal["random", "ascending"] = "random", *, seed: int = 0, generator: torch.Generator | None = None
) -> ProjectConflicts:
    """Link that removes from each task gradient what points against another task's gradient.

    After it, every row is as close to its task's gradient as a sequence of projections leaves it; the sum of two
    tasks' rows never points against either task. With three and more tasks conflicts can remain.

    Args:
        order: in which order a row visits the others: "random" (default, the paper's) or "ascending".
        seed: seed of the random orders.
        generator: source of random numbers instead of the seed; its state is yours to save.

    Returns:
        the link; it needs the Gramian.

    Raises:
        BalanceError: an unknown order.

    Example:
        >>> gramian = torch.tensor([[1.0, -1.0], [-1.0, 4.0]], dtype=torch.float64)
        >>> project_conflicts("ascending").mix(gramian)
        tensor([[1.0000, 0.2500],
                [1.0000, 1.0000]], dtype=torch.float64)
    """
    return ProjectConflicts(order, seed=seed, generator=generator)


def pcgrad(
    reduction: Literal["sum", "mean"] = "sum",
    *,
    order: Literal["random", "ascending"] = "random",
    seed: int = 0,
    generator: torch.Generator | None = None,
) -> Balancer:
    """Gradient surgery: where two tasks pull in opposite directions, the opposing parts are removed.

    Try it when the conflict report (:func:`taskloom.measure`) shows many negative cosines between tasks of similar
    gradient size. Without conflicts it is the plain sum. It costs one backward pass per task.

        d = sum_i x_i,   x_i = g_i after projecting out every g_j with x_i . g_j < 0

    Args:
        reduction: "sum" (default, the paper's) or "mean" of the projected gradients.
        order: in which order each task visits the others: "random" (default, the paper's) or "ascending".
        seed: seed of the random orders; the same on all ranks.
        generator: source of random numbers instead of the seed; its state is yours to save.

    Returns:
        ``chain(project_conflicts(), sum_())``.

    Raises:
        BalanceError: an unknown reduction or order.

    Cost:
        K backward passes through the shared part; K times its parameters in memory; K^3 small operations.

    Distributed:
        task gradients are averaged over ranks before the products.

    Differs from the paper:
        nothing. A zero gradient is never projected on. No epsilon in the denominator.

    Source:
        Yu, Kumar, Gupta, Levine, Hausman, Finn, "Gradient Surgery for Multi-Task Learning", NeurIPS 2020, arXiv
        2001.06782, algorithm 1. Compared with TorchJD 0.18.0.

    Example:
        >>> gramian = torch.tensor([[1.0, -1.0], [-1.0, 4.0]])
        >>> pcgrad().weights(gramian)
        tensor([2.0000, 1.2500])
    """
    if reduction not in ("sum", "mean"):
        raise BalanceError(f"pcgrad(): reduction must be 'sum' or 'mean', found {reduction!r}")
    return chain(project_conflicts(order, seed=seed, generator=generator), sum_() if reduction == "sum" else mean())
