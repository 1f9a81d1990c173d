"""Multi-layer perceptron for tables: blocks of linear layer, ReLU and optional dropout."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from taskloom.nn.encoders._blocks import dense_blocks, whole_numbers

__all__ = ["MLP"]


class MLP(nn.Sequential):
    """A plain feed-forward encoder for rows of numbers.

    Each hidden layer is one stage (``nn.Sequential`` child): ``u -> dropout(relu(W u + b))``. There is no output layer;
    heads are added by the architectures.

    Args:
        in_features: width p of the input rows (n, p).
        hidden: widths of the hidden layers; default (64, 64). Empty: the features are the inputs.
        dropout: probability of dropping a hidden unit, in [0, 1); default 0, then there is no dropout layer.

    Raises:
        TaskError: a width is below 1 or the dropout is outside [0, 1).

    Example:
        >>> import torch
        >>> encoder = MLP(5, (16, 8))
        >>> encoder.out_features, encoder(torch.zeros(2, 5)).shape
        (8, torch.Size([2, 8]))
    """

    def __init__(self, in_features: int, hidden: Sequence[int] = (64, 64), *, dropout: float = 0.0) -> None:
        widths = whole_numbers([in_features, *hidden], what="MLP widths")
        super().__init__(*dense_blocks(widths, dropout))
        self.in_features = widths[0]
        self.out_features = widths[-1]
