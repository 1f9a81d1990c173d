"""Objective and certificate of coefficients in parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from taskloom.regularised.certificate import RiskPoint, lower_bound
from taskloom.regularised.data import Array
from taskloom.regularised.penalties.base import Penalty
from taskloom.regularised.penalties.coupled import Coupled
from taskloom.regularised.penalties.part_sum import PartSum

__all__ = ["AnyPenalty", "Measured", "measure", "total", "value_of"]

AnyPenalty: TypeAlias = Penalty | PartSum | Coupled
Parts: TypeAlias = tuple[Array, ...]


@dataclass(frozen=True)
class Measured:
    """Where a solver stands.

    Args:
        objective: risk plus penalty.
        bound: no objective is below it.
        G: gradients of the risk, negative, shape (d, T).
    """

    objective: float
    bound: float
    G: Array

    @property
    def gap(self) -> float:
        """How far the objective is from the bound."""
        return self.objective - self.bound


def total(parts: Sequence[Array]) -> Array:
    """Sum of the parts, without a copy of a single one."""
    return parts[0] if len(parts) == 1 else np.sum(parts, axis=0)


def value_of(penalty: AnyPenalty, parts: Sequence[Array]) -> float:
    """Penalty of coefficients in parts."""
    return penalty.value_of(parts) if isinstance(penalty, PartSum) else penalty.value(parts[0])


def measure(point: RiskPoint, penalty: AnyPenalty, parts: Sequence[Array], *, gauge: float | None = None) -> Measured:
    """Objective and bound at coefficients whose risk is known, and perhaps the gauge of its gradients."""
    objective = point.loss + value_of(penalty, parts)
    return Measured(objective, lower_bound(point.dual, penalty, A=total(parts), gauge=gauge), point.dual.G)
