"""The candidate that validation rows speak for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Best"]


@dataclass(frozen=True)
class Best:
    """The candidate with the best mean validation score.

    Args:
        candidate: its name.
        title: how tables show it.
        validation_score: mean over seeds of its validation score: loss over that of the best constant; lower is better.
        settings: seed -> task -> hyperparameters that were chosen; the task is ``""`` for one network of all tasks.

    Example:
        >>> Best("linear", "ridge / logistic regression", 0.4, {0: {"a": {"penalty": 1.0}}}).settings[0]["a"]
        {'penalty': 1.0}
    """

    candidate: str
    title: str
    validation_score: float
    settings: Mapping[int, Mapping[str, Mapping[str, Any]]]
