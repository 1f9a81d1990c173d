from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from taskloom.gp._observations import as_grid, as_points


def test_equal_rows_are_one_point_and_nothing_is_lost() -> None:
    """The likelihood of all labels is that of the means at the distinct rows and the terms left over."""
    generator = np.random.default_rng(0)
    distinct = generator.normal(size=(4, 2))
    place = np.array([0, 1, 1, 2, 0, 3, 1])
    y, noise = generator.normal(size=7), 0.3
    points = as_points((distinct[place],), (y,), (np.ones(7),))
    assert len(points.targets) == 4
    root = generator.normal(size=(4, 4))
    kernel = root @ root.T
    order = np.array([np.flatnonzero((distinct == row).all(axis=1))[0] for row in points.inputs])
    full = multivariate_normal.logpdf(y, np.zeros(7), kernel[np.ix_(place, place)] + noise * np.eye(7))
    means = multivariate_normal.logpdf(
        points.targets, np.zeros(4), kernel[np.ix_(order, order)] + np.diag(noise / points.weights)
    )
    assert means + points.terms.value(np.array([noise])) == pytest.approx(full, rel=1e-12)


def test_a_weight_is_a_repetition() -> None:
    generator = np.random.default_rng(1)
    X, y = generator.normal(size=(5, 2)), generator.normal(size=5)
    counts = np.array([1, 3, 2, 1, 4])
    weighted = as_points((X,), (y,), (counts.astype(float),))
    repeated = as_points((np.repeat(X, counts, axis=0),), (np.repeat(y, counts),), (np.ones(counts.sum()),))
    for name in ("inputs", "targets", "weights"):
        np.testing.assert_allclose(getattr(weighted, name), getattr(repeated, name), rtol=1e-14)
    noise = np.array([0.2])
    assert weighted.terms.value(noise) == pytest.approx(repeated.terms.value(noise), rel=1e-12)


def test_the_slope_of_what_is_left_over() -> None:
    X = np.zeros((4, 1))
    terms = as_points((X, X), (np.arange(4.0), np.ones(4)), (np.ones(4), np.full(4, 2.0))).terms
    noise, step = np.array([0.5, 2.0]), 1e-6
    for task in range(2):
        up, down = noise.copy(), noise.copy()
        up[task] *= np.exp(step)
        down[task] *= np.exp(-step)
        numeric = (terms.value(up) - terms.value(down)) / (2 * step)
        assert terms.slope(noise)[task] == pytest.approx(numeric, abs=1e-8)


def test_tasks_without_labels_have_no_points() -> None:
    empty = np.zeros((0, 2))
    points = as_points((np.ones((2, 2)), empty), (np.array([1.0, 3.0]), np.zeros(0)), (np.ones(2), np.zeros(0)))
    assert points.tasks.tolist() == [0]
    assert points.targets.tolist() == [2.0]


def test_a_grid_needs_weights_that_do_not_depend_on_the_task() -> None:
    X, Y = np.eye(3), np.ones((3, 2))
    assert as_grid(X, Y, np.ones((3, 2))) is not None
    assert as_grid(X, Y, np.array([[1.0, 2.0]] * 3)) is None
