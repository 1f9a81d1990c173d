"""One mixture of experts as a plain module: ``f(x) = sum_i q(z)_i E_i(x)``."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from taskloom.nn._expert_level import ExpertLevel
from taskloom.nn._expert_path import used_places
from taskloom.nn.parallel import Parallel

__all__ = ["Mixture"]


class Mixture(nn.Module):
    """Experts and one gate.

    Args:
        level: a level that has a shared stream alone.
    """

    def __init__(self, level: ExpertLevel) -> None:
        super().__init__()
        self.level = level
        self.out_features = getattr(level.experts[0], "out_features", None)

    def forward(self, inputs: Any) -> Tensor:
        """The mixture (B, ...)."""
        return self.level.shared_state(inputs, self.level.outputs((), (), inputs))

    def used(self) -> Mixture:
        """The same without experts that a gate without input never uses, not copied; itself with any other gate."""
        found = used_places(self.level.shared_gate)
        if found is None:
            return self
        kept, gate = found
        experts = Parallel([self.level.experts[place] for place in kept])
        level = ExpertLevel(experts, (), n_own=(), shared_gate=gate, gating=self.level.gating)
        return Mixture(level).train(self.training)
