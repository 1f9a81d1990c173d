"""Features that each task opens or closes: ``u' = sigmoid(V e_t + c) * u``."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from taskloom.nn.conditions.base import Condition

__all__ = ["EmbeddingGate"]


class EmbeddingGate(Condition):
    """Multiply by ``sigmoid(V e_t + c)``: each task closes the features that it does not need.

    V starts at 0 and c at +2, so that all gates start mostly open (0.88).

    Args:
        n_tasks: number of tasks K.
        features: number C of conditioned features.
        width: length d of the task vectors; default 8 (our choice).
        dimension: conditioned axis, see :class:`Condition`.

    Example:
        >>> gated = EmbeddingGate(3, 1)(torch.ones(1, 1), members=[0], rows=torch.tensor([0]))
        >>> round(gated.item(), 2)
        0.88
    """

    def __init__(self, n_tasks: int, features: int, *, width: int = 8, dimension: int = 1) -> None:
        super().__init__(n_tasks, width=width, dimension=dimension)
        self.project = nn.Linear(width, features)
        self._open()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        self._open()

    def _open(self) -> None:
        """Start mostly open."""
        nn.init.zeros_(self.project.weight)
        nn.init.constant_(self.project.bias, 2.0)

    def codes(self, vectors: Tensor) -> Tensor:
        return torch.sigmoid(self.project(vectors))

    def apply_codes(self, features: Tensor, codes: Tensor) -> Tensor:
        return self._aligned(codes, features) * features
