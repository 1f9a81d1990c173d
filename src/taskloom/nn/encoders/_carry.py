"""What stages hand on beside the features: skip connections, pooling positions, padding.

A stage takes and gives either the features alone or a tuple whose first item they are; the rest travels along.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

__all__ = ["OnFeatures", "State", "closed", "opened"]

State = Tensor | tuple[Any, ...]


def opened(state: State) -> tuple[Tensor, tuple[Any, ...]]:
    """Features, and what travels along."""
    return (state, ()) if isinstance(state, Tensor) else (state[0], tuple(state[1:]))


def closed(features: Tensor, rest: tuple[Any, ...]) -> State:
    """The features alone when nothing travels along, else a tuple."""
    return (features, *rest) if rest else features


class OnFeatures(nn.Module):
    """Applies a module to the features; what travels along passes unchanged."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, state: State) -> State:
        """Same form as the input."""
        features, rest = opened(state)
        return closed(self.module(features), rest)
