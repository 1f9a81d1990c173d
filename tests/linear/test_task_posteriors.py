from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from taskloom.linear._task_posteriors import TaskPrior, covariance_of_task, posteriors, summarise

GENERATOR = np.random.default_rng(0)


def problem(sizes: list[int], n_features: int) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    designs = [GENERATOR.normal(size=(size, n_features)) for size in sizes]
    targets = [GENERATOR.normal(size=size) for size in sizes]
    return designs, targets, [np.ones(size) for size in sizes]


def prior_of(n_features: int, *, rank: int | None = None) -> TaskPrior:
    root = GENERATOR.normal(size=(n_features, n_features if rank is None else rank))
    return TaskPrior(GENERATOR.normal(size=n_features), root @ root.T, 0.3)


@pytest.mark.parametrize(
    ("sizes", "n_features"),
    [([9, 3, 20], 4), ([2, 3, 1], 6), ([5, 0, 2], 5)],
    ids=["more samples", "more features", "a task without samples"],
)
@pytest.mark.parametrize("rank", [None, 2], ids=["regular", "singular"])
def test_moments_are_those_of_the_text_book(sizes: list[int], n_features: int, rank: int | None) -> None:
    designs, targets, weights = problem(sizes, n_features)
    prior = prior_of(n_features, rank=rank)
    found = posteriors(summarise(designs, targets, weights), prior)
    spread, squares, evidence = np.zeros((n_features, n_features)), 0.0, 0.0
    for task, (X, y) in enumerate(zip(designs, targets, strict=True)):
        marginal = X @ prior.covariance @ X.T + prior.noise_variance * np.eye(len(y))
        gain = prior.covariance @ X.T @ np.linalg.inv(marginal)
        mean = prior.mean + gain @ (y - X @ prior.mean)
        covariance = prior.covariance - gain @ X @ prior.covariance
        np.testing.assert_allclose(found.means[task], mean, atol=1e-10)
        np.testing.assert_allclose(
            covariance_of_task(summarise(designs, targets, weights), prior, task=task), covariance, atol=1e-10
        )
        spread += covariance
        squares += float(((y - X @ mean) ** 2).sum() + np.trace(X @ covariance @ X.T))
        if len(y):
            evidence += float(multivariate_normal.logpdf(y, X @ prior.mean, marginal))
    np.testing.assert_allclose(found.spread, spread, atol=1e-10)
    assert found.squares == pytest.approx(squares, rel=1e-10)
    assert found.log_evidence == pytest.approx(evidence, rel=1e-10)


def test_weights_count_samples() -> None:
    designs, targets, _ = problem([6, 5], 3)
    counts = [np.array([1, 2, 3, 1, 1, 2]), np.array([2, 2, 1, 1, 4])]
    weighted = summarise(designs, targets, [count.astype(float) for count in counts])
    repeated = summarise(
        [np.repeat(X, count, axis=0) for X, count in zip(designs, counts, strict=True)],
        [np.repeat(y, count) for y, count in zip(targets, counts, strict=True)],
        [np.ones(count.sum()) for count in counts],
    )
    prior = prior_of(3)
    one, other = posteriors(weighted, prior), posteriors(repeated, prior)
    np.testing.assert_allclose(one.means, other.means, atol=1e-12)
    assert one.log_evidence == pytest.approx(other.log_evidence, rel=1e-12)
    assert weighted.total == repeated.total == 20


def test_samples_are_summed_up() -> None:
    designs, targets, weights = problem([500, 2], 3)
    summaries = summarise(designs, targets, weights)
    assert summaries.designs.shape == (2, 3, 3)
    np.testing.assert_allclose(summaries.designs[0].T @ summaries.designs[0], designs[0].T @ designs[0], rtol=1e-12)
    coefficients = np.ones(3)
    squares = ((targets[0] - designs[0] @ coefficients) ** 2).sum()
    left = ((summaries.targets[0] - summaries.designs[0] @ coefficients) ** 2).sum() + summaries.left[0]
    assert left == pytest.approx(squares, rel=1e-12)
