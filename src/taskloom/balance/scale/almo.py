"""ALMO: weights follow the losses by projected gradient ascent in a set that the user chooses.

    lambda <- Pi(lambda + gamma u),    w = the lambda from before this step,    u = (l - o) / d

with ``Pi`` the Euclidean projection on ``{low <= lambda_k <= high, sum lambda = 1}``. Unlike in the multiplicative
form (:func:`taskloom.group_dro`) a weight can become exactly 0, and come back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from taskloom.balance.base import Balancer, chain
from taskloom.balance.flow import Flow, task_names
from taskloom.balance.scale._losses import Comparable, Remembering, learnable
from taskloom.errors import BalanceError
from taskloom.task import Task

__all__ = ["ProjectedAscent", "almo", "projected_ascent"]


class ProjectedAscent(Comparable, Remembering):
    """Raises the weights of tasks with large losses, within bounds (see :func:`projected_ascent`)."""

    method: ClassVar[str] = "almo"

    shares: Tensor

    def __init__(
        self,
        gamma: float,
        *,
        low: float,
        high: float,
        divisors: Mapping[str, float] | Sequence[float] | None,
        offsets: Mapping[str, float] | Sequence[float] | None,
    ) -> None:
        super().__init__(divisors, offsets)
        if not (math.isfinite(gamma) and gamma > 0):
            raise BalanceError(f"almo(): gamma must be a positive number, found {gamma!r}")
        if not 0 <= low < high <= 1:
            raise BalanceError(f"almo(): bounds must be 0 <= low < high <= 1, found low={low!r}, high={high!r}")
        self.gamma = float(gamma)
        self.low, self.high = float(low), float(high)

    def bind(self, tasks: Sequence[Task | str]) -> None:
        share = 1 / len(task_names(tasks))
        if not self.low <= share <= self.high:
            raise BalanceError(
                f"almo(): weights of {len(tasks)} tasks between {self.low:g} and {self.high:g} cannot sum to 1 from "
                f"equal shares; expected low <= {share:g} <= high"
            )
        super().bind(tasks)

    def start(self, n_tasks: int) -> dict[str, Tensor]:
        return {"shares": torch.full((n_tasks,), 1 / n_tasks, dtype=torch.float64)}

    def scale(self, flow: Flow) -> Tensor:
        entries, known = self.entries(flow), learnable(flow)
        shares = entries.take(self.shares).clone()
        raised = shares + self.gamma * torch.where(known, self.comparable(flow).to(shares), 0.0)
        # The tasks that are there share anew what they held together; the others keep their part.
        entries.put(self.shares, _project(raised, (shares * known).sum(), self.low, self.high, known), known)
        return self.per_divisor(shares.to(flow.mix), flow)

    def __repr__(self) -> str:
        bounds = "" if (self.low, self.high) == (0.0, 1.0) else f", low={self.low:g}, high={self.high:g}"
        return f"projected_ascent({self.gamma:g}{bounds})"


def _project(values: Tensor, mass: Tensor, low: float, high: float, here: Tensor) -> Tensor:
    """Closest point (K,) with entries in [low, high] whose sum over ``here`` is ``mass``.

    It is ``clamp(v - t, low, high)`` for the t at which the sum is right; the sum is piecewise linear in t with knots
    where an entry meets a bound, so the two knots around the solution give it exactly.
    """
    knots = torch.cat([values - low, values - high]).sort(descending=True).values  # the sum grows along them
    sums = ((values - knots.unsqueeze(1)).clamp(low, high) * here).sum(1)  # (2K,)
    after = (sums < mass).sum(0, keepdim=True).clamp(max=len(knots) - 1)
    before = (after - 1).clamp(min=0)
    rise = sums.gather(0, after) - sums.gather(0, before)
    part = torch.where(rise > 0, (mass - sums.gather(0, before)) / torch.where(rise > 0, rise, 1.0), 0.0)
    shift = knots.gather(0, before) + part.clamp(0, 1) * (knots.gather(0, after) - knots.gather(0, before))
    return (values - shift).clamp(low, high)


def projected_ascent(
    gamma: float = 0.1,
    *,
    low: float = 0.0,
    high: float = 1.0,
    divisors: Mapping[str, float] | Sequence[float] | None = None,
    offsets: Mapping[str, float] | Sequence[float] | None = None,
) -> ProjectedAscent:
    """Link that moves the weights along the losses and projects them back on a part of the simplex.

        A = diag(lambda / d),    then lambda <- Pi(lambda + gamma u),    u = (l - o) / d

    Args:
        gamma: as :func:`almo`.
        low: as :func:`almo`.
        high: as :func:`almo`.
        divisors: as :func:`almo`.
        offsets: as :func:`almo`.

    Returns:
        the link; it needs the losses and remembers one number per task.

    Raises:
        BalanceError: as :func:`almo`.

    Example:
        >>> from taskloom.balance.base import chain
        >>> balancer = chain(projected_ascent(0.1, low=0.4))
        >>> [balancer.weights(None, torch.tensor([1.0, 2.0])) for _ in range(3)]
        [tensor([0.5000, 0.5000]), tensor([0.4500, 0.5500]), tensor([0.4000, 0.6000])]
    """
    return ProjectedAscent(gamma, low=low, high=high, divisors=divisors, offsets=offsets)


def almo(
    gamma: float = 0.1,
    *,
    low: float = 0.0,
    high: float = 1.0,
    divisors: Mapping[str, float] | Sequence[float] | None = None,
    offsets: Mapping[str, float] | Sequence[float] | None = None,
) -> Balancer:
    """Agnostic learning with multiple objectives: be good for the worst mixture of tasks in a set that you choose.

    Try it instead of :func:`worst_task` when no task may be ignored (``low``) or rule alone (``high``). Losses have to
    be comparable (same unit, or made so by ``divisors``).

        min over theta, max over lambda of  sum_k lambda_k u_k,    u_k = (l_k - o_k) / d_k

    Args:
        gamma: step size of the weights; default 0.1.
        low: smallest weight of a task; default 0.
        high: largest weight of a task; default 1.
        divisors: d > 0, for example initial losses; one number per task, or task name -> number. Default 1.
        offsets: o, for example the losses of single-task networks; likewise. Default 0.

    Returns:
        ``chain(projected_ascent(...))``.

    Raises:
        BalanceError: a step size or divisor that is not positive, or bounds that equal weights do not satisfy.

    Cost:
        nothing beyond the ordinary backward pass.

    Distributed:
        losses are averaged over ranks first, so that every rank has the same weights.

    Differs from the paper:
        the last iterate of the network is kept, not the average that the convex guarantee is about. Tasks that a batch
        lacks keep their weight, and the others share the rest: where every batch has a single task, nothing moves;
        take :func:`group_dro` there.

    Source:
        Cortes, Mohri, Gonzalvo, Storcheus, "Agnostic Learning with Multiple Objectives", NeurIPS 2020. The step sizes
        are this library's.

    Example:
        >>> balancer = almo()
        >>> [balancer.weights(None, torch.tensor([1.0, 2.0])) for _ in range(2)]
        [tensor([0.5000, 0.5000]), tensor([0.4500, 0.5500])]
    """
    return chain(projected_ascent(gamma, low=low, high=high, divisors=divisors, offsets=offsets))
