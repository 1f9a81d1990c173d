"""The usual gate: softmax of linear scores, ``q = softmax(W z / T)``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from taskloom.nn.gates.base import GateRule, check_positive, check_share, keep_some

__all__ = ["SoftmaxGate"]


@dataclass(frozen=True, kw_only=True)
class SoftmaxGate(GateRule):
    """Softmax of linear scores without bias: every expert counts, some more.

        q = softmax(W z / T)

    Args:
        temperature: T above 0; larger is more even. Default 1.
        dropout: probability, in [0, 1), with which an expert is left out of the mixture of a row in training; the
            weights of the others are scaled up to sum to one. It keeps a gate from relying on one expert. Default 0.
        zero_start: start with W = 0, that is with the mean of the experts; default False: as ``nn.Linear``.

    Raises:
        TaskError: a setting outside its range.

    Source:
        J. Ma et al., Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts, KDD 2018,
        equation 6; temperature and dropout are ours.

    Example:
        >>> import torch
        >>> SoftmaxGate(temperature=0.5).weigh(torch.tensor([0.0, 1.0]), {}, training=False)
        tensor([0.1192, 0.8808])
    """

    temperature: float = 1.0
    dropout: float = 0.0
    zero_start: bool = False

    def __post_init__(self) -> None:
        check_positive(self, temperature=self.temperature)
        check_share(self, dropout=self.dropout)

    @property
    def draws(self) -> bool:
        return self.dropout > 0

    def start(self, weight: Tensor | None, bias: Tensor | None) -> None:
        if self.zero_start and weight is not None:
            nn.init.zeros_(weight)
        else:
            super().start(weight, bias)

    def weigh(self, scores: Tensor, constants: Mapping[str, Tensor], *, training: bool) -> Tensor:
        if self.temperature != 1.0:
            scores = scores / self.temperature
        if training and self.dropout > 0:
            scores = keep_some(scores, self.dropout)
        return scores.softmax(-1)
