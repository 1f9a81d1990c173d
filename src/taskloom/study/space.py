"""The hyperparameters of a candidate: what can be tuned, between which bounds, and where the search starts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Choice", "LogRange", "Parameter", "Range", "Settings", "default_settings", "settings_at"]

Settings = Mapping[str, float | int | str]


@dataclass(frozen=True)
class Range:
    """A number between two bounds, uniform.

    Example:
        >>> Range("dropout", 0.0, 0.5, default=0.1).at(0.5)
        0.25
    """

    name: str
    low: float
    high: float
    default: float

    structural = False

    def at(self, share: float) -> float:
        """Value at a share in [0, 1) of the range."""
        return self.low + share * (self.high - self.low)


@dataclass(frozen=True)
class LogRange:
    """A positive number between two bounds, uniform in its logarithm.

    Example:
        >>> round(LogRange("learning_rate", 1e-4, 1e-2, default=1e-3).at(0.5), 6)
        0.001
    """

    name: str
    low: float
    high: float
    default: float

    structural = False

    def at(self, share: float) -> float:
        """Value at a share in [0, 1) of the logarithmic range."""
        return math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))


@dataclass(frozen=True)
class Choice:
    """One of some values. ``structural`` values change the shape of a network (its width, say).

    Example:
        >>> Choice("width", (32, 64), default=64, structural=True).at(0.2)
        32
    """

    name: str
    values: tuple[float | int | str, ...]
    default: float | int | str
    structural: bool = False

    def at(self, share: float) -> float | int | str:
        """Value at a share in [0, 1) of the list."""
        return self.values[min(int(share * len(self.values)), len(self.values) - 1)]


Parameter = Range | LogRange | Choice


def default_settings(space: Sequence[Parameter]) -> dict[str, float | int | str]:
    """The settings a search starts with: every parameter's default.

    Example:
        >>> default_settings([LogRange("learning_rate", 1e-4, 1e-2, default=1e-3)])
        {'learning_rate': 0.001}
    """
    return {parameter.name: parameter.default for parameter in space}


def settings_at(space: Sequence[Parameter], shares: Sequence[float]) -> dict[str, float | int | str]:
    """The settings at a point of the unit cube, one share per parameter.

    Example:
        >>> settings_at([Range("dropout", 0.0, 1.0, default=0.0)], [0.25])
        {'dropout': 0.25}
    """
    return {parameter.name: parameter.at(float(share)) for parameter, share in zip(space, shares, strict=True)}
