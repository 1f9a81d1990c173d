"""Another balancer for the first steps, while gradients and losses say little about the tasks."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from taskloom.balance.base import Balancer, Need, chain
from taskloom.balance.flow import Flow
from taskloom.balance.reduce.sum import equal
from taskloom.balance.wrap._wrapper import Wrapper
from taskloom.errors import BalanceError

__all__ = ["WarmUp", "warm_up"]


class WarmUp(Wrapper):
    """Runs one balancer in the first steps and another one after (see :func:`warm_up`)."""

    remembers: ClassVar[bool] = True  # the answer depends on the number of the step

    def __init__(self, steps: int, balancer: Balancer, before: Balancer) -> None:
        super().__init__("warm_up", before, balancer)
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
            raise BalanceError(f"warm_up(): steps must be a whole number >= 0, found {steps!r}")
        self.steps = steps

    def needs_at(self, step: int) -> Need:
        """What the balancer of this step needs."""
        before, after = self.inner
        return before.needs_at(step) if step < self.steps else after.needs_at(step - self.steps)

    def forward(self, flow: Flow) -> Flow:
        step = flow.signals.step
        if step < self.steps:
            return self.run(0, flow)
        # its own first step, for balancers that look at the number of the step
        return self.run(1, replace(flow, signals=replace(flow.signals, step=step - self.steps)))

    def __repr__(self) -> str:
        before, after = self.inner
        return f"warm_up({self.steps}, {after!r}, before={before!r})"


def warm_up(steps: int, balancer: Balancer, *, before: Balancer | None = None) -> Balancer:
    """Train with plain weights for some steps, then with a balancer that starts there.

    Try it when a method reacts to the first, untypical gradients or losses of a network (GradNorm and ExcessMTL
    compare with them). During the warm-up no task gradients are computed, so that it costs what plain training does.

        w_t = weights of ``before`` for t < steps, then those of ``balancer``

    Args:
        steps: length of the warm-up.
        balancer: what comes after it; its memory begins there.
        before: what runs in the warm-up; default ``equal()``.

    Returns:
        the balancer, ``chain(warm_up(...))``.

    Raises:
        BalanceError: a negative number of steps, or a balancer that does not end in one row. Losses that the balancer
            is not defined for raise in the warm-up already.

    Cost:
        that of the balancer that runs.

    Distributed:
        as the balancers inside.

    Example:
        >>> import torch, taskloom as tl
        >>> balancer = warm_up(1, tl.pcgrad())
        >>> opposed = torch.tensor([[1.0, -1.0], [-1.0, 4.0]])
        >>> balancer.weights(opposed), balancer.weights(opposed)
        (tensor([1., 1.]), tensor([2.0000, 1.2500]))
    """
    return chain(WarmUp(steps, balancer, equal() if before is None else before))
