"""Regression metrics against scikit-learn, and where they are undefined."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as reference

from taskloom.metrics import MeanAbsoluteError, Metric, RootMeanSquaredError, RSquared


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("offset", [0.0, 50.0])
def test_equal_to_scikit_learn_in_float64(scale: float, offset: float) -> None:
    random = np.random.default_rng(0)
    target = (random.normal(size=40) + offset) * scale
    prediction = target + 0.3 * random.normal(size=40) * scale
    assert RootMeanSquaredError()(prediction, target) == pytest.approx(
        reference.root_mean_squared_error(target, prediction), rel=1e-12
    )
    assert MeanAbsoluteError()(prediction, target) == pytest.approx(
        reference.mean_absolute_error(target, prediction), rel=1e-12
    )
    assert RSquared()(prediction, target) == pytest.approx(reference.r2_score(target, prediction), rel=1e-10)


def test_nearly_perfect_predictions_are_not_rounded_to_perfect() -> None:
    target = np.linspace(0.0, 1.0, 10)
    prediction = target + 1e-4 * np.cos(np.arange(10))
    assert RSquared()(prediction, target) == pytest.approx(reference.r2_score(target, prediction), rel=1e-12)
    assert RSquared()(prediction, target) < 1.0


@pytest.mark.parametrize("metric", [RootMeanSquaredError(), MeanAbsoluteError(), RSquared()])
def test_columns_and_vectors_and_float32_are_the_same(metric: Metric) -> None:
    prediction, target = np.array([1.0, 2.0, 4.0], dtype=np.float32), np.array([1.0, 2.5, 3.0], dtype=np.float32)
    assert metric(prediction.reshape(-1, 1), target) == metric(prediction.astype(np.float64), target)


@pytest.mark.parametrize("metric", [RootMeanSquaredError(), MeanAbsoluteError(), RSquared()])
def test_no_rows_no_score(metric: Metric) -> None:
    assert math.isnan(metric(np.zeros(0), np.zeros(0)))


def test_explained_variance_needs_variance() -> None:
    assert math.isnan(RSquared()(np.array([1.0]), np.array([1.0])))
    assert math.isnan(RSquared()(np.array([1.0, 2.0]), np.array([3.0, 3.0])))


def test_read_only_arrays_are_accepted() -> None:
    target = np.arange(3.0)
    target.flags.writeable = False
    assert RootMeanSquaredError()(target, target) == 0.0


def test_directions() -> None:
    assert RootMeanSquaredError().lower_is_better
    assert MeanAbsoluteError().lower_is_better
    assert not RSquared().lower_is_better
