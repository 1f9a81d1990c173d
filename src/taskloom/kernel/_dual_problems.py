r"""The problems of support vector machines, and how a rough solution of libsvm becomes an exact one.

Both are written with signed coefficients beta, decision values ``K beta + b`` and bounds ``|beta_i| <= C s_i``,
``sum beta = 0``. At the solution every coefficient is at 0, at a bound, or free, and where it is free the decision
value is known. So one linear system gives the solution once it is known which coefficients are free; coefficients and
decision values together tell which ones are (a Newton step of the non-smooth equations of the solution), and two or
three rounds settle it where libsvm came near.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, LinAlgWarning, solve
from sklearn.svm import SVC, SVR

__all__ = ["Certified", "DualProblem", "Hinge", "Tube", "solved"]

Array = NDArray[np.float64]
_ROUNDS = 20
_TOLERANCES = (1e-3, 1e-6)  # of libsvm: the first is scikit-learn's


@dataclass(frozen=True)
class Certified:
    """Signed coefficients (N,), the intercept, and values of the problem and of its dual."""

    dual: Array
    intercept: float
    value: float
    below: float

    @property
    def gap(self) -> float:
        """How far the value can be above the smallest one."""
        return self.value - self.below


class DualProblem(Protocol):
    """One kind of machine on one set of samples."""

    @property
    def gram(self) -> Array:
        """(N, N)."""
        ...

    @property
    def bounds(self) -> Array:
        """(N,) largest absolute values."""
        ...

    def by_libsvm(self, tolerance: float) -> tuple[Array, float]:
        """Signed coefficients and intercept as libsvm finds them."""
        ...

    def certified(self, dual: Array, intercept: float) -> Certified:
        """Values of the problem and its dual at feasible coefficients."""
        ...

    def split(self, dual: Array, decisions: Array) -> tuple[Array, NDArray[np.bool_], Array]:
        """Values where coefficients are at 0 or a bound, which ones are free, and decision values where they are."""
        ...

    def inside(self, dual: Array) -> Array:
        """The nearest coefficients inside the bounds."""
        ...


@dataclass(frozen=True)
class Hinge:
    """``1/2 ||f||^2 + sum_i bounds_i max(0, 1 - y_i (f(x_i) + b))``.

    Args:
        gram: (N, N).
        targets: (N,), -1 or +1.
        bounds: (N,).
    """

    gram: Array
    targets: Array
    bounds: Array

    def by_libsvm(self, tolerance: float) -> tuple[Array, float]:
        machine = SVC(C=1.0, kernel="precomputed", tol=tolerance, cache_size=500)
        return _coefficients(machine.fit(self.gram, self.targets, sample_weight=self.bounds), len(self.targets))

    def certified(self, dual: Array, intercept: float) -> Certified:
        functions = self.gram @ dual
        half_norm = 0.5 * float(dual @ functions)
        misses = np.maximum(0.0, 1.0 - self.targets * (functions + intercept))
        below = float(np.abs(dual).sum()) - half_norm
        return Certified(dual, intercept, half_norm + float(self.bounds @ misses), below)

    def split(self, dual: Array, decisions: Array) -> tuple[Array, NDArray[np.bool_], Array]:
        moved = self.targets * dual + (1.0 - self.targets * decisions) / _curvatures(self.gram)
        fixed = np.where(moved <= 0, 0.0, self.targets * self.bounds)
        return fixed, (moved > 0) & (moved < self.bounds), self.targets

    def inside(self, dual: Array) -> Array:
        return self.targets * np.clip(self.targets * dual, 0.0, self.bounds)


@dataclass(frozen=True)
class Tube:
    """``1/2 ||f||^2 + sum_i bounds_i max(0, |y_i - f(x_i) - b| - epsilon)``.

    Args:
        gram: (N, N).
        targets: (N,).
        bounds: (N,).
        epsilon: half the width of the tube.
    """

    gram: Array
    targets: Array
    bounds: Array
    epsilon: float

    def by_libsvm(self, tolerance: float) -> tuple[Array, float]:
        machine = SVR(C=1.0, kernel="precomputed", tol=tolerance, epsilon=self.epsilon, cache_size=500)
        return _coefficients(machine.fit(self.gram, self.targets, sample_weight=self.bounds), len(self.targets))

    def certified(self, dual: Array, intercept: float) -> Certified:
        functions = self.gram @ dual
        half_norm = 0.5 * float(dual @ functions)
        misses = np.maximum(0.0, np.abs(self.targets - functions - intercept) - self.epsilon)
        below = float(self.targets @ dual - self.epsilon * np.abs(dual).sum()) - half_norm
        return Certified(dual, intercept, half_norm + float(self.bounds @ misses), below)

    def split(self, dual: Array, decisions: Array) -> tuple[Array, NDArray[np.bool_], Array]:
        curvatures = _curvatures(self.gram)
        moved = dual + (self.targets - decisions) / curvatures
        size = np.abs(moved) - self.epsilon / curvatures
        fixed = np.where(size <= 0, 0.0, np.sign(moved) * self.bounds)
        return fixed, (size > 0) & (size < self.bounds), self.targets - self.epsilon * np.sign(moved)

    def inside(self, dual: Array) -> Array:
        return np.clip(dual, -self.bounds, self.bounds)


def _coefficients(machine: Any, n: int) -> tuple[Array, float]:
    dual = np.zeros(n)
    dual[machine.support_] = machine.dual_coef_[0]
    return dual, float(machine.intercept_[0])


def _curvatures(gram: Array) -> Array:
    """How far a coefficient moves a decision value; rows that are 0 count as the mean row."""
    diagonal = np.diag(gram)
    return np.maximum(diagonal, max(float(diagonal.mean()), 1e-300))


def solved(problem: DualProblem, tolerance: float) -> Certified:
    """The solution, with a gap of at most ``tolerance`` times its value where that can be had.

    Args:
        problem: the machine and its samples.
        tolerance: relative gap.
    """
    best: Certified | None = None
    for rough in _TOLERANCES:
        found = refined(problem, problem.certified(*problem.by_libsvm(rough)))
        best = found if best is None or found.gap < best.gap else best
        if best.gap <= tolerance * abs(best.value):
            break
    assert best is not None
    return best


def refined(problem: DualProblem, start: Certified) -> Certified:
    """The best of the start and of what a few rounds of Newton's method make of it."""
    best, dual, intercept, before = start, start.dual, start.intercept, b""
    total = float(problem.bounds.sum())
    for _ in range(_ROUNDS):
        fixed, free, targets = problem.split(dual, problem.gram @ dual + intercept)
        now = free.tobytes() + fixed.tobytes()
        if now == before or not free.any():
            break
        step = _solved_where_free(problem.gram, np.where(free, dual, fixed), intercept, free=free, targets=targets)
        if step is None:
            break
        (dual, intercept), before = step, now
        inside = problem.inside(dual)
        if abs(float(inside.sum())) <= 1e-12 * total:
            found = problem.certified(inside, intercept)
            best = found if found.gap < best.gap else best
    return best


def _solved_where_free(
    gram: Array, dual: Array, intercept: float, *, free: NDArray[np.bool_], targets: Array
) -> tuple[Array, float] | None:
    """Free coefficients and intercept that give the targets there and the sum 0; None where there are none."""
    places = np.flatnonzero(free)
    system = np.ones((len(places) + 1, len(places) + 1))
    system[:-1, :-1] = gram[np.ix_(places, places)]
    # equal rows make the system singular: a ridge at the level of rounding chooses among equal solutions
    system.flat[: -1 : len(system) + 1] += 1e-13 * np.trace(system[:-1, :-1]) / len(places)
    system[-1, -1] = 0.0
    found = dual.copy()
    for _ in range(2):  # the second solve removes what the ridge has added
        misses = np.append((targets - gram @ found - intercept)[places], -found.sum())
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", LinAlgWarning)  # the gap says whether the outcome is of use
                step = solve(system, misses, assume_a="sym", check_finite=False)
        except LinAlgError:
            return None
        found[places] += step[:-1]
        intercept += float(step[-1])
    return (found, intercept) if np.isfinite(intercept) and np.isfinite(found).all() else None
