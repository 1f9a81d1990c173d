"""Learning rates of tasks: best epochs, relative rates, checkpoint regret, and when a mismatch is flagged."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from taskloom.errors import DataError, TaskError
from taskloom.metrics import best_epoch, checkpoint_regret, rate_report, relative_training_rates


def test_best_epoch_counts_from_one_and_takes_the_first() -> None:
    assert best_epoch([3.0, 1.0, 1.0]) == 2
    assert best_epoch([math.nan, math.inf, 2.0, math.nan]) == 3
    with pytest.raises(DataError, match="without a finite loss"):
        best_epoch([math.nan])


@given(curve=hnp.arrays(np.float64, st.integers(1, 9), elements=st.floats(-1e3, 1e3)), data=st.data())
def test_regret_is_zero_only_at_the_best(curve: np.ndarray, data: st.DataObject) -> None:
    epoch = data.draw(st.integers(1, len(curve)))
    regret = checkpoint_regret(curve, epoch)
    assert regret >= 0.0
    assert (regret == 0.0) == (curve[epoch - 1] == curve.min())
    assert checkpoint_regret(curve, best_epoch(curve)) == 0.0


@pytest.mark.parametrize("epoch", [0, 3])
def test_regret_needs_an_epoch_of_the_curve(epoch: int) -> None:
    with pytest.raises(DataError, match="1 to 2"):
        checkpoint_regret([1.0, 2.0], epoch)


@given(
    losses=hnp.arrays(np.float64, (4, 3), elements=st.floats(0.01, 100.0)),
    units=hnp.arrays(np.float64, 3, elements=st.floats(0.01, 100.0)),
)
def test_relative_rates_average_to_one_and_ignore_units(losses: np.ndarray, units: np.ndarray) -> None:
    rates = relative_training_rates(losses)
    np.testing.assert_allclose(rates.mean(axis=1), 1.0)
    np.testing.assert_allclose(rates[0], 1.0)
    np.testing.assert_allclose(relative_training_rates(losses * units), rates, rtol=1e-9)


def test_relative_rates_need_positive_first_losses() -> None:
    with pytest.raises(DataError, match="positive"):
        relative_training_rates([[0.0, 1.0]])
    with pytest.raises(DataError, match="shape"):
        relative_training_rates([1.0])


def test_tasks_that_learn_alike_are_not_flagged() -> None:
    curve = {seed: [2.0, 1.0 + 0.1 * seed, 1.5] for seed in range(3)}
    report = rate_report({"a": curve, "b": curve})
    assert not report.rate_mismatch
    assert report.epoch_ratio == 1.0
    assert report.shared_epochs == {0: 2, 1: 2, 2: 2}
    assert report["a"].checkpoint_regret == 0.0
    assert report["a"].relative_rate == pytest.approx(1.0)
    assert "do not learn at different rates" in str(report)


def test_best_epochs_more_than_a_factor_of_two_apart_are_flagged() -> None:
    report = rate_report({"fast": {0: [2.0, 1.0, 2.0, 2.0, 2.0]}, "slow": {0: [5.0, 4.0, 3.0, 2.0, 1.0]}})
    assert report.epoch_ratio == 2.5
    assert report.rate_mismatch
    assert report["fast"].rate_mismatch
    assert report["slow"].rate_mismatch
    assert report["fast"].checkpoint_regret == 1.0
    assert math.isnan(report["fast"].sd)


def test_exactly_a_factor_of_two_is_not_flagged() -> None:
    report = rate_report({"a": {0: [2.0, 1.0, 1.1, 1.2]}, "b": {0: [4.0, 3.0, 2.0, 1.0]}})
    assert report.epoch_ratio == 2.0
    assert not report.rate_mismatch


def test_a_regret_above_the_spread_over_seeds_is_flagged() -> None:
    steady = {seed: [2.0, 1.5, 1.0] for seed in range(3)}
    rising = {seed: [2.0, 1.0, 1.5 + 0.01 * seed] for seed in range(3)}
    report = rate_report({"steady": steady, "rising": rising}, shared_epochs=dict.fromkeys(range(3), 3))
    assert report.epoch_ratio == 1.5
    assert report["rising"].checkpoint_regret == pytest.approx(0.51)
    assert report["rising"].sd == pytest.approx(0.01)
    assert report["rising"].rate_mismatch
    assert not report["steady"].rate_mismatch
    noisy = {seed: [2.0, 1.0, 1.5 + seed] for seed in range(3)}
    quiet = rate_report({"steady": steady, "noisy": noisy}, shared_epochs=dict.fromkeys(range(3), 3))
    assert not quiet["steady"].rate_mismatch


def test_order_of_seeds_does_not_matter() -> None:
    curves = {"a": {0: [3.0, 1.0, 2.0], 1: [3.0, 2.0, 1.0]}, "b": {0: [1.0, 0.5, 0.4], 1: [1.0, 0.9, 0.1]}}
    turned = {task: dict(reversed(by_seed.items())) for task, by_seed in curves.items()}
    assert rate_report(turned) == rate_report(curves)


def test_losses_that_are_not_positive_need_a_given_checkpoint() -> None:
    curves = {"a": {0: [-1.0, -2.0]}, "b": {0: [1.0, 0.5]}}
    with pytest.raises(DataError, match=r"'a' is -1.*shared_epochs"):
        rate_report(curves)
    report = rate_report(curves, shared_epochs={0: 2})
    assert report["a"].checkpoint_regret == 0.0
    assert math.isnan(report["a"].relative_rate)


def test_curves_that_do_not_belong_together_are_named() -> None:
    with pytest.raises(DataError, match=r"'b' has seeds \[1\]"):
        rate_report({"a": {0: [1.0]}, "b": {1: [1.0]}})
    with pytest.raises(DataError, match="'b' has 2 epochs"):
        rate_report({"a": {0: [1.0]}, "b": {0: [1.0, 2.0]}})
    with pytest.raises(DataError, match="no entry for seed 0"):
        rate_report({"a": {0: [1.0]}}, shared_epochs={})
    with pytest.raises(DataError, match="'a' has no curves"):
        rate_report({"a": {}})
    with pytest.raises(TaskError, match="no tasks"):
        rate_report({})
    with pytest.raises(TaskError, match="Did you mean 'price'"):
        rate_report({"price": {0: [1.0]}})["prise"]
