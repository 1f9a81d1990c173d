"""How much tuning every candidate gets: a number of trials, or a time after which no new round is begun."""

from __future__ import annotations

import re
from dataclasses import dataclass

from taskloom.errors import StudyError

__all__ = ["Budget"]

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_TIME = re.compile(r"([+-]?\d+(?:\.\d+)?)\s*(s|secs?|seconds?|m|mins?|minutes?|h|hours?)")


@dataclass(frozen=True)
class Budget:
    """Tuning budget of a comparison, the same for every candidate.

    Args:
        trials: number of hyperparameter settings that every candidate is tried with.
        seconds: instead of trials, a wall time: rounds of 4 trials for every candidate are begun until it is used up,
            so that all candidates have equally many trials at the end. At least one round is run.

    Raises:
        StudyError: neither or both are given, or the number is not positive.

    Example:
        >>> Budget.parse("12 trials"), Budget.parse("10m")
        (Budget(trials=12, seconds=None), Budget(trials=None, seconds=600.0))
    """

    trials: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if (self.trials is None) == (self.seconds is None):
            raise StudyError("a budget has either trials or seconds; write Budget(trials=8) or Budget(seconds=600)")
        amount = self.trials if self.trials is not None else self.seconds
        if amount is None or not amount > 0:
            raise StudyError(f"the budget must be positive, found {amount!r}; write for example '8 trials' or '10m'")

    @classmethod
    def parse(cls, text: str | int | Budget) -> Budget:
        """Read ``12``, ``"12"``, ``"12 trials"``, ``"90s"``, ``"10m"`` or ``"2h"``.

        Raises:
            StudyError: anything else.
        """
        if isinstance(text, Budget):
            return text
        cleaned = str(text).strip().lower()
        match = re.fullmatch(r"([+-]?\d+)\s*(?:trials?)?", cleaned)
        if match:
            return cls(trials=int(match[1]))
        match = _TIME.fullmatch(cleaned)
        if match:
            return cls(seconds=float(match[1]) * _UNITS[match[2][0]])
        raise StudyError(f"the budget {text!r} is not understood; write for example '8 trials', '90s', '10m' or '2h'")

    def __str__(self) -> str:
        if self.trials is not None:
            return f"{self.trials} trials"
        seconds = float(self.seconds or 0.0)
        for unit, size in (("h", 3600.0), ("m", 60.0)):
            if seconds >= size and seconds % size == 0:
                return f"{seconds / size:g}{unit}"
        return f"{seconds:g}s"
