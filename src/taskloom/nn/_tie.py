"""Ties the parameters of several networks of one structure by a coupling."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from taskloom.couplings.base import ParameterCoupling
from taskloom.errors import TaskError
from taskloom.nn.parallel import Parallel

__all__ = ["Tie"]


class Tie(nn.Module):
    """Which parameters of the networks are coupled, by what, how strongly, and their common copy if there is one.

    The strength is a buffer, so that models trained in one batched computation may differ in it.

    Args:
        networks: K modules of one structure.
        task_names: names of their tasks, for messages.
        coupling: the penalty.
        layers: stage indices (top-level children) or name patterns of the coupled parameters (``"*"``: all);
            default all stages but the last.
    """

    strength: Tensor

    def __init__(
        self,
        networks: Parallel,
        task_names: Sequence[str],
        *,
        coupling: ParameterCoupling,
        layers: Sequence[int | str] | None,
    ) -> None:
        super().__init__()
        coupling.check(len(networks))
        self.coupling = coupling
        _check_aligned(networks, task_names)
        chosen = _coupled_names(networks[0], layers)
        shapes = {name: parameter.shape for name, parameter in networks[0].named_parameters()}
        self.names = tuple(name for name in chosen if coupling.applies_to(shapes[name]))
        if not self.names:
            raise TaskError(f"{type(coupling).__name__} couples none of the parameters {chosen}; choose other layers=")
        # float64 so that the strength given is the strength used, whatever the precision of the networks.
        self.register_buffer("strength", torch.tensor(coupling.strength, dtype=torch.float64))
        self.centre = nn.ParameterList()
        if coupling.needs_centre and len(networks) > 1:
            with torch.no_grad():
                means = [stack.mean(0) for stack in self._stacks(networks).values()]
            self.centre.extend([nn.Parameter(mean) for mean in means])

    def penalty(self, networks: Parallel) -> Tensor | None:
        """Weighted penalty, a scalar; None for a single network, which has nothing to be compared with."""
        if len(networks) < 2:
            return None
        centre = dict(zip(self.names, self.centre, strict=True)) if self.coupling.needs_centre else None
        distance = self.coupling.distance(self._stacks(networks), centre)
        return self.strength.to(distance.dtype) * distance

    @torch.no_grad()
    def proximal_step(self, networks: Parallel, learning_rate: float) -> None:
        """Move the coupled parameters, in place, to the exact minimum of penalty plus half squared distance moved."""
        if len(networks) < 2:
            return
        moved = self.coupling.prox(self._stacks(networks), learning_rate * self.strength.item())
        for index, network in enumerate(networks):
            own = dict(network.named_parameters())
            for name in self.names:
                if own[name].requires_grad:
                    own[name].copy_(moved[name][index])

    def centre_parameters(self) -> Iterator[nn.Parameter]:
        """The common copy, if the coupling has one."""
        return (parameter for parameter in self.centre if parameter.requires_grad)

    def forget(self, index: int) -> None:
        """Go on without the network with this index, in place; a common copy stays."""
        self.coupling = self.coupling.without(index)

    def recheck(self, networks: Parallel, task_names: Sequence[str]) -> None:
        """Check the networks again after one was added; a common copy that was not needed for one task is made."""
        self.coupling.check(len(networks))
        _check_aligned(networks, task_names)
        if self.coupling.needs_centre and len(self.centre) == 0 and len(networks) > 1:
            with torch.no_grad():
                self.centre.extend([nn.Parameter(stack.mean(0)) for stack in self._stacks(networks).values()])

    def _stacks(self, networks: Parallel) -> dict[str, Tensor]:
        wanted = set(self.names)
        rows = [[p for name, p in network.named_parameters() if name in wanted] for network in networks]
        return {name: torch.stack(column) for name, column in zip(self.names, zip(*rows, strict=True), strict=True)}


def _check_aligned(networks: Parallel, task_names: Sequence[str]) -> None:
    first = {name: tuple(parameter.shape) for name, parameter in networks[0].named_parameters()}
    for task, network in zip(task_names[1:], networks[1:], strict=True):
        other = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
        for name in first | other:
            if first.get(name) != other.get(name):
                raise TaskError(
                    f"task networks cannot be coupled, {name!r} is {first.get(name, 'missing')} for {task_names[0]!r} "
                    f"and {other.get(name, 'missing')} for {task!r}; build them with one factory"
                )


def _coupled_names(network: nn.Module, layers: Sequence[int | str] | None) -> list[str]:
    names = [name for name, _ in network.named_parameters()]
    stages = [
        [f"{child}.{name}" for name, _ in module.named_parameters()]
        for child, module in network.named_children()
        if any(True for _ in module.parameters())
    ]
    if layers is None:
        if len(stages) < 2:
            return names
        last = set(stages[-1])
        return [name for name in names if name not in last]
    chosen: set[str] = set()
    for layer in layers:
        if isinstance(layer, int):
            if not -len(stages) <= layer < len(stages):
                raise TaskError(f"layers has stage {layer}, but the encoder has stages 0 to {len(stages) - 1}")
            chosen.update(stages[layer])
        else:
            found = [name for name in names if fnmatchcase(name, layer)]
            if not found:
                raise TaskError(f"no parameter matches layers pattern {layer!r}; parameters: {names}")
            chosen.update(found)
    return [name for name in names if name in chosen]
