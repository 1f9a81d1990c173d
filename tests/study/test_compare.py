"""Whole comparisons: fair, paired, continued, extended, and refused when they make no sense."""

import dataclasses
import math
import sys

import numpy as np
import polars as pl
import pytest

import taskloom as tl
from taskloom.data.split import GroupedSplit, RandomSplit
from taskloom.data.table import MultiTaskData
from taskloom.errors import DataError, StudyError, TaskError
from taskloom.study import run as module
from taskloom.study.budget import Budget
from taskloom.study.run import Study
from taskloom.study.space import LogRange
from taskloom.study.tuner import Tuner

QUIET = {"progress": False, "workers": 1}


def finished(folder, results):
    """Candidate -> numbers of its finished trials, from the storage of a run."""
    settings = results.settings
    name = tl_fingerprint(folder)
    tuner = Tuner(f"sqlite:///{folder / 'study.db'}", name=name, seed=0, owner="reader")
    return {one["name"]: [trial.number for trial in tuner.finished(one["name"])] for one in settings["candidates"]}


def tl_fingerprint(folder):
    from taskloom.study.files import read_json

    return read_json(folder / "config.json")["fingerprint"]


def units(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder / "units").iterdir()}


def numbers(results):
    """Everything that must be equal in equal comparisons; not the times."""
    times = ("train_seconds", "predict_microseconds")
    return [results.scores, results.runs.drop(times), results.curves, results.conflicts, results.labelled]


def same(a, b):
    return all(one.equals(other) for one, other in zip(numbers(a), numbers(b), strict=True))


# -- what is in the results ---------------------------------------------------------------------------------------


def test_both_layouts_end_with_an_answer(compared, compared_schools, main_task):
    for one in (compared, compared_schools):
        results = one.results
        assert results.candidates == ("single_task", "hard_sharing", "linear", "transfer") or set(
            results.candidates
        ) == {"single_task", "hard_sharing", "linear", "transfer"}
        assert results.reference == results.candidates[0]
        assert results.answer()
        assert set(results.table()["candidate"]) == set(results.candidates)
        assert results.settings["trials"] == 3
        assert results.settings["seeds"] == [0, 1]
        assert results.environment["versions"]["optuna"]
    assert compared.results.settings["data"]["layout"] == "multi_label"
    assert compared_schools.results.settings["data"]["layout"] == "multi_data_set"
    tasks = {task["name"]: task for task in compared.results.settings["tasks"]}
    assert tasks[main_task]["slug"] != tasks["a / b"]["slug"]
    assert "/" not in tasks["a / b"]["slug"]
    # the auxiliary task is learned and scored, but is not in the verdict
    assert tasks["colour"]["auxiliary"]
    assert set(compared.results.verdicts()["task"]) == {main_task, "a / b", "passed?"}
    assert len(compared.results.scores.filter(task="colour")) > 0
    assert compared.results.settings["data"]["n_features"] == 4


def test_a_run_folder_has_what_it_promises(compared):
    names = {path.name for path in compared.folder.iterdir()}
    assert {"config.json", "study.db", "units", "results", "metrics.csv", "checkpoints"} <= names
    curves = pl.read_csv(compared.folder / "metrics.csv")
    assert len(curves) == len(compared.results.curves)
    assert not list(compared.folder.rglob("*.part"))


def test_one_task_only(mixed):
    results = tl.compare(mixed.only("a / b"), seeds=2, budget=1, **QUIET)
    assert results.candidates == ("single_task", "linear", "boosted_trees")
    assert set(results.settings["left_out"].values()) == {"there is only one task"}
    assert results.answer().startswith("Nothing was learned together.")
    assert set(results.runs["task"]) == {"a / b"}


def test_one_seed(mixed):
    results = tl.compare(mixed, candidates=["linear"], seeds=1, budget=1, **QUIET)
    gain = results.gains("hard_sharing").tasks[0]
    assert (gain.n, gain.verdict) == (1, "inconclusive")
    assert gain.note.startswith("one seed")
    assert "Not settled: with 1 seed no test" in results.answer()


def test_the_main_task_is_the_one_that_counts(mixed, main_task):
    results = tl.compare(mixed, candidates=["linear"], seeds=1, budget=1, main="a / b", **QUIET)
    assert set(results.verdicts()["task"]) == {"a / b"}
    auxiliary = {task["name"]: task["auxiliary"] for task in results.settings["tasks"]}
    assert auxiliary == {main_task: True, "a / b": False, "passed?": True, "colour": True}
    assert "title" in results.table().columns
    assert main_task not in results.table().columns
    # an auxiliary task may be the main one
    results = tl.compare(mixed, candidates=["linear"], seeds=1, budget=1, main="colour", **QUIET)
    assert set(results.verdicts()["task"]) == {"colour"}


def test_a_candidate_of_ones_own_in_a_comparison(mixed, constant):
    results = tl.compare(mixed, candidates=[constant("mine")], seeds=2, budget=2, **QUIET)
    assert results.candidates == ("single_task", "hard_sharing", "mine")
    runs = results.runs.filter(candidate="mine")
    assert (runs["parameters"].to_list(), runs["task"].to_list()) == ([1, 1], ["", ""])
    assert results.diagnostics("mine")["best_epoch"].null_count() == 4


def test_a_candidate_that_diverges_does_not_stop_the_others(mixed, constant):
    broken = constant("broken", score=lambda value: math.nan)
    results = tl.compare(mixed, candidates=[broken], seeds=2, budget=2, **QUIET)
    assert results.validation_score("broken") == math.inf
    assert results.best().candidate != "broken"
    assert results.answer()


def test_a_network_that_diverges_is_scored_as_such(mixed, monkeypatch):
    """A learning rate at which weights overflow."""
    original = module.choose

    def wild(wanted, data):
        chosen, left_out = original(wanted, data)
        plan = chosen[1].plan
        space = (LogRange("learning_rate", 1e30, 1e32, default=1e31), *plan.space(data)[2:], plan.space(data)[0])
        plan_class = type("Wild", (type(plan),), {"space": lambda self, data: space})
        fields = {field.name: getattr(plan, field.name) for field in dataclasses.fields(plan)}
        return (chosen[0], dataclasses.replace(chosen[1], plan=plan_class(**fields))), left_out

    monkeypatch.setattr(module, "choose", wild)
    results = tl.compare(mixed, candidates=["hard_sharing"], seeds=2, budget=1, **QUIET)
    assert results.answer()
    assert len(results.table()) == 2


def test_the_demonstration_runs(capsys):
    results = tl.demo(quick=True, progress=False)
    assert set(results.candidates) == {"single_task", "hard_sharing", "linear"}
    assert len(results.settings["tasks"]) >= 4
    assert capsys.readouterr().out == ""


# -- fairness -----------------------------------------------------------------------------------------------------


def test_every_candidate_has_the_same_number_of_trials(compared, compared_schools):
    for one in (compared, compared_schools):
        assert set(map(tuple, finished(one.folder, one.results).values())) == {(0, 1, 2)}


def test_test_rows_have_no_influence_on_what_is_chosen(mixed_with, tmp_path):
    """Other targets on the test rows of the only seed: the same settings, the same validation scores."""
    plain = mixed_with()
    split = RandomSplit().split(plain, 0)
    known = split.test[plain.mask["a / b"][split.test]]
    changed = mixed_with(permuted_rows=known)
    np.testing.assert_array_equal(RandomSplit().split(changed, 0).test, split.test)
    candidates = ["hard_sharing_uncertainty", "transfer", "linear"]
    a, b = (tl.compare(data, candidates=candidates, seeds=1, budget=3, **QUIET) for data in (plain, changed))
    columns = ["candidate", "seed", "task", "trial", "settings", "validation_score", "best_epoch", "epochs"]
    assert a.runs.select(columns).equals(b.runs.select(columns))
    assert a.best().candidate == b.best().candidate
    assert a.curves.equals(b.curves)
    validation = pl.col("split") == "validation"
    assert a.scores.filter(validation).equals(b.scores.filter(validation))
    test = (pl.col("split") == "test") & (pl.col("task") == "a / b")
    assert not a.scores.filter(test)["value"].equals(b.scores.filter(test)["value"])


def test_seeds_are_replications_of_their_own(mixed, compared):
    """Seed 1 of a comparison from seed 0 is seed 1 of a comparison from seed 1; only the proposals differ."""
    first = tl.compare(mixed, candidates=["linear"], seeds=1, seed=1, budget=1, **QUIET)
    second = tl.compare(mixed, candidates=["linear"], seeds=2, seed=0, budget=1, **QUIET)
    ours, theirs = first.scores.filter(candidate="linear"), second.scores.filter(candidate="linear", seed=1)
    assert ours.equals(theirs)
    assert first.labelled.equals(second.labelled.filter(seed=1))


def test_a_repeated_comparison_is_the_same(mixed, compared):
    again = tl.compare(mixed, candidates=["hard_sharing", "linear", "transfer"], seeds=2, budget=3, **QUIET)
    assert same(again, compared.results)


# -- continuing ---------------------------------------------------------------------------------------------------


def test_a_finished_comparison_is_not_run_again(compared):
    before, results = units(compared.folder), compared.call()
    assert units(compared.folder) == before
    assert same(results, compared.results)


@pytest.fixture
def small(mixed, tmp_path):
    """A comparison in a folder, to be continued with other arguments."""

    def call(**changes):
        arguments = {"candidates": ["linear"], "seeds": 1, "budget": 2, "out": tmp_path / "run", **QUIET}
        return tl.compare(mixed, **{**arguments, **changes})

    return call, tmp_path / "run"


def test_a_larger_budget_runs_only_what_is_new(small):
    call, folder = small
    call(budget=4)
    before = units(folder)
    results = call(budget=8)
    after = units(folder)
    assert {name: after[name] for name in before} == before
    records = [name.removesuffix(".json") for name in after.keys() - before.keys() if name.endswith(".json")]
    new = sorted(int(number) for stem in records for number in stem.split("-")[1:])
    assert new == sorted([4, 5, 6, 7] * 3)
    assert set(map(tuple, finished(folder, results).values())) == {tuple(range(8))}
    assert results.settings["trials"] == 8


def test_a_smaller_budget_keeps_what_is_finished(small):
    call, folder = small
    first = call(budget=3)
    before = units(folder)
    again = call(budget=1)
    assert units(folder) == before
    assert again.settings["trials"] == 3
    assert again.scores.equals(first.scores)


def test_added_candidates_get_the_same_budget(small):
    call, folder = small
    call(budget=3)
    before = units(folder)
    results = call(budget=3, candidates=["linear", "soft_sharing_mean"])
    after = units(folder)
    assert {name: after[name] for name in before} == before
    assert {name.split("-")[0] for name in after.keys() - before.keys()} == {"soft_sharing_mean"}
    assert finished(folder, results)["soft_sharing_mean"] == [0, 1, 2]
    # and may be left out again
    assert "soft_sharing_mean" not in call(budget=3).candidates


def test_tests_may_be_read_at_another_level(small):
    call, folder = small
    call()
    before = units(folder)
    assert call(alpha=0.2, margin=0.05).gains("linear").alpha == 0.2
    assert units(folder) == before


def test_another_comparison_is_refused(small, mixed_with):
    call, folder = small
    call()
    before = units(folder)
    for changes, words in (
        ({"seeds": 2}, "seeds: .0. there, .0, 1. now"),
        ({"seed": 1}, "seed: 0 there, 1 now"),
        ({"main": "a / b"}, 'main: null there, "a / b" now'),
        ({"split": RandomSplit((0.5, 0.25, 0.25))}, "split: "),
    ):
        with pytest.raises(StudyError, match=words):
            call(**changes)
    with pytest.raises(StudyError, match="data fingerprint: "):
        tl.compare(mixed_with(permuted_rows=np.arange(5)), candidates=["linear"], seeds=1, out=folder, **QUIET)
    assert units(folder) == before


def test_another_loss_is_another_comparison(tmp_path, mixed):
    tl.compare(mixed, candidates=["linear"], seeds=1, budget=1, out=tmp_path, **QUIET)
    tasks = tuple(dataclasses.replace(task, loss_weight=2.0) for task in mixed.tasks)
    with pytest.raises(StudyError, match=r"tasks '수학 점수' loss_weight: 1\.0 there, 2\.0 now"):
        tl.compare(dataclasses.replace(mixed, tasks=tasks), candidates=["linear"], seeds=1, out=tmp_path, **QUIET)


# -- budgets of time ----------------------------------------------------------------------------------------------


def test_a_budget_of_time_begins_rounds_until_it_is_used(alone, mixed, constant, tmp_path, monkeypatch):
    clock = iter(range(0, 100_000, 10))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(clock)))
    candidates = [constant("one"), constant("two")]
    study = Study(mixed, candidates=candidates, seeds=1, budget=Budget(seconds=25.0), workers=1, out=tmp_path / "a")
    results = study.run()
    assert results.settings["trials"] == 12
    assert set(map(tuple, finished(tmp_path / "a", results).values())) == {tuple(range(12))}


def test_a_budget_of_time_that_is_used_up_runs_one_round(alone, mixed, constant):
    results = tl.compare(mixed, candidates=[constant()], seeds=1, budget="0.000001s", **QUIET)
    assert results.settings["trials"] == 4


def test_time_used_before_counts_and_a_begun_round_is_finished(alone, mixed, constant, tmp_path):
    def call(candidates, budget):
        return tl.compare(mixed, candidates=candidates, seeds=1, budget=budget, out=tmp_path, **QUIET)

    assert call([constant("one")], 5).settings["trials"] == 5
    results = call([constant("one"), constant("two")], "0.000001s")
    assert results.settings["trials"] == 8
    assert set(map(tuple, finished(tmp_path, results).values())) == {tuple(range(8))}


# -- many machines ------------------------------------------------------------------------------------------------


def test_two_machines_share_a_storage(alone, mixed, constant, tmp_path):
    """The second one finds everything done: it trains nothing, and has the same scores."""
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    call = dict(candidates=[constant("one"), constant("two")], seeds=2, budget=3, storage=storage, **QUIET)
    first = tl.compare(mixed, out=tmp_path / "a", **call)
    second = tl.compare(mixed, out=tmp_path / "b", **call)
    assert second.scores.equals(first.scores)
    assert not (tmp_path / "b" / "units").exists()
    assert not (tmp_path / "a" / "study.db").exists()


def test_trials_of_a_machine_that_died_are_waited_for_and_taken_over(alone, mixed, constant, tmp_path, monkeypatch):
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    candidate = constant("one")
    call = dict(candidates=[candidate], seeds=1, budget=2, storage=storage, **QUIET)
    expected = tl.compare(mixed, **{**call, "storage": None})
    # another machine takes everything, and dies
    original = Tuner.take
    with monkeypatch.context() as patch:
        patch.setattr(Tuner, "take", lambda self, name: (original(self, name), sys.exit(1)))
        with pytest.raises(SystemExit):
            tl.compare(mixed, out=tmp_path / "a", **call)
    from taskloom.study import tuner

    now, waited = tuner.time.time(), []
    monkeypatch.setattr(tuner.time, "sleep", waited.append)
    monkeypatch.setattr(tuner.time, "time", lambda: now + (13 * 3600 if len(waited) > 2 else 0))
    results = tl.compare(mixed, out=tmp_path / "b", **call)
    assert len(waited) == 3
    assert results.scores.equals(expected.scores)


def test_a_storage_that_cannot_be_reached(mixed):
    with pytest.raises(StudyError, match="cannot be reached"):
        tl.compare(mixed, storage="sqlite:////nowhere/at/all.db", seeds=1, **QUIET)


# -- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"seeds": 0}, StudyError, "seeds must be at least 1, found 0"),
        ({"workers": 0}, StudyError, "workers must be at least 1, found 0"),
        ({"alpha": 1.0}, StudyError, "alpha must lie between 0 and 1, found 1.0"),
        ({"margin": 0}, StudyError, "margin must lie between 0 and 1, found 0"),
        ({"budget": 0}, StudyError, "budget must be positive"),
        ({"main": "a/b"}, TaskError, "main: unknown task 'a/b'. Did you mean 'a / b'"),
        ({"candidates": ["linaer"]}, StudyError, "Did you mean 'linear'"),
        ({"split": GroupedSplit()}, DataError, "group"),
    ],
)
def test_wrong_arguments_leave_no_folder(mixed, tmp_path, changes, error, words):
    with pytest.raises(error, match=words):
        tl.compare(mixed, **{"out": tmp_path / "run", "progress": False, **changes})
    assert not (tmp_path / "run").exists()


def test_some_task_must_count(mixed, tmp_path):
    tasks = tuple(dataclasses.replace(task, auxiliary=True) for task in mixed.tasks)
    with pytest.raises(TaskError, match="every task is auxiliary"):
        tl.compare(dataclasses.replace(mixed, tasks=tasks), out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_data_that_cannot_be_learned_are_refused(tmp_path):
    data = MultiTaskData.from_arrays(np.zeros((20, 2)), {"a": np.ones(20)}, {"a": tl.Regression()})
    with pytest.raises(DataError, match="constant target: a"):
        tl.compare(data, out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


# -- progress -----------------------------------------------------------------------------------------------------


def test_progress_counts_trials(alone, mixed, constant, tmp_path):
    seen = []
    call = {"candidates": [constant("one"), constant("two")], "seeds": 1, "workers": 1, "out": tmp_path}
    tl.compare(mixed, budget=2, progress=lambda *news: seen.append(news), **call)
    assert seen[0] == (0, 4, "")
    assert seen[-1][:2] == (4, 4)
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert {text for _, _, text in seen} == {"", "one", "two"}
    seen.clear()
    tl.compare(mixed, budget=3, progress=lambda *news: seen.append(news), **call)
    assert (seen[0][:2], seen[-1][:2]) == ((4, 6), (6, 6))


def test_progress_is_one_line_on_the_error_stream(alone, mixed, constant, capsys):
    tl.compare(mixed, candidates=[constant("one")], seeds=1, budget=2, workers=1)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("\n")
    assert err.count("\n") == 1
