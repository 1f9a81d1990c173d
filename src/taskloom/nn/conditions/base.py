"""What a condition is: a small part that tells a common network which task a row belongs to.

With u the features of a row and t its task; e_t is the learned vector of the task and z_t its one-hot code. The vector
of each task is a parameter of its own, and so private to the task; projections of it are shared.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn.cost import layer_macs

__all__ = ["Condition"]


class Condition(nn.Module):
    """Base of the conditions. A subclass writes :meth:`apply_codes` and, if a vector is projected, :meth:`codes`.

    Args:
        n_tasks: number of tasks K.
        width: length d of the vector of each task; 0 for none.
        dimension: axis of the features that is conditioned: 1 for (n, D) and images (n, C, height, width), 2 (or -1)
            for tokens (n, N, D).
        zero_start: start the vectors at 0; default False: drawn from N(0, 1/d).

    Raises:
        TaskError: no task, or a negative width.

    Example:
        >>> from taskloom.nn import EmbeddingConcat
        >>> condition = EmbeddingConcat(3, width=2)
        >>> condition(torch.zeros(4, 5), members=[0, 2], rows=torch.tensor([0, 0, 1, 1])).shape
        torch.Size([4, 7])
    """

    def __init__(self, n_tasks: int, *, width: int, dimension: int = 1, zero_start: bool = False) -> None:
        super().__init__()
        if n_tasks < 1 or width < 0:
            raise TaskError(f"a condition needs 1 or more tasks and a width of 0 or more, found {n_tasks} and {width}")
        self.n_tasks = n_tasks
        self.width = width
        self.dimension = dimension
        self.zero_start = zero_start
        self.vectors = nn.ParameterList([nn.Parameter(self.new_vector()) for _ in range(n_tasks if width else 0)])

    def new_vector(self) -> Tensor:
        """Initial vector of a task, shape (d,)."""
        return torch.zeros(self.width) if self.zero_start else torch.randn(self.width) / self.width**0.5

    def reset_parameters(self) -> None:
        """Draw new vectors; subclasses also start their projection anew."""
        with torch.no_grad():
            for vector in self.vectors:
                vector.copy_(self.new_vector())

    def forward(self, features: Tensor, members: Sequence[int], rows: Tensor) -> Tensor:
        """Condition each row on its task.

        Args:
            features: (n, ...).
            members: task indices that occur.
            rows: (n,) position of the row's task in ``members``.
        """
        codes = self.codes(torch.stack([self.vectors[member] for member in members]))  # once per task, not per row
        return self.apply_codes(features, nn.functional.embedding(rows, codes))

    def codes(self, vectors: Tensor) -> Tensor:
        """What the vectors of some tasks (m, d) say about the features, (m, q); default: the vectors themselves."""
        return vectors

    def apply_codes(self, features: Tensor, codes: Tensor) -> Tensor:
        """Condition features (n, ...) on the codes (n, q) of their rows' tasks."""
        raise NotImplementedError

    def task_parameters(self, index: int) -> Iterator[nn.Parameter]:
        """Parameters that only the task with this index reaches."""
        return iter([self.vectors[index]] if self.width else [])

    def shared_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters that all tasks reach."""
        own = {id(vector) for vector in self.vectors}
        return (parameter for parameter in self.parameters() if id(parameter) not in own)

    def only(self, index: int) -> Self:
        """A copy that knows one task, which is then its task 0."""
        own = nn.ParameterList([copy.deepcopy(self.vectors[index])] if self.width else [])
        alone = copy.deepcopy(self, {id(self.vectors): own})
        alone.n_tasks = 1
        return alone

    def add_task(self, n_tasks: int) -> Self:
        """Make room for one more task, in place; ``n_tasks`` is the number that the model then has."""
        while self.n_tasks < n_tasks:
            self.vectors.append(nn.Parameter(self.new_vector().to(self.vectors[0])))
            self.n_tasks += 1
        return self

    def forget(self, index: int) -> None:
        """Drop the task with this index, in place."""
        if self.width:
            kept = [vector for position, vector in enumerate(self.vectors) if position != index]
            self.vectors = nn.ParameterList(kept)
        self.n_tasks -= 1

    def _aligned(self, vector: Tensor, features: Tensor) -> Tensor:
        """View (n, C) so that it broadcasts against features with C on the conditioned axis."""
        shape = [1] * features.ndim
        shape[0], shape[self.dimension] = vector.shape[0], vector.shape[1]
        return vector.reshape(shape)

    def _append(self, features: Tensor, vector: Tensor) -> Tensor:
        shape = list(features.shape)
        shape[self.dimension] = vector.shape[1]
        return torch.cat([features, self._aligned(vector, features).expand(shape)], dim=self.dimension)


@layer_macs.register
def _condition_macs(layer: Condition, inputs: tuple[Any, ...], *, output: Any) -> int:
    """One per element, as normalisation; projections of the vectors are layers of their own."""
    return int(output.numel())
