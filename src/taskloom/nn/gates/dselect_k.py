"""DSelect-k: a differentiable gate that ends with at most k experts per task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn.gates.base import GateRule, check_positive

__all__ = ["DSelectKGate"]

_SMALLEST = 1e-6  # inside the logarithm, and of a selector's mass on experts that exist


@dataclass(frozen=True, kw_only=True)
class DSelectKGate(GateRule):
    """k selectors, each of which ends at one expert; weights are smooth on the way there.

    A selector i has m = ceil(log2 n) numbers z_ib that become the bits of an expert's number, and a weight w_i:

        S(t) = 0 for t <= -g/2, 1 for t >= g/2, else -2 t^3/g^3 + 3 t/(2 g) + 1/2
        r_ie = prod_b [S(z_ib) if bit b of e is 1 else 1 - S(z_ib)],    q_e = sum_i softmax(w)_i r_ie

    with the most significant bit first. Once all bits have left (-g/2, g/2), at most k weights are not 0. The scores
    are (z, w), either learned constants or linear in the input of the gate.

    Penalties, per gate and as means over the rows: ``entropy * sum_ie -r_ie log(r_ie + 1e-6)``, which pushes selectors
    to decide, and, where n is no power of two, ``missing * sum_i 1 / sum_e r_ie``, which pushes them away from numbers
    that no expert has; the denominator is at least 1e-6. The weights of such a gate sum to less than one on the way.

    Args:
        k: number of selectors, from 1 to the number of experts; default 2.
        gamma: width g of the smooth step, above 0; default 1 (paper and code of the authors).
        entropy: weight of the first penalty; default 1e-6 (the authors' example).
        missing: weight of the second; default 1 (the authors' code).
        reads_input: whether the scores depend on the input; default True. False: a few numbers per task, and experts
            that the gate has left can be dropped (``export``).

    Raises:
        TaskError: a setting outside its range, or k above the number of experts.

    Differs from the paper:
        penalties are means over the batch, not sums; the denominator is bounded.

    Source:
        H. Hazimeh et al., DSelect-k: Differentiable Selection in the Mixture of Experts with Applications to Multi-Task
        Learning, NeurIPS 2021, arXiv:2106.03760, sections 3 and 4; initial values from the authors' code.

    Example:
        >>> rule = DSelectKGate(k=1)
        >>> rule.weigh(torch.tensor([0.5, -0.5, 0.0]), rule.constants(4), training=False)  # bits 1, 0: expert 2
        tensor([0., 0., 1., 0.])
    """

    has_bias: ClassVar[bool] = True

    k: int = 2
    gamma: float = 1.0
    entropy: float = 1e-6
    missing: float = 1.0
    reads_input: bool = True

    def __post_init__(self) -> None:
        check_positive(self, gamma=self.gamma)
        if self.k < 1 or self.entropy < 0 or self.missing < 0:
            raise TaskError(
                "DSelectKGate needs k of 1 or more and penalty weights of 0 or more, found "
                f"k={self.k}, entropy={self.entropy}, missing={self.missing}"
            )

    @property
    def is_static(self) -> bool:
        return not self.reads_input

    @property
    def has_penalties(self) -> bool:
        return self.entropy > 0 or self.missing > 0

    def check(self, n_experts: int) -> None:
        if self.k > n_experts:
            raise TaskError(f"DSelectKGate(k={self.k}) must choose from {n_experts} experts; k lies in 1..{n_experts}")

    def n_scores(self, n_experts: int) -> int:
        return self.k * (_n_bits(n_experts) + 1)

    def constants(self, n_experts: int) -> dict[str, Tensor]:
        """``codes`` (n, m): the bits of the experts' numbers."""
        n_bits = _n_bits(n_experts)
        places = torch.arange(n_bits - 1, -1, -1)
        return {"codes": (torch.arange(n_experts).unsqueeze(1) >> places) % 2 == 1}

    def start(self, weight: Tensor | None, bias: Tensor | None) -> None:
        for part in (weight, bias):
            if part is not None:
                bits, weights = part[: -self.k], part[-self.k :]
                nn.init.uniform_(bits, -self.gamma / 100, self.gamma / 100)
                nn.init.uniform_(weights, -0.05, 0.05)

    def weigh(self, scores: Tensor, constants: Mapping[str, Tensor], *, training: bool) -> Tensor:
        shares = scores[..., -self.k :].softmax(-1)  # (..., k)
        return (shares.unsqueeze(-1) * self._selectors(scores, constants)).sum(-2)

    def _selectors(self, scores: Tensor, constants: Mapping[str, Tensor]) -> Tensor:
        """What the selectors say of the experts, r (..., k, n)."""
        codes = constants["codes"]
        n_experts, n_bits = codes.shape
        steps = self._smooth_step(scores[..., : -self.k].unflatten(-1, (self.k, n_bits)))  # (..., k, m)
        selected = scores.new_ones(()).expand(*scores.shape[:-1], self.k, n_experts)
        for bit in range(n_bits):
            step = steps[..., bit].unsqueeze(-1)
            selected = selected * torch.where(codes[:, bit], step, 1 - step)
        return selected

    def _smooth_step(self, values: Tensor) -> Tensor:
        inside = (values / self.gamma).clamp(-0.5, 0.5)
        return 0.5 + inside * (1.5 - 2 * inside.square())

    def penalties(self, scores: Tensor, weights: Tensor, constants: Mapping[str, Tensor]) -> dict[str, Tensor]:
        selected = self._selectors(scores, constants)  # (rows, k, n)
        found = {}
        if self.entropy > 0:
            logarithms = (selected + _SMALLEST).log()
            found["gate_entropy"] = -self.entropy * (selected * logarithms).sum((-2, -1)).mean()
        n_experts, n_bits = constants["codes"].shape
        if self.missing > 0 and n_experts < 2**n_bits:
            mass = selected.sum(-1).clamp(min=_SMALLEST)  # (rows, k)
            found["gate_missing"] = self.missing * mass.reciprocal().sum(-1).mean()
        return found


def _n_bits(n_experts: int) -> int:
    return (n_experts - 1).bit_length()
