"""The hyperparameters of a candidate: what can be tuned, between which bounds, and where the search starts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from taskloom.errors import StudyError

__all__ = ["Choice", "LogRange", "Parameter", "Range", "Settings", "default_settings", "settings_at"]

Settings = Mapping[str, float | int | str]


@dataclass(frozen=True)
class Range:
    """A number between two bounds, uniform.

    Raises:
        StudyError: the bounds are not in order, or the default lies outside.

    Example:
        >>> Range("dropout", 0.0, 0.5, default=0.1).at(0.5)
        0.25
    """

    name: str
    low: float
    high: float
    default: float

    structural = False

    def __post_init__(self) -> None:
        _check_bounds(self)

    def at(self, share: float) -> float:
        """Value at a share in [0, 1) of the range."""
        return min(self.low + share * (self.high - self.low), self.high)


@dataclass(frozen=True)
class LogRange:
    """A positive number between two bounds, uniform in its logarithm.

    Raises:
        StudyError: the bounds are not positive and in order, or the default lies outside.

    Example:
        >>> round(LogRange("learning_rate", 1e-4, 1e-2, default=1e-3).at(0.5), 6)
        0.001
    """

    name: str
    low: float
    high: float
    default: float

    structural = False

    def __post_init__(self) -> None:
        _check_bounds(self)
        if not self.low > 0:
            raise StudyError(f"the lower bound of {self.name!r} must be positive on a logarithmic scale: {self.low!r}")

    def at(self, share: float) -> float:
        """Value at a share in [0, 1) of the logarithmic range."""
        value = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        return min(max(value, self.low), self.high)  # the exponential of a logarithm may lie just outside


@dataclass(frozen=True)
class Choice:
    """One of some values. ``structural`` values change the shape of a network (its width, say).

    Raises:
        StudyError: there are no values, or the default is none of them.

    Example:
        >>> Choice("width", (32, 64), default=64, structural=True).at(0.2)
        32
    """

    name: str
    values: tuple[float | int | str, ...]
    default: float | int | str
    structural: bool = False

    def __post_init__(self) -> None:
        if self.default not in self.values:
            raise StudyError(f"the default {self.default!r} of {self.name!r} is none of its values {self.values!r}")

    def at(self, share: float) -> float | int | str:
        """Value at a share in [0, 1) of the list."""
        return self.values[min(int(share * len(self.values)), len(self.values) - 1)]


Parameter = Range | LogRange | Choice


def _check_bounds(parameter: Range | LogRange) -> None:
    if not parameter.low <= parameter.default <= parameter.high:
        raise StudyError(
            f"{parameter.name!r} must have low <= default <= high, found {parameter.low!r}, {parameter.default!r} and "
            f"{parameter.high!r}"
        )


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
