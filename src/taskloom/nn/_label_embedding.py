"""Predicted labels as features: the mean of learned vectors of the classes under the predicted probabilities."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from taskloom.nn.cost import layer_macs
from taskloom.task import Kind

__all__ = ["LabelEmbedding"]


class LabelEmbedding(nn.Module):
    """``y = sum_c p_c e_c`` from raw scores of a head.

    Args:
        kind: kind of the task, with classes; a binary task has one score, that of class 1.
        width: length d of the vectors.
    """

    def __init__(self, kind: Kind, width: int) -> None:
        super().__init__()
        self.n_outputs = kind.n_outputs
        self.vectors = nn.Parameter(torch.empty(kind.n_classes or 0, width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the vectors from N(0, 1/d)."""
        nn.init.normal_(self.vectors, std=self.vectors.shape[1] ** -0.5)

    def forward(self, scores: Tensor) -> Tensor:
        """(..., n_outputs) -> (..., d)."""
        if self.n_outputs == 1:
            scores = torch.cat([torch.zeros_like(scores), scores], dim=-1)
        return scores.softmax(-1) @ self.vectors


@layer_macs.register
def _embedding_macs(layer: LabelEmbedding, inputs: tuple[Any, ...], *, output: Any) -> int:
    return int(output.numel()) * layer.vectors.shape[0]
