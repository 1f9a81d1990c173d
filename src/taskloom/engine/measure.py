"""Measure how the gradients of tasks relate, without training anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from taskloom.engine._compiling import uncompiled
from taskloom.engine._fsdp import sharded_as
from taskloom.engine._inputs import not_finite, read_losses, read_parameters
from taskloom.engine._verify import require_same_tasks
from taskloom.engine.base import GradientEngine, ranks
from taskloom.engine.sharded import engine_for
from taskloom.errors import EngineError

__all__ = ["Measurement", "measure"]


@dataclass(frozen=True)
class Measurement:
    """How the task gradients of one batch relate. Plain numbers, no graph.

    Args:
        tasks: names; all arrays follow them.
        losses: shape (K,).
        gramian: G = J J^T, shape (K, K).

    Example:
        >>> found = Measurement(("a", "b"), torch.ones(2), torch.tensor([[1.0, -2.0], [-2.0, 16.0]]))
        >>> found.norms, found.conflict_share
        (tensor([1., 4.]), 1.0)
        >>> found.cosines[0, 1], found.magnitude_similarity[0, 1]
        (tensor(-0.5000), tensor(0.4706))
    """

    tasks: tuple[str, ...]
    losses: Tensor
    gramian: Tensor

    @property
    def norms(self) -> Tensor:
        """Gradient norms n_i = sqrt(G_ii), shape (K,)."""
        return self.gramian.diagonal().clamp(min=0).sqrt()

    @property
    def cosines(self) -> Tensor:
        """Cosines G_ij / (n_i n_j), shape (K, K); 0 where a gradient is zero."""
        scale = self.norms.unsqueeze(0) * self.norms.unsqueeze(1)
        cosines = torch.where(scale > 0, self.gramian / torch.where(scale > 0, scale, 1), 0)
        return cosines.clamp(-1, 1)

    @property
    def magnitude_similarity(self) -> Tensor:
        """2 n_i n_j / (n_i^2 + n_j^2), shape (K, K): 1 for equal norms, near 0 when one dominates; 0 for two zeros."""
        squares = self.norms.square()
        total = squares.unsqueeze(0) + squares.unsqueeze(1)
        product = 2 * self.norms.unsqueeze(0) * self.norms.unsqueeze(1)
        return torch.where(total > 0, product / torch.where(total > 0, total, 1), 0)

    @property
    def conflict_share(self) -> float:
        """Share of the pairs of tasks whose gradients point against each other (negative cosine); 0 for one task."""
        n_tasks = len(self.tasks)
        if n_tasks < 2:
            return 0.0
        above = torch.triu(self.gramian < 0, diagonal=1)
        return float(above.sum()) / (n_tasks * (n_tasks - 1) / 2)

    def text(self) -> str:
        """The cosines as a small table."""
        width = max(len(task) for task in self.tasks)
        cell = max(width, 6)
        lines = [" " * width + "".join(f"  {task:>{cell}}" for task in self.tasks)]
        for task, row in zip(self.tasks, self.cosines.tolist(), strict=True):
            lines.append(f"{task:<{width}}" + "".join(f"  {value:>{cell}.2f}" for value in row))
        return "\n".join(lines)


@uncompiled
def measure(
    losses: Mapping[str, Tensor], *, shared: Iterable[Tensor] | nn.Module, engine: GradientEngine | None = None
) -> Measurement:
    """Conflict report: inner products, cosines and norms of the task gradients on the shared parameters.

    Touches neither ``.grad`` nor the graph: a training step on the same losses can follow.

        G_ij = g_i . g_j,    g_i = d l_i / d theta

    Args:
        losses: task name -> scalar loss with a graph.
        shared: the shared parameters, as for :func:`taskloom.balance`.
        engine: how gradients are measured; default: one backward pass per task.

    Returns:
        the measurement; its Gramian is float64 for K <= 64.

    Raises:
        EngineError: losses that are no scalars, have no graph, or whose gradients are not finite.

    Cost:
        K backward passes through the shared part; K times its parameters in memory.

    Distributed:
        gradients are averaged over ranks before products are taken; all ranks must call it with the same tasks.

    Example:
        >>> import taskloom as tl
        >>> theta = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> found = tl.measure({"a": theta.sum(), "b": -theta[0]}, shared=[theta])
        >>> print(found.text())
                a       b
        a    1.00   -0.71
        b   -0.71    1.00
        >>> theta.grad is None
        True
    """
    tasks, values = read_losses(losses)
    if ranks() > 1:
        require_same_tasks(tasks, values[0])
    parameters = sharded_as(read_parameters(shared))
    gramian = engine_for(parameters, engine).gramian(values, parameters)
    bad = not_finite(gramian, tasks)
    if bad:
        raise EngineError(f"the gradients of the tasks {bad} are not finite; measure at finite parameters and inputs")
    return Measurement(tasks, torch.stack([value.detach().float() for value in values]), gramian)
