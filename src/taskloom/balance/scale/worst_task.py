"""Worst-task minimisation: only the largest loss counts, ``min max_k l_k``, or softly, the largest ones.

    hard: w = e_j, j = argmax_k u_k        soft: w = softmax(u / tau),    u = (l - o) / d

``u`` makes losses comparable: ``d`` divisors (initial losses, scores of a baseline), ``o`` offsets (the best loss that
is known, so that ``u`` is a regret). The factors of the rows are the gradient with respect to ``l``: the above over d.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from taskloom.balance._entries import present
from taskloom.balance.base import Balancer, chain
from taskloom.balance.flow import Flow
from taskloom.balance.scale._losses import Comparable, softmax
from taskloom.errors import BalanceError

__all__ = ["FavourWorst", "favour_worst", "worst_task"]


class FavourWorst(Comparable):
    """Gives the largest losses the weight (see :func:`favour_worst`)."""

    method: ClassVar[str] = "worst_task"

    def __init__(
        self,
        form: Literal["hard", "soft"],
        *,
        temperature: float,
        tie: Literal["first", "average"],
        divisors: Mapping[str, float] | Sequence[float] | None,
        offsets: Mapping[str, float] | Sequence[float] | None,
    ) -> None:
        super().__init__(divisors, offsets)
        if form not in ("hard", "soft"):
            raise BalanceError(f"worst_task(): form must be 'hard' or 'soft', found {form!r}")
        if tie not in ("first", "average"):
            raise BalanceError(f"worst_task(): tie must be 'first' or 'average', found {tie!r}")
        if not (math.isfinite(temperature) and temperature > 0):
            raise BalanceError(f"worst_task(): temperature must be a positive number, found {temperature!r}")
        self.form = form
        self.temperature = float(temperature)
        self.tie = tie

    def scale(self, flow: Flow) -> Tensor:
        is_there, comparable = present(flow), self.comparable(flow)
        if self.form == "soft":
            return self.per_divisor(softmax(comparable / self.temperature, is_there), flow)
        is_worst = is_there & (comparable == comparable.masked_fill(~is_there, -torch.inf).max())
        if self.tie == "first":
            is_worst = is_worst & (is_worst.cumsum(0) == 1)
        worst = is_worst.to(comparable)
        return self.per_divisor(worst / worst.sum().clamp(min=1), flow)

    def value(self, flow: Flow) -> Tensor:
        """The objective, whose gradient the factors are; soft: ``tau log mean_k exp(u_k / tau)``."""
        is_there = present(flow)
        comparable = self.comparable(flow).masked_fill(~is_there, -torch.inf)
        if self.form == "hard":
            return comparable.max()
        count = is_there.sum().to(comparable)
        return self.temperature * ((comparable / self.temperature).logsumexp(0) - count.log())

    def __repr__(self) -> str:
        return "favour_worst()" if self.form == "hard" else f"favour_worst('soft', temperature={self.temperature:g})"


def favour_worst(
    form: Literal["hard", "soft"] = "hard",
    *,
    temperature: float = 1.0,
    tie: Literal["first", "average"] = "first",
    divisors: Mapping[str, float] | Sequence[float] | None = None,
    offsets: Mapping[str, float] | Sequence[float] | None = None,
) -> FavourWorst:
    """Link that scales rows by the gradient of the largest loss, or of the smooth largest loss.

        A = diag(e_j / d)  or  diag(softmax(u / tau) / d),    u = (l - o) / d

    Args:
        form: as :func:`worst_task`.
        temperature: as :func:`worst_task`.
        tie: as :func:`worst_task`.
        divisors: as :func:`worst_task`.
        offsets: as :func:`worst_task`.

    Returns:
        the link; it needs the losses.

    Raises:
        BalanceError: as :func:`worst_task`.

    Example:
        >>> from taskloom.balance.base import chain
        >>> chain(favour_worst(tie="average")).weights(None, torch.tensor([2.0, 1.0, 2.0]))
        tensor([0.5000, 0.0000, 0.5000])
    """
    return FavourWorst(form, temperature=temperature, tie=tie, divisors=divisors, offsets=offsets)


def worst_task(
    form: Literal["hard", "soft"] = "hard",
    *,
    temperature: float = 1.0,
    tie: Literal["first", "average"] = "first",
    divisors: Mapping[str, float] | Sequence[float] | None = None,
    offsets: Mapping[str, float] | Sequence[float] | None = None,
) -> Balancer:
    """Minimise the largest task loss of every batch: no task is left behind.

    Try it when the worst task is what you are judged by and losses are comparable (same unit, or made so by
    ``divisors`` and ``offsets``). "hard" learns from one task per step and is noisy; "soft" is the smooth form.

        hard: min max_k u_k        soft: min tau log mean_k exp(u_k / tau),        u_k = (l_k - o_k) / d_k

    Args:
        form: "hard" (default) or "soft".
        temperature: tau > 0 of the soft form; towards 0 it is the hard form, towards infinity the mean.
        tie: who gets the weight among equal largest losses: the "first" task (default), or all, the "average".
        divisors: d > 0, for example initial losses; one number per task, or task name -> number. Default 1.
        offsets: o, for example the losses of single-task networks; likewise. Default 0.

    Returns:
        ``chain(favour_worst(...))``.

    Raises:
        BalanceError: an unknown form or tie, a temperature or divisor that is not positive.

    Cost:
        nothing beyond the ordinary backward pass.

    Distributed:
        losses are averaged over ranks first.

    Differs from the paper:
        nothing. The weights sum to 1 for divisors of 1; otherwise they are the gradient of the objective above.

    Source:
        the classical minimax problem; its use for groups and tasks: Sagawa, Koh, Hashimoto, Liang, "Distributionally
        Robust Neural Networks", ICLR 2020, arXiv 1911.08731.

    Example:
        >>> worst_task().weights(None, torch.tensor([1.0, 3.0]))
        tensor([0., 1.])
        >>> worst_task("soft", temperature=2.0).weights(None, torch.tensor([1.0, 3.0]))
        tensor([0.2689, 0.7311])
    """
    return chain(favour_worst(form, temperature=temperature, tie=tie, divisors=divisors, offsets=offsets))
