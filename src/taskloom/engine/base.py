"""What an engine is: losses and parameters in, per-task gradients out. It does not know how weights follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from taskloom.balance.flow import Rows
from taskloom.engine.layers.products import gramian_of, own_precision

__all__ = ["Cost", "GradientEngine", "Layout", "ParameterRows", "ranks"]


@dataclass(frozen=True)
class Cost:
    """What per-task gradients cost beyond an ordinary step.

    Args:
        backward_passes: passes through the shared part.
        bytes: memory held until the weights are known.

    Example:
        >>> Cost(backward_passes=3, bytes=12_000)
        Cost(backward_passes=3, bytes=12000)
    """

    backward_passes: int
    bytes: int


@runtime_checkable
class GradientEngine(Protocol):
    """Measures per-task gradients on the graph of the losses.

    Laws: the rows sum to the gradient of the sum of the losses; they are equal on one and on several ranks (averages
    over ranks, before any product); ``.grad`` of every parameter is left as it was; the graph stays usable.

    The result of :meth:`rows` has the columns of :class:`Layout`. It may compute its parts when they are asked for:
    a balancer asks for ``gramian()``, the direction for ``combine(weights)``, only a row rule for ``matrix()``. Where
    it is a :class:`ParameterRows`, the direction is asked for parameter by parameter and never laid end to end.
    """

    def rows(self, losses: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> Rows:
        """Task gradients J; a loss that is None (absent on this rank) has a zero row."""
        ...

    def gramian(self, losses: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> Tensor:
        """G = J J^T, shape (K, K)."""
        ...

    def cost(self, parameters: Sequence[Tensor], n_tasks: int) -> Cost:
        """What :meth:`rows` costs."""
        ...


class Layout:
    """Where each parameter lies in the columns of the rows: one block per device and dtype, in order.

    Args:
        parameters: the parameters.

    Example:
        >>> layout = Layout([torch.zeros(2), torch.zeros(1, 3)])
        >>> [tuple(part.shape) for part in layout.split((torch.arange(5.0),))]
        [(2,), (1, 3)]
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = tuple(parameters)
        groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
        for position, parameter in enumerate(self.parameters):
            groups.setdefault((parameter.device, parameter.dtype), []).append(position)
        self.groups = tuple(groups.values())

    def empty(self, n_tasks: int) -> tuple[Tensor, ...]:
        """Uninitialised blocks (K, P_b)."""
        return tuple(
            self.parameters[group[0]].new_empty(n_tasks, sum(self.parameters[place].numel() for place in group))
            for group in self.groups
        )

    def flatten(self, gradients: Sequence[Tensor | None], into: Sequence[Tensor] | None = None) -> tuple[Tensor, ...]:
        """One gradient per parameter (None counts as zeros) as one vector per block, written to ``into`` if given."""
        flat = []
        for number, group in enumerate(self.groups):
            parts = []
            for place in group:
                parameter, gradient = self.parameters[place], gradients[place]
                if gradient is None:
                    gradient = parameter.new_zeros(parameter.numel())
                elif gradient.is_sparse:
                    gradient = gradient.to_dense()
                parts.append(gradient.detach().reshape(-1))
            flat.append(torch.cat(parts, out=None if into is None else into[number]))
        return tuple(flat)

    def split(self, blocks: Sequence[Tensor]) -> list[Tensor]:
        """One vector per block as one tensor per parameter, views of the vectors."""
        result: list[Tensor] = [torch.empty(0)] * len(self.parameters)
        for group, block in zip(self.groups, blocks, strict=True):
            sizes = [self.parameters[place].numel() for place in group]
            for place, piece in zip(group, block.split(sizes), strict=True):
                result[place] = piece.view(self.parameters[place].shape)
        return result


@dataclass(frozen=True)
class ParameterRows(Rows):
    """Rows that know which parameter each of their columns belongs to.

    An engine that keeps task gradients in another form than rows overrides :meth:`Rows.gramian` and :meth:`gradients`,
    which are all that most balancers need, and makes ``blocks`` when somebody asks for them.

    Args:
        blocks: as in :class:`taskloom.balance.flow.Rows`, the columns in the order of ``layout``.
        layout: the parameters.
        leaves: every leaf that the losses reach, if the engine has looked.
        heads: gradients that came out of the same passes, of leaves outside the layout that one task alone reaches:
            id of the leaf -> (position of the task, gradient of its loss).

    Example:
        >>> rows = ParameterRows((torch.tensor([[1.0, 2.0], [3.0, 4.0]]),), Layout([torch.zeros(1, 2)]))
        >>> rows.gradients(torch.tensor([1.0, -1.0]))
        [tensor([[-2., -2.]])]
    """

    layout: Layout
    leaves: tuple[Tensor, ...] | None = None
    heads: Mapping[int, tuple[int, Tensor]] = field(default_factory=dict)

    def gramian(self) -> Tensor:
        """J J^T, shape (K, K): products in the precision of the gradients (at least float32), added up in float64."""
        device = self.blocks[0].device
        with own_precision(device):
            total = gramian_of(self.blocks)
        assert total is not None
        return (total + total.T) / 2

    @property
    def order(self) -> tuple[int, ...]:
        """Positions of the parameters in the order of their columns."""
        return tuple(place for group in self.layout.groups for place in group)

    def divided(self, factor: float) -> ParameterRows:
        """The rows of losses that are smaller by a factor."""
        heads = {leaf: (task, gradient / factor) for leaf, (task, gradient) in self.heads.items()}
        return replace(self, blocks=tuple(block / factor for block in self.blocks), heads=heads)

    def gradients(self, weights: Tensor) -> list[Tensor | None]:
        """J^T w, one tensor per parameter, its own memory; None may stand for zeros."""
        return [*self.layout.split(self.combine(weights))]

    def of_heads(self, factors: Tensor) -> dict[int, Tensor]:
        """Gradient of ``(factors * losses).sum()`` for the leaves of ``heads``, by their id."""
        return {
            leaf: gradient * factors[task].to(gradient.device, gradient.dtype)
            for leaf, (task, gradient) in self.heads.items()
        }


def ranks() -> int:
    """Number of processes that train together; 1 without a process group."""
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size()
    return 1
