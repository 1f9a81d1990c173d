r"""Posteriors of the coefficients of each task under a common Gaussian prior, for all tasks at once.

With prior ``a_t ~ N(m, Sigma)`` and ``y_t ~ N(X_t a_t, v I)``, write ``Sigma = L L'`` and ``Z_t = X_t L``. Then

    a_t | y_t ~ N(m + L delta_t, L C_t L'),    C_t = (I + Z_t' Z_t / v)^-1
    delta_t = C_t Z_t' e_t / v,    e_t = y_t - X_t m

which needs no inverse of Sigma and stays positive for any Sigma. With fewer samples than features, the same is computed
from the matrices ``Z_t Z_t' + v I`` of the samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Posteriors", "TaskPrior", "TaskSummaries", "covariance_of_task", "posteriors", "summarise"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TaskPrior:
    """What tasks have in common: their coefficients are draws from one normal distribution, their noise is one.

    Args:
        mean: m, (D,); D counts the intercept, which is last, if there is one.
        covariance: Sigma, (D, D), positive semi-definite.
        noise_variance: v, positive.

    Example:
        >>> TaskPrior(np.zeros(2), np.eye(2), 0.1).covariance.shape
        (2, 2)
    """

    mean: Array
    covariance: Array
    noise_variance: float


@dataclass(frozen=True)
class TaskSummaries:
    """At most D + 1 numbers per feature of each task stand for all its samples; padded with rows of zeros.

    Args:
        designs: (T, k, D): R_t with ``R_t' R_t = X_t' S_t X_t``.
        targets: (T, k): z_t with ``R_t' z_t = X_t' S_t y_t``.
        left: (T,): squares that no coefficients explain, ``||S^1/2 (y - X a)||^2 = ||z - R a||^2 + left``.
        counts: (T,): number of samples, that is the sum of their weights.
    """

    designs: Array
    targets: Array
    left: Array
    counts: Array

    @property
    def total(self) -> float:
        """N."""
        return float(self.counts.sum())


def summarise(designs: list[Array], targets: list[Array], weights: list[Array]) -> TaskSummaries:
    """Summaries of T tasks; a weight counts how often a sample stands there.

    Args:
        designs: T arrays (n_t, D).
        targets: T arrays (n_t,).
        weights: T arrays (n_t,).
    """
    n_features = designs[0].shape[1]
    depth = min(n_features, max(len(target) for target in targets))
    found = TaskSummaries(
        designs=np.zeros((len(designs), depth, n_features)),
        targets=np.zeros((len(designs), depth)),
        left=np.zeros(len(designs)),
        counts=np.array([weight.sum() for weight in weights]),
    )
    for task, (design, target, weight) in enumerate(zip(designs, targets, weights, strict=True)):
        table: Array = np.sqrt(weight)[:, None] * np.column_stack([design, target])
        if len(table) > n_features:
            table = np.asarray(np.linalg.qr(table, mode="r"))
            found.left[task] = float((table[n_features:, -1] ** 2).sum())
        rows = table[:n_features]
        found.designs[task, : len(rows)] = rows[:, :-1]
        found.targets[task, : len(rows)] = rows[:, -1]
    return found


@dataclass(frozen=True)
class Posteriors:
    """Moments that the next step needs.

    Args:
        means: (T, D).
        spread: sum of the posterior covariances, (D, D).
        squares: expected squared residuals, summed over all samples.
        log_evidence: sum over tasks of log N(y_t | X_t m, X_t Sigma X_t' + v I).
    """

    means: Array
    spread: Array
    squares: float
    log_evidence: float


def _root(covariance: Array) -> Array:
    """L with ``L L' = Sigma``, also where Sigma is singular."""
    values, vectors = np.linalg.eigh(covariance)
    root: Array = vectors * np.sqrt(np.maximum(values, 0.0))
    return root


def _by_feature(whitened: Array, misses: Array, noise: float) -> tuple[Array, Array, Array, Array]:
    """Arrays delta (T, D), sum of C_t (D, D), tr(Z_t' Z_t C_t) (T,), log det(I + Z_t' Z_t / v) (T,)."""
    grams = np.swapaxes(whitened, 1, 2) @ whitened
    inverses = np.linalg.inv(np.eye(grams.shape[1]) + grams / noise)
    delta = np.einsum("tde,te->td", inverses, np.einsum("tkd,tk->td", whitened, misses) / noise)
    traces = np.einsum("tde,tde->t", grams, inverses)
    return delta, inverses.sum(axis=0), traces, -np.linalg.slogdet(inverses)[1]


def _by_sample(whitened: Array, misses: Array, noise: float) -> tuple[Array, Array, Array, Array]:
    """The same from the (k, k) matrices of the samples."""
    n_tasks, depth, n_features = whitened.shape
    grams = whitened @ np.swapaxes(whitened, 1, 2)
    inverses = np.linalg.inv(grams + noise * np.eye(depth))
    solved = np.einsum("tkl,tl->tk", inverses, misses)
    explained = np.einsum("tkd,tkl,tle->de", whitened, inverses, whitened, optimize=True)
    traces = noise * np.einsum("tkl,tkl->t", grams, inverses)
    volumes = -np.linalg.slogdet(inverses)[1] - depth * np.log(noise)
    return np.einsum("tkd,tk->td", whitened, solved), n_tasks * np.eye(n_features) - explained, traces, volumes


def posteriors(given: TaskSummaries, prior: TaskPrior) -> Posteriors:
    """Posterior moments of all tasks and the evidence."""
    root, noise = _root(prior.covariance), prior.noise_variance
    whitened = given.designs @ root
    misses = given.targets - given.designs @ prior.mean
    depth, n_features = given.designs.shape[1:]
    solve = _by_feature if depth >= n_features else _by_sample
    delta, shrunk, traces, volumes = solve(whitened, misses, noise)
    residuals = ((misses - np.einsum("tkd,td->tk", whitened, delta)) ** 2).sum(axis=1) + given.left
    quadratic = residuals / noise + (delta**2).sum(axis=1)
    log_evidence = -0.5 * float((quadratic + volumes + given.counts * np.log(2 * np.pi * noise)).sum())
    return Posteriors(
        means=prior.mean + delta @ root.T,
        spread=root @ shrunk @ root.T,
        squares=float((residuals + traces).sum()),
        log_evidence=log_evidence,
    )


def covariance_of_task(given: TaskSummaries, prior: TaskPrior, *, task: int) -> Array:
    """Posterior covariance of the coefficients of one task, (D, D)."""
    root, noise = _root(prior.covariance), prior.noise_variance
    whitened = given.designs[task] @ root
    depth, n_features = whitened.shape
    if depth >= n_features:
        inner = np.linalg.inv(np.eye(n_features) + whitened.T @ whitened / noise)
    else:
        inner = np.eye(n_features) - whitened.T @ np.linalg.solve(
            whitened @ whitened.T + noise * np.eye(depth), whitened
        )
    covariance = root @ inner @ root.T
    return 0.5 * (covariance + covariance.T)
