"""Lower bounds of the objective from dual points: how far a solution can be from the best one.

For the risk with predictors ``eta_ti`` let ``u_ti = -weight_ti loss'(y_ti, eta_ti)``, with ``sum_i u_ti = 0`` where
task t has an intercept, and ``G = [X_1' u_1, ..., X_T' u_T]``. For every such u

    min_{A, b} risk(A, b) + Omega(A)  >=  data(u) - Omega*(G)
    squared loss:   data(u) = sum u y - u^2 / (2 weight)
    logistic loss:  data(u) = -sum weight (p log p + (1 - p) log(1 - p)),   p = y u / weight in [0, 1]

and the right side meets the left at the minimum. At other points u is scaled by a factor that makes ``Omega*`` finite.

Source:
    Fenchel's duality; scaling: Ndiaye, Fercoq, Gramfort, Salmon, "Gap safe screening rules for sparsity enforcing
    penalties", JMLR 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from scipy.special import xlogy

from taskloom.regularised.data import Array
from taskloom.regularised.penalties.base import Penalty
from taskloom.regularised.penalties.coupled import Coupled
from taskloom.regularised.penalties.elastic import Elastic
from taskloom.regularised.penalties.entry import EntryNorm
from taskloom.regularised.penalties.part_sum import PartSum, parts_of
from taskloom.regularised.penalties.row_norm import RowNorm

__all__ = ["DualPoint", "LogisticDual", "RiskPoint", "SquaredDual", "lower_bound"]


class DualPoint(Protocol):
    """Scaled residuals u and what the bound needs of them."""

    @property
    def G(self) -> Array:  # noqa: N802
        """Gradients, shape (d, T)."""
        ...

    def data(self, factor: float) -> float:
        """``data(factor * u)``; minus infinity outside its domain."""
        ...

    def best(self, ridge: float) -> float:
        """The factor that makes ``data(factor * u) - factor^2 ridge / 2`` largest, or a good one."""
        ...


@dataclass(frozen=True)
class SquaredDual:
    """Residuals of the squared loss.

    Args:
        G: gradients, shape (d, T).
        fits: ``sum u y`` of every task, shape (T,).
        rests: ``sum u^2 / weight`` of every task, twice its loss, shape (T,).

    Example:
        >>> SquaredDual(np.zeros((1, 1)), np.array([4.0]), np.array([2.0])).data(1.0)
        3.0
    """

    G: Array
    fits: Array
    rests: Array

    def data(self, factor: float) -> float:
        """As :meth:`DualPoint.data`."""
        fit, rest = self._totals
        return factor * fit - factor**2 / 2 * rest

    def best(self, ridge: float) -> float:
        """As :meth:`DualPoint.best`."""
        fit, rest = self._totals
        return max(fit / (rest + ridge), 0.0) if rest + ridge > 0 else 1.0

    @cached_property
    def _totals(self) -> tuple[float, float]:
        return float(self.fits.sum()), float(self.rests.sum())

    def best_data_by_task(self, most: Array) -> float:
        """``data`` with the best factor for each task, at most the given ones.

        Args:
            most: shape (T,).
        """
        unbounded = np.divide(self.fits, self.rests, out=np.ones_like(self.fits), where=self.rests > 0)
        factors = np.clip(unbounded, 0.0, most)
        return float((factors * self.fits - factors**2 / 2 * self.rests).sum())


@dataclass(frozen=True)
class LogisticDual:
    """Residuals of the logistic loss.

    Args:
        G: gradients, shape (d, T).
        probabilities: ``p = y u / weight`` of all samples, between 0 and 1.
        weights: their weights.

    Example:
        >>> round(LogisticDual(np.zeros((1, 1)), np.array([0.5]), np.ones(1)).data(1.0), 4)
        0.6931
    """

    G: Array
    probabilities: Array
    weights: Array

    def data(self, factor: float) -> float:
        """As :meth:`DualPoint.data`."""
        p = factor * self.probabilities
        if p.max(initial=0.0) > 1:
            return -np.inf
        return -float((self.weights * (xlogy(p, p) + xlogy(1 - p, 1 - p))).sum())

    def best(self, ridge: float) -> float:
        """As :meth:`DualPoint.best`."""
        return 1.0


@dataclass(frozen=True)
class RiskPoint:
    """The risk at some coefficients, everything else at its best.

    Args:
        loss: the risk.
        dual: the dual point that belongs to it, with the gradients.

    Example:
        >>> RiskPoint(1.0, SquaredDual(np.zeros((1, 1)), np.ones(1), np.ones(1))).loss
        1.0
    """

    loss: float
    dual: DualPoint


def lower_bound(
    dual: DualPoint, penalty: Penalty | PartSum | Coupled, *, A: Array, gauge: float | None = None
) -> float:
    """The largest lower bound of the objective that a scaling of the dual point gives.

    Args:
        dual: a dual point.
        penalty: of the objective.
        A: the coefficients that the dual point belongs to, shape (d, T).
        gauge: of its gradients, if it is known.

    Returns:
        a number that no value of the objective is below; minus infinity if the point gives none.

    Example:
        >>> from taskloom.regularised import EntryNorm
        >>> dual = SquaredDual(np.array([[2.0]]), np.array([4.0]), np.array([4.0]))
        >>> lower_bound(dual, EntryNorm(1.0), A=np.zeros((1, 1)))
        1.5
    """
    if isinstance(penalty, Coupled):
        coupling = penalty.coupling
        return _with_squares_as_data(dual, penalty.penalty, coupling.times(A), 2 * coupling.value(A))
    if isinstance(penalty, EntryNorm) and isinstance(dual, SquaredDual):  # tasks may be scaled one by one
        with np.errstate(divide="ignore"):
            return dual.best_data_by_task(penalty.alpha / np.abs(dual.G).max(axis=0, initial=0.0))
    parts = parts_of(penalty)
    most = _inverse(max(part.gauge(dual.G) for part in parts) if gauge is None else gauge)
    if all(isinstance(part, RowNorm) for part in parts) and isinstance(dual, SquaredDual):
        return dual.data(min(dual.best(0.0), most))  # the conjugates are 0
    factors = {min(1.0, most), min(dual.best(0.0), most)}
    elastic = [part for part in parts if isinstance(part, Elastic)]
    factors |= {_inverse(part.threshold(dual.G)) for part in elastic}
    bounds = [
        dual.data(factor) - sum(part.conjugate(factor * dual.G) for part in parts)
        for factor in factors
        if np.isfinite(factor)
    ]
    if len(parts) == 1 and elastic:
        l2 = elastic[0].l2
        bounds.append(_with_squares_as_data(dual, elastic[0].penalty, l2 * A, l2 * float(np.vdot(A, A))))
    return max(bounds, default=-np.inf)


def _with_squares_as_data(dual: DualPoint, penalty: Penalty, shift: Array, energy: float) -> float:
    """A quadratic part of the penalty as further samples with targets 0.

    ``shift`` is its gradient at the coefficients, ``energy`` twice its value. At the same factor this is the bound
    above with a less than optimal choice of their residuals; but it stays good where the quadratic part is weak and its
    conjugate steep.
    """
    G = dual.G - shift
    factor = min(dual.best(energy), _inverse(penalty.gauge(G)))
    if not np.isfinite(factor):
        return -np.inf
    return dual.data(factor) - factor**2 / 2 * energy - penalty.conjugate(factor * G)


def _inverse(scale: float) -> float:
    return np.inf if scale == 0 else 1 / scale
