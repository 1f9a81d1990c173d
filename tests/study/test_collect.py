"""Which predictor is chosen, and how its numbers become tables."""

import json
import math

import polars as pl
import pytest

from taskloom.study.collect import choose_pieces
from taskloom.study.tuner import Finished


def finished(*scores_by_trial, tasks=(("a",), ("b",))):
    """Trials of two seeds; a list of scores per trial, one per group of tasks, the same for both seeds."""
    return [
        Finished(
            number,
            {"trial": number},
            0.0,
            {seed: [{"tasks": list(own), "score": score} for own, score in zip(tasks, scores)] for seed in (0, 1)},
            1.0,
        )
        for number, scores in enumerate(scores_by_trial)
    ]


def chosen(trials, seeds=(0, 1)):
    return {(one.seed, *one.tasks): one.trial for one in choose_pieces("mine", trials, seeds)}


def test_every_seed_and_task_has_its_own_choice():
    trials = finished([0.5, 0.9], [0.7, 0.2], [0.6, 0.6])
    trials[1].outcome[1][0]["score"] = 0.1
    assert chosen(trials) == {(0, "a"): 0, (0, "b"): 1, (1, "a"): 1, (1, "b"): 1}
    assert chosen(trials, seeds=(1,)) == {(1, "a"): 1, (1, "b"): 1}


def test_ties_go_to_the_lower_trial():
    assert set(chosen(finished([0.5, 0.5], [0.5, 0.5])).values()) == {0}


@pytest.mark.parametrize("broken", [None, math.nan, math.inf])
def test_a_trial_that_diverged_is_chosen_only_if_all_did(broken):
    assert set(chosen(finished([broken, broken], [0.5, 0.5], [broken, broken])).values()) == {1}
    assert set(chosen(finished([broken, broken], [broken, broken])).values()) == {0}
    (one, *_) = choose_pieces("mine", finished([broken, 0.0]), (0,))
    assert one.score == math.inf


def test_one_network_for_all_tasks_is_one_choice():
    (one,) = choose_pieces("mine", finished([0.5], [0.4], tasks=(("a", "b"),)), (0,))
    assert (one.trial, one.tasks, one.settings, one.place) == (1, ("a", "b"), {"trial": 1}, 0)


def test_the_tables_of_a_comparison_are_complete(compared, mixed):
    results = compared.results
    keys = ["candidate", "task", "metric", "seed", "split"]
    assert results.scores.select(keys).is_duplicated().any() is False
    n_metrics = 3 + 3 + 3 + 2  # two regressions, a binary and a multiclass task
    assert len(results.scores) == 4 * 2 * 2 * n_metrics
    assert results.scores["value"].is_finite().all()
    runs = results.runs
    per_candidate = dict(runs.group_by("candidate").len().iter_rows())
    assert per_candidate == {"single_task": 8, "hard_sharing": 2, "transfer": 8, "linear": 8}
    assert set(runs.filter(pl.col("candidate") == "hard_sharing")["task"]) == {""}
    assert runs["trial"].is_between(0, 2).all()
    assert all("penalty" in json.loads(text) for text in runs.filter(pl.col("candidate") == "linear")["settings"])
    assert (runs["best_epoch"] <= runs["epochs"]).all()
    networks = {"single_task", "hard_sharing", "transfer"}
    assert set(results.curves["candidate"]) == networks
    assert results.curves["epoch"].min() == 0
    assert set(results.conflicts["candidate"]) == {"hard_sharing"}
    assert results.conflicts["cosine"].is_between(-1, 1).all()
    assert len(results.conflicts.filter((pl.col("seed") == 0) & (pl.col("epoch") == 0))) == 4 * 3 / 2
    assert set(results.weights["candidate"]) == {"hard_sharing"}
    assert set(results.weights["weight"]) == {1.0}
    labelled = results.labelled.group_by("task", "seed").agg(pl.col("rows").sum())
    counts = {task.name: int(mixed.mask[task.name].sum()) for task in mixed.tasks}
    assert all(rows == counts[task] for task, _, rows in labelled.iter_rows())


def test_the_chosen_setting_is_the_best_on_validation_rows(compared):
    """The stored score is the lowest that any trial of the tuner has."""
    for row in compared.results.runs.iter_rows(named=True):
        records = (compared.folder / "units").glob(f"{row['candidate']}-*.json")
        outcomes = [seeds for record in records for seeds in json.loads(record.read_text())["outcomes"].values()]
        found = [
            piece["score"]
            for seeds in outcomes
            for piece in seeds[str(row["seed"])]
            if row["task"] in ("", piece["tasks"][0])
        ]
        assert len(found) == 3
        assert row["validation_score"] == min(found)
