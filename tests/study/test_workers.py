"""Who carries out the units makes no difference to what they find."""

import os
import warnings

import pytest
import torch

from taskloom.data.split import RandomSplit
from taskloom.study import workers as module
from taskloom.study.catalogue import catalogue
from taskloom.study.problem import Problem
from taskloom.study.run import Study
from taskloom.study.tuner import Trial
from taskloom.study.unit import units_of
from taskloom.study.workers import carry_out, n_processes

LINEAR = next(candidate for candidate in catalogue() if candidate.name == "linear")


def units(*penalties):
    trials = [Trial(number, {"penalty": penalty}, number) for number, penalty in enumerate(penalties)]
    return units_of(LINEAR, trials, ())


@pytest.fixture
def problems(mixed):
    return {seed: Problem(mixed, RandomSplit(), seed, main=("a / b",)) for seed in (0, 1)}


def comparable(outcome):
    """An outcome without its times."""
    pieces = [piece for seeds in outcome.outcomes.values() for seed in sorted(seeds) for piece in seeds[seed]]
    times = ("seconds", "predict_microseconds")
    return outcome.values, [{key: value for key, value in piece.items() if key not in times} for piece in pieces]


def test_processes_find_what_this_process_finds(mixed, problems, tmp_path):
    work = units(0.1, 1.0, 10.0)
    begun = []
    here = Study(mixed, workers=1)
    expected = {
        unit.stem: comparable(outcome)
        for unit, outcome in carry_out(here, work, problems, tmp_path / "a", begun.append)
    }
    assert begun == work
    there = Study(mixed, workers=2)
    found = {
        unit.stem: comparable(outcome)
        for unit, outcome in carry_out(there, work, problems, tmp_path / "b", begun.append)
    }
    assert found == expected
    assert sorted(path.name for path in (tmp_path / "b").glob("*.json")) == [
        f"linear-{number}.json" for number in range(3)
    ]
    # stopped in the middle: nothing is said, what is finished is kept
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        running = carry_out(there, units(*range(1, 9)), problems, tmp_path / "c", begun.append)
        next(running)
        running.close()
    assert list((tmp_path / "c").glob("*.json"))


def test_processes_only_where_they_repay_their_start(mixed, problems, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise AssertionError("no process is worth it")

    monkeypatch.setattr(module.joblib, "Parallel", fail)
    monkeypatch.setattr(module, "n_processes", lambda workers: workers or 2)
    list(carry_out(Study(mixed), units(0.1, 1.0), problems, tmp_path / "a", lambda unit: None))
    list(carry_out(Study(mixed, workers=2), units(0.1), problems, tmp_path / "b", lambda unit: None))
    with pytest.raises(AssertionError, match="no process is worth it"):
        list(carry_out(Study(mixed, workers=2), units(0.1, 1.0), problems, tmp_path / "c", lambda unit: None))
    monkeypatch.setattr(module, "_WORTH_PROCESSES", 3)
    with pytest.raises(AssertionError, match="no process is worth it"):
        list(carry_out(Study(mixed), units(0.1, 1.0), problems, tmp_path / "d", lambda unit: None))


def test_the_number_of_processes():
    assert n_processes(3) == 3
    assert 1 <= n_processes(None) <= (os.cpu_count() or 1)


def test_units_compute_on_one_thread_and_give_the_threads_back(mixed, problems, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(module, "run_unit", lambda *arguments, **options: seen.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        list(carry_out(Study(mixed, workers=1), units(1.0), problems, tmp_path, lambda unit: None))
        assert (seen, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)
