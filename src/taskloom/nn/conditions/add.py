"""A learned shift of the features per task: ``u' = u + V e_t``."""

from __future__ import annotations

from torch import Tensor, nn

from taskloom.nn.conditions.base import Condition

__all__ = ["EmbeddingAdd"]


class EmbeddingAdd(Condition):
    """Add ``V e_t``, a learned shift of the features per task.

    Args:
        n_tasks: number of tasks K.
        features: number C of conditioned features.
        width: length d of the task vectors; default 8 (our choice).
        dimension: conditioned axis, see :class:`Condition`.

    Example:
        >>> condition = EmbeddingAdd(3, 5, width=2)
        >>> sum(parameter.numel() for parameter in condition.parameters())  # K d + d C
        16
    """

    def __init__(self, n_tasks: int, features: int, *, width: int = 8, dimension: int = 1) -> None:
        super().__init__(n_tasks, width=width, dimension=dimension)
        self.project = nn.Linear(width, features, bias=False)

    def codes(self, vectors: Tensor) -> Tensor:
        shift: Tensor = self.project(vectors)
        return shift

    def apply_codes(self, features: Tensor, codes: Tensor) -> Tensor:
        return features + self._aligned(codes, features)
