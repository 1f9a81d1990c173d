"""Classification metrics against scikit-learn, and where they are undefined."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as reference

from taskloom.metrics import Accuracy, AreaUnderCurve, LogLoss, Metric


def test_two_classes_equal_scikit_learn() -> None:
    random = np.random.default_rng(0)
    probability, target = random.random(60), random.integers(0, 2, 60)
    assert LogLoss()(probability, target) == pytest.approx(reference.log_loss(target, probability), rel=1e-12)
    assert Accuracy()(probability, target) == reference.accuracy_score(target, probability >= 0.5)
    assert AreaUnderCurve()(probability, target) == pytest.approx(
        reference.roc_auc_score(target, probability), rel=1e-6
    )


def test_several_classes_equal_scikit_learn() -> None:
    random = np.random.default_rng(0)
    probability, target = random.dirichlet(np.ones(4), 60), random.integers(0, 4, 60)
    expected = reference.log_loss(target, probability, labels=range(4))
    assert LogLoss()(probability, target) == pytest.approx(expected, rel=1e-12)
    assert Accuracy()(probability, target) == reference.accuracy_score(target, probability.argmax(axis=1))


def test_two_columns_are_one_column() -> None:
    probability, target = np.array([0.2, 0.5, 0.9]), np.array([0, 1, 1])
    table = np.stack([1 - probability, probability], axis=1)
    for metric in (LogLoss(), Accuracy()):
        assert metric(table, target) == pytest.approx(metric(probability, target), rel=1e-12)
        assert metric(probability.reshape(-1, 1), target) == metric(probability, target)


def test_a_confident_mistake_costs_36_nats_and_not_infinity() -> None:
    assert LogLoss()(np.array([0.0]), np.array([1])) == pytest.approx(-math.log(np.finfo(float).eps))
    assert LogLoss()(np.array([1.0]), np.array([1])) == 0.0


def test_ranks_that_float32_cannot_tell_apart_count() -> None:
    probability = np.array([0.5, 0.5 + 1e-12, 0.5 + 2e-12, 0.5 + 3e-12])
    assert AreaUnderCurve()(probability, np.array([0, 0, 1, 1])) == 1.0


def test_ties_count_half() -> None:
    assert AreaUnderCurve()(np.full(4, 0.3), np.array([0, 1, 0, 1])) == 0.5


@pytest.mark.parametrize("metric", [LogLoss(), Accuracy(), AreaUnderCurve()])
def test_no_rows_no_score(metric: Metric) -> None:
    assert math.isnan(metric(np.zeros(0), np.zeros(0)))


@pytest.mark.parametrize("code", [0, 1])
def test_area_needs_both_classes(code: int) -> None:
    assert math.isnan(AreaUnderCurve()(np.array([0.1, 0.9]), np.array([code, code])))


def test_floating_codes_are_accepted() -> None:
    assert Accuracy()(np.array([0.9, 0.1]), np.array([1.0, 0.0])) == 1.0


def test_directions() -> None:
    assert LogLoss().lower_is_better
    assert not Accuracy().lower_is_better
    assert not AreaUnderCurve().lower_is_better
