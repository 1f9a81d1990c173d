"""Features of a task made of what its network has behind several stages."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Self

from torch import Tensor, nn

__all__ = ["Readout"]


class Readout(nn.Module):
    """Base of the readouts: tensors behind some stages in, the features of one task out.

    Args:
        places: indices of the stages that are read.
    """

    def __init__(self, places: Sequence[int]) -> None:
        super().__init__()
        self.places = tuple(places)

    def forward(self, layers: Sequence[Tensor]) -> Tensor:
        """Features (n, ...) from the tensors behind the stages :attr:`places`."""
        raise NotImplementedError

    def reset_parameters(self) -> None:
        """Start anew."""
        raise NotImplementedError

    def may_use(self) -> list[bool]:
        """Which of the places are or can come to be used: all but those shut out for good."""
        return [True] * len(self.places)

    def used(self, tolerance: float = 0.0) -> list[bool]:
        """Which of the places count with a weight beyond the tolerance."""
        return [True] * len(self.places)

    def only(self, kept: Sequence[int]) -> Self:
        """A copy that reads some of the places, given as positions in :attr:`places`."""
        other = copy.deepcopy(self)
        other.places = tuple(self.places[position] for position in kept)
        return other

    def fresh(self) -> Self:
        """A copy that starts anew and learns."""
        other = copy.deepcopy(self).requires_grad_(True)
        other.reset_parameters()
        return other
