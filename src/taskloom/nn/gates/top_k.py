"""The sparse gate: softmax over the k largest of noisy linear scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn.gates.base import GateRule

__all__ = ["TopKGate"]


@dataclass(frozen=True, kw_only=True)
class TopKGate(GateRule):
    """Softmax over the k largest scores; the other experts have weight 0 for this row.

        s = W z + e * softplus(W_n z), e ~ N(0, 1) in training, 0 in evaluation
        q = softmax(s restricted to its k largest)

    With a balance weight, the penalty ``balance * Var(I) / mean(I)^2`` on the importances of a gate, ``I_e = sum over
    rows of q_e``, keeps all experts in use. All experts are computed; the gain is a mixture of few, not time.

    Args:
        k: how many experts count for a row, from 2 to their number; default 2.
        noise: whether scores are noisy in training; default True (paper).
        balance: weight of the penalty; default 1e-2 (our choice; the paper uses 0.1 on language models).
        zero_start: start with W = W_n = 0, as the paper does; only with noise, which then makes the first choices.
            Default False.

    Raises:
        TaskError: a setting outside its range, or k above the number of experts.

    Differs from the paper:
        one expert layer for all rows without dispatch; the penalty on importance alone, not that on load.

    Source:
        N. Shazeer et al., Outrageously Large Neural Networks: The Sparsely-Gated Mixture-of-Experts Layer, ICLR 2017,
        arXiv:1701.06538, equations 3 to 7.

    Example:
        >>> TopKGate(k=2, noise=False).weigh(torch.tensor([0.0, 3.0, 3.0]), {}, training=False)
        tensor([0.0000, 0.5000, 0.5000])
    """

    k: int = 2
    noise: bool = True
    balance: float = 1e-2
    zero_start: bool = False

    def __post_init__(self) -> None:
        if self.k < 2 or self.balance < 0:
            raise TaskError(
                "TopKGate needs k of 2 or more (one expert would have weight 1 whatever its score, and the gate would "
                f"learn nothing) and a balance weight of 0 or more, found k={self.k}, balance={self.balance}"
            )
        if self.zero_start and not self.noise:
            raise TaskError("TopKGate with zero_start needs noise=True: with equal scores it would never change its k")

    @property
    def draws(self) -> bool:
        return self.noise

    @property
    def has_penalties(self) -> bool:
        return self.balance > 0

    def check(self, n_experts: int) -> None:
        if self.k > n_experts:
            raise TaskError(f"TopKGate(k={self.k}) must choose from {n_experts} experts; k lies in 2..{n_experts}")

    def n_scores(self, n_experts: int) -> int:
        return n_experts * (2 if self.noise else 1)

    def start(self, weight: Tensor | None, bias: Tensor | None) -> None:
        if self.zero_start and weight is not None:
            nn.init.zeros_(weight)
        else:
            super().start(weight, bias)

    def weigh(self, scores: Tensor, constants: Mapping[str, Tensor], *, training: bool) -> Tensor:
        if self.noise:
            scores, spread = scores.chunk(2, -1)
            if training:
                scores = scores + torch.randn_like(scores) * F.softplus(spread)
        best = scores.topk(self.k, -1).indices
        kept = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, best, True)
        return scores.masked_fill(~kept, -torch.inf).softmax(-1)

    def penalties(self, scores: Tensor, weights: Tensor, constants: Mapping[str, Tensor]) -> dict[str, Tensor]:
        importance = weights.sum(0)  # (n,)
        return {"gate_balance": self.balance * importance.var(correction=0) / importance.mean().square()}
