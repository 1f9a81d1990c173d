"""AdamW with torch's own fused update, without what the optimiser does around it in every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim.adamw import AdamW, adamw
from torch.optim.optimizer import Optimizer

__all__ = ["LeanAdamW"]


class LeanAdamW(AdamW):
    """``torch.optim.AdamW(fused=True)``: the same numbers, state and checkpoints.

    A step of the original looks for hooks, records itself for a profiler and guards against compilation; with a small
    network that takes as long as a layer. With a hook on the optimiser, its own step is used.

    Args:
        groups: parameter groups with "params", "lr" and "weight_decay".

    Example:
        >>> weight = torch.nn.Parameter(torch.ones(2))
        >>> optimiser = LeanAdamW([{"params": [weight], "lr": 0.1, "weight_decay": 0.0}])
        >>> weight.grad = torch.ones(2)
        >>> optimiser.step()
        >>> weight.data
        tensor([0.9000, 0.9000])
    """

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        super().__init__(groups, fused=True)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        if self._optimizer_step_pre_hooks or self._optimizer_step_post_hooks:
            whole: float | None = _whole_step(self, closure)
            return whole
        loss = None
        if closure is not None:
            loss = closure()
        with torch.no_grad():
            for group in self.param_groups:
                self._update(group)
        return loss

    def _update(self, group: dict[str, Any]) -> None:
        parameters: list[Tensor] = []
        gradients: list[Tensor] = []
        first: list[Tensor] = []
        second: list[Tensor] = []
        steps: list[Tensor] = []
        self._init_group(group, parameters, gradients, first, second, [], steps)  # type: ignore[no-untyped-call]
        beta1, beta2 = group["betas"]
        adamw(
            parameters,
            gradients,
            first,
            second,
            [],
            steps,
            fused=True,
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=group["maximize"],
        )

    step.hooked = True  # type: ignore[attr-defined]  # tells torch not to wrap it


_whole_step = Optimizer.profile_hook_step(AdamW.step)
