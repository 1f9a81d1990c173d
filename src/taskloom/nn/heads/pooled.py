"""Head for features with positions: their mean, then a head for vectors."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["PooledHead"]


class PooledHead(nn.Module):
    """Average the features over all positions, then apply a head for vectors.

    Args:
        head: maps (n, C) to (n, outputs).

    Example:
        >>> import torch
        >>> PooledHead(nn.Linear(4, 2))(torch.zeros(3, 4, 5, 5)).shape
        torch.Size([3, 2])
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> Tensor:
        """(n, outputs).

        Args:
            features: (n, C, ...).
        """
        output: Tensor = self.head(features.flatten(2).mean(2))
        return output
