"""Why a task gains or loses, from curves and conflicts; nothing is said where nothing was measured."""

import math

import pytest

from taskloom.study.diagnostics import conflict_shares, rates_of


def curves(**losses):
    return [
        {"task": task, "seed": 0, "epoch": epoch, "validation_loss": loss}
        for task, values in losses.items()
        for epoch, loss in enumerate(values)
    ]


def test_a_shared_checkpoint_costs_the_tasks_that_were_better_elsewhere():
    found = rates_of(curves(early=[1.0, 2.0, 3.0], late=[3.0, 2.0, 1.0]), {0: 1})
    assert (found["early"]["best_epoch"], found["late"]["best_epoch"]) == (1.0, 3.0)
    assert found["early"]["checkpoint_regret"] == pytest.approx(1.0)
    assert found["late"]["checkpoint_regret"] == pytest.approx(1.0)


def test_separate_checkpoints_cost_nothing():
    found = rates_of(curves(early=[1.0, 2.0], late=[2.0, math.nan, 1.0]), None)
    assert found["late"] == {"best_epoch": 3.0, "checkpoint_regret": 0.0, "rate_mismatch": False}


def test_no_usable_curves():
    assert rates_of([], None) == {}
    assert rates_of(curves(a=[math.nan, None]), {0: 0}) == {}
    assert rates_of(curves(a=[1.0, 2.0]), {0: -1}) == {}  # diverged: there is no checkpoint


def test_conflicts_are_means_over_pairs_and_steps():
    rows = [
        {"task_a": "a", "task_b": "b", "conflict_share": 1.0},
        {"task_a": "a", "task_b": "c", "conflict_share": 0.0},
        {"task_a": "b", "task_b": "c", "conflict_share": math.nan},
        {"task_a": "b", "task_b": "c", "conflict_share": None},
    ]
    assert conflict_shares(rows) == {"a": 0.5, "b": 1.0, "c": 0.0}
