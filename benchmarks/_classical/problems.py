"""Planted problems with features that several tasks share, and the one certificate that everybody is measured by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Ragged", "Shared", "ragged", "relative_gap", "shared"]

Array: TypeAlias = NDArray[np.float64]

NEIGHBOURS = 0.5  # correlation of neighbouring features
NOISE = 0.5  # standard deviation, as a share of that of the signal


@dataclass(frozen=True)
class Ragged:
    """Tasks with samples of their own, centred: ``sum_t ||y_t - X_t a_t||^2 / (2 c) + alpha sum_j ||a^j||``.

    ``c`` is the mean number of samples of a task.
    """

    designs: tuple[Array, ...]  # (n_t, d), columns in one piece
    targets: tuple[Array, ...]

    @property
    def n_features(self) -> int:
        return self.designs[0].shape[1]

    @property
    def n_tasks(self) -> int:
        return len(self.designs)

    @property
    def n_samples(self) -> int:
        return sum(len(y) for y in self.targets)

    @property
    def divisor(self) -> float:
        return self.n_samples / self.n_tasks

    def gradients(self, residuals: Sequence[Array]) -> Array:
        """Shape (d, T)."""
        columns = [X.T @ r for X, r in zip(self.designs, residuals, strict=True)]
        return np.column_stack(columns) / self.divisor

    def residuals(self, A: Array) -> list[Array]:
        support = np.flatnonzero(A.any(axis=1))
        pairs = zip(self.designs, self.targets, strict=True)
        return [y - X[:, support] @ A[support, t] for t, (X, y) in enumerate(pairs)]

    @cached_property
    def largest_alpha(self) -> float:
        return float(np.linalg.norm(self.gradients(self.targets), axis=1).max())


@dataclass(frozen=True)
class Shared:
    """Tasks with the same samples, centred: ``||Y - X A||^2 / (2 n) + alpha sum_j ||a^j||``."""

    X: Array  # (n, d), columns in one piece
    Y: Array  # (n, T), columns in one piece

    @property
    def divisor(self) -> float:
        return float(len(self.X))

    @property
    def targets(self) -> tuple[Array, ...]:
        return (self.Y.ravel(order="K"),)

    def residuals(self, A: Array) -> list[Array]:
        support = np.flatnonzero(A.any(axis=1))
        return [(self.Y - self.X[:, support] @ A[support]).ravel(order="F")]

    def gradients(self, residuals: Sequence[Array]) -> Array:
        return self.X.T @ residuals[0].reshape(self.Y.shape, order="F") / self.divisor

    @cached_property
    def largest_alpha(self) -> float:
        return float(np.linalg.norm(self.X.T @ self.Y, axis=1).max()) / self.divisor


def relative_gap(problem: Shared | Ragged, A: Array, alpha: float) -> float:
    """Objective minus the best dual value along the residuals, as a share of the objective at 0.

    Args:
        problem: with targets and samples.
        A: coefficients, shape (d, T).
        alpha: strength of the norms of rows.
    """
    residuals, targets, c = problem.residuals(A), problem.targets, problem.divisor
    rests = sum(float(r @ r) for r in residuals) / c
    fits = sum(float(r @ y) for r, y in zip(residuals, targets, strict=True)) / c
    at_zero = sum(float(y @ y) for y in targets) / (2 * c)
    polar = float(np.linalg.norm(problem.gradients(residuals), axis=1).max()) / alpha
    factor = min(max(fits / rests, 0.0), 1 / polar) if rests > 0 and polar > 0 else 0.0
    objective = rests / 2 + alpha * float(np.linalg.norm(A, axis=1).sum())
    return (objective - (factor * fits - factor**2 / 2 * rests)) / at_zero


def shared(n: int, d: int, n_tasks: int, *, seed: int = 0) -> Shared:
    """Neighbouring features are correlated, a twentieth of them, at most 30, matters to all tasks."""
    random = np.random.default_rng([seed, n, d, n_tasks])
    X, A = _design(random, n, d), _planted(random, d, n_tasks)
    return Shared(X, np.asfortranarray(_targets(random, X @ A)))


def ragged(sizes: Sequence[int], d: int, *, seed: int = 0) -> Ragged:
    """The same with samples of their own for all tasks."""
    random = np.random.default_rng([seed, d, *sizes])
    A = _planted(random, d, len(sizes))
    designs = tuple(_design(random, n, d) for n in sizes)
    targets = tuple(_targets(random, X @ A[:, t : t + 1])[:, 0] for t, X in enumerate(designs))
    return Ragged(designs, targets)


def _design(random: np.random.Generator, n: int, d: int) -> Array:
    X = np.asfortranarray(random.normal(size=(d, n)).T)
    for j in range(1, d):
        X[:, j] *= np.sqrt(1 - NEIGHBOURS**2)
        X[:, j] += NEIGHBOURS * X[:, j - 1]
    X -= X.mean(axis=0)
    return X


def _planted(random: np.random.Generator, d: int, n_tasks: int) -> Array:
    A = np.zeros((d, n_tasks))
    rows = random.choice(d, size=min(max(d // 20, 5), 30), replace=False)
    A[rows] = random.normal(size=(len(rows), n_tasks))
    return A


def _targets(random: np.random.Generator, signal: Array) -> Array:
    Y: Array = signal + NOISE * signal.std(axis=0) * random.normal(size=signal.shape)
    return Y - Y.mean(axis=0)
