"""Group DRO: weights follow the losses by exponentiated gradient ascent, the network descends on the weighted sum.

    q_k <- q_k exp(eta u_k) / sum_j q_j exp(eta u_j),    w = q,    u = (l - o) / d

The memory is ``a`` with ``q = softmax(a)`` over all tasks; ``a_k`` of a task that a batch lacks stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from taskloom.balance.base import Balancer, chain
from taskloom.balance.flow import Flow
from taskloom.balance.scale._losses import Comparable, Remembering, learnable
from taskloom.errors import BalanceError

__all__ = ["MultiplicativeAscent", "group_dro", "multiplicative_ascent"]


class MultiplicativeAscent(Comparable, Remembering):
    """Raises the weights of tasks with large losses, factor by factor (see :func:`multiplicative_ascent`)."""

    method: ClassVar[str] = "group_dro"

    logits: Tensor

    def __init__(
        self,
        eta: float,
        *,
        divisors: Mapping[str, float] | Sequence[float] | None,
        offsets: Mapping[str, float] | Sequence[float] | None,
    ) -> None:
        super().__init__(divisors, offsets)
        if not (math.isfinite(eta) and eta > 0):
            raise BalanceError(f"group_dro(): eta must be a positive number, found {eta!r}")
        self.eta = float(eta)

    def start(self, n_tasks: int) -> dict[str, Tensor]:
        return {"logits": torch.zeros(n_tasks, dtype=torch.float64)}

    def scale(self, flow: Flow) -> Tensor:
        entries = self.entries(flow)
        logits = entries.take(self.logits)
        entries.put(self.logits, logits + self.eta * self.comparable(flow).to(logits), learnable(flow))
        # over all tasks: in a batch of a single task, its weight is still its share
        return self.per_divisor(entries.take(self.logits.softmax(0)).to(flow.mix), flow)

    def __repr__(self) -> str:
        return f"multiplicative_ascent({self.eta:g})"


def multiplicative_ascent(
    eta: float = 0.01,
    *,
    divisors: Mapping[str, float] | Sequence[float] | None = None,
    offsets: Mapping[str, float] | Sequence[float] | None = None,
) -> MultiplicativeAscent:
    """Link that multiplies the weight of each task by ``exp(eta u)`` in every step and normalises.

        A = diag(q / d),    q <- q exp(eta u) / sum(q exp(eta u)),    u = (l - o) / d

    Args:
        eta: as :func:`group_dro`.
        divisors: as :func:`group_dro`.
        offsets: as :func:`group_dro`.

    Returns:
        the link; it needs the losses and remembers one number per task.

    Raises:
        BalanceError: as :func:`group_dro`.

    Example:
        >>> from taskloom.balance.base import chain
        >>> balancer = chain(multiplicative_ascent(1.0))
        >>> [balancer.weights(None, torch.tensor([1.0, 2.0])) for _ in range(2)]
        [tensor([0.2689, 0.7311]), tensor([0.1192, 0.8808])]
    """
    return MultiplicativeAscent(eta, divisors=divisors, offsets=offsets)


def group_dro(
    eta: float = 0.01,
    *,
    divisors: Mapping[str, float] | Sequence[float] | None = None,
    offsets: Mapping[str, float] | Sequence[float] | None = None,
) -> Balancer:
    """Distributionally robust training over tasks: the weight moves, step by step, to the tasks that are worst.

    Try it when the worst task is what counts and single batches are too noisy for :func:`worst_task`. Losses have to
    be comparable (same unit, or made so by ``divisors``; with ``offsets`` the regret is what is minimised).

        q_k <- q_k exp(eta u_k) / sum_j q_j exp(eta u_j),    w = q,    u_k = (l_k - o_k) / d_k

    Args:
        eta: step size of the weights; default 0.01, that of the authors' code.
        divisors: d > 0, for example initial losses; one number per task, or task name -> number. Default 1.
        offsets: o, for example the losses of single-task networks; likewise. Default 0.

    Returns:
        ``chain(multiplicative_ascent(...))``.

    Raises:
        BalanceError: a step size or divisor that is not positive.

    Cost:
        nothing beyond the ordinary backward pass.

    Distributed:
        losses are averaged over ranks first, so that every rank has the same weights.

    Differs from the paper:
        nothing. The weights are updated with the losses of the batch before they are used, as in algorithm 1. Weights
        are normalised over all bound tasks; those of tasks that a batch lacks are not handed to the others.

    Source:
        Sagawa, Koh, Hashimoto, Liang, "Distributionally Robust Neural Networks for Group Shifts", ICLR 2020, arXiv
        1911.08731, algorithm 1.

    Example:
        >>> group_dro(eta=1.0).weights(None, torch.tensor([1.0, 2.0]))
        tensor([0.2689, 0.7311])
    """
    return chain(multiplicative_ascent(eta, divisors=divisors, offsets=offsets))
