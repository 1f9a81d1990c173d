"""Fixed weights: ``w`` is what the user says, best found by a search over validation scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from taskloom.balance.base import Balancer, Need, Scale, chain
from taskloom.balance.flow import Flow, task_names
from taskloom.errors import BalanceError, nearest
from taskloom.task import Task

__all__ = ["ScaleBy", "fixed", "scale_by"]


class ScaleBy(Scale):
    """Multiplies every row by a constant (see :func:`scale_by`)."""

    needs: ClassVar[Need] = Need.NOTHING
    is_constant: ClassVar[bool] = True

    values: Tensor

    def __init__(self, weights: Mapping[str, float] | Sequence[float]) -> None:
        super().__init__()
        self.weights = dict(weights) if isinstance(weights, Mapping) else [float(weight) for weight in weights]
        numbers = list(self.weights.values()) if isinstance(self.weights, dict) else self.weights
        if not numbers:
            raise BalanceError("fixed weights: found none, expected one positive number per task")
        for position, number in enumerate(numbers):
            if not (math.isfinite(number) and number > 0):
                name = list(self.weights)[position] if isinstance(self.weights, dict) else position
                raise BalanceError(f"fixed weights: task {name!r} has {number!r}; weights are positive numbers")
        # Not in the state: the weights are an argument, and a loaded state must not change what the code says.
        self.register_buffer("values", torch.tensor(numbers, dtype=torch.float64), persistent=False)

    def bind(self, tasks: Sequence[Task | str]) -> None:
        """Put named weights in the order of the tasks and check that every task has one."""
        names = task_names(tasks)
        if isinstance(self.weights, dict):
            for name in self.weights:
                if name not in names:
                    raise BalanceError(f"fixed weights: there is no task {name!r}.{nearest(name, names)}")
            missing = [name for name in names if name not in self.weights]
            if missing:
                raise BalanceError(
                    f"fixed weights: no weight for the tasks {missing}; give every task one, 1.0 leaves it as it is"
                )
            ordered = [self.weights[name] for name in names]
        else:
            if len(self.weights) != len(names):
                raise BalanceError(f"fixed weights: {len(self.weights)} weights for {len(names)} tasks {list(names)}")
            ordered = self.weights
        self.values = torch.tensor(ordered, dtype=torch.float64, device=self.values.device)
        super().bind(tasks)

    def scale(self, flow: Flow) -> Tensor:
        signals = flow.signals
        values = self.values
        if self.tasks:
            positions = self.positions(signals.tasks)
            values = values if positions is None else values[positions]
        elif len(values) != signals.n_tasks:
            raise BalanceError(f"fixed weights: {len(values)} weights for {signals.n_tasks} tasks {signals.tasks}")
        return values.to(flow.mix)

    def __repr__(self) -> str:
        return f"scale_by({self.weights!r})"


def scale_by(weights: Mapping[str, float] | Sequence[float]) -> ScaleBy:
    """Link that multiplies each task by a fixed positive number.

        A = diag(v)

    Args:
        weights: v; one number per task in task order, or task name -> number.

    Returns:
        the link; it needs nothing.

    Raises:
        BalanceError: a weight is not a positive number, or (when bound) the names are not those of the tasks.

    Example:
        >>> from taskloom.balance.base import chain
        >>> from taskloom.balance.reduce.mean import mean
        >>> chain(scale_by([1.0, 3.0]), mean()).weights(torch.eye(2))
        tensor([0.5000, 1.5000])
    """
    return ScaleBy(weights)


def fixed(weights: Mapping[str, float] | Sequence[float]) -> Balancer:
    """A weighted sum of the losses with weights that you choose.

    Use it when you know what an error of each task costs, or with weights found by a search over validation scores:
    two studies found tuned fixed weights as good as the methods that adapt them.

        L = sum_k w_k l_k

    Args:
        weights: w > 0; one number per task in task order, or task name -> number. They are used as they are: not
            normalised, so their sum acts on the learning rate. Gradients of heads carry the weights as well.

    Returns:
        ``chain(scale_by(weights))``.

    Raises:
        BalanceError: a weight is not a positive number, or (when bound) the names are not those of the tasks.

    Cost:
        nothing beyond the ordinary backward pass.

    Distributed:
        nothing is exchanged for it.

    Differs from the paper:
        nothing.

    Source:
        common practice; as a baseline: Xin, Ghorbani, Gilmer, Garg, Firat, "Do Current Multi-Task Optimization Methods
        in Deep Learning Even Help?", NeurIPS 2022, arXiv 2209.11379.

    Example:
        >>> balancer = fixed({"price": 1.0, "area": 0.2})
        >>> balancer.bind(["area", "price"])
        >>> balancer.weights(torch.eye(2))
        tensor([0.2000, 1.0000])
    """
    return chain(scale_by(weights))
