"""What is left of a gate that does not look at its input, once it is trained: its weights."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["FixedWeights"]


class FixedWeights(nn.Module):
    """The same weights (n,) for every row.

    Args:
        weights: the weights.
    """

    weights: Tensor

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.register_buffer("weights", weights)

    def forward(self, rows: Tensor) -> Tensor:
        """Weights (B, n) for rows (B, d)."""
        return self.weights.expand(rows.shape[0], -1)
