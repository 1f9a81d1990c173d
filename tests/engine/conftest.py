"""A small two-headed network on which every gradient can be written down."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from taskloom.nn.fork import fork


class TwoHeads(nn.Module):
    """Shared trunk, one head per task, forks between them, one unused and one frozen parameter."""

    def __init__(self, tasks: tuple[str, ...] = ("a", "b", "c")) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tasks = tasks
        self.trunk = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4))
        self.trunk[0].bias.requires_grad_(False)
        self.heads = nn.ModuleList(nn.Linear(4, 1) for _ in tasks)
        self.unused = nn.Parameter(torch.ones(2))
        self.double()

    def shared_parameters(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.trunk.parameters() if parameter.requires_grad]

    def losses(self, inputs: Tensor, tasks: tuple[str, ...] | None = None) -> dict[str, Tensor]:
        z = self.trunk(inputs)
        found = {}
        for position, task in enumerate(self.tasks):
            if tasks is None or task in tasks:
                target = (-1.0) ** position * inputs.sum(1, keepdim=True) + position
                found[task] = (self.heads[position](fork(z, task)) - target).square().mean()
        return found

    def gradients(self) -> dict[str, Tensor | None]:
        return {name: None if value.grad is None else value.grad.clone() for name, value in self.named_parameters()}

    def expected(self, inputs: Tensor, weights: Mapping[str, float], heads: Mapping[str, float]) -> dict[str, Tensor]:
        """Gradients by definition: the weighted sum for the trunk, the factor times its own for each head."""
        losses = self.losses(inputs)
        result: dict[str, Tensor] = {}
        for name, parameter in self.named_parameters():
            if not parameter.requires_grad or name == "unused":
                continue
            factors = weights if name.startswith("trunk") else heads
            total = sum(factors[task] * loss for task, loss in losses.items())
            assert isinstance(total, Tensor)
            (gradient,) = torch.autograd.grad(total, [parameter], retain_graph=True)
            result[name] = gradient
        return result


@pytest.fixture
def network() -> TwoHeads:
    return TwoHeads()


@pytest.fixture
def inputs() -> Tensor:
    return torch.randn(7, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
