"""Columns of a table as tokens, so that attention can read rows of numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from taskloom.nn.cost import layer_macs

__all__ = ["FeatureTokens"]


class FeatureTokens(nn.Module):
    """One token per column: ``token_j = x_j w_j + b_j``.

    Args:
        in_features: number of columns M.
        width: length C of a token.

    Attributes:
        out_features: the width.

    Source:
        Y. Gorishniy et al., Revisiting Deep Learning Models for Tabular Data, NeurIPS 2021, arXiv:2106.11959 (its
        feature tokenizer for numbers).

    Example:
        >>> FeatureTokens(3, 8)(torch.zeros(5, 3)).shape
        torch.Size([5, 3, 8])
    """

    def __init__(self, in_features: int, width: int) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, width
        self.weight = nn.Parameter(torch.empty(in_features, width))
        self.bias = nn.Parameter(torch.empty(in_features, width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights and biases from U(-1/sqrt(C), 1/sqrt(C))."""
        bound = self.out_features**-0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, M) -> (n, M, C)."""
        return inputs.unsqueeze(-1) * self.weight + self.bias


@layer_macs.register
def _token_macs(layer: FeatureTokens, inputs: tuple[Any, ...], *, output: Any) -> int:
    return int(output.numel())
