"""A comparison that is killed at any moment and run again ends with the table of an undisturbed one."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import taskloom as tl
from taskloom.study import unit, workers
from taskloom.study.results import Results
from taskloom.study.tuner import Tuner

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

CANDIDATES = ("single_task", "hard_sharing", "linear", "soft_sharing_mean")
N_TRIALS = 4


def compare(folder: Path, n_workers: int) -> Results:
    """The comparison; without other processes, every unit is noted in the file ``carried_out`` when it begins."""
    original = unit.run_unit

    def noted(one: unit.Unit, *arguments: Any, **options: Any) -> unit.UnitOutcome:
        with (folder / "carried_out").open("a") as file:
            file.write(f"{one.stem}\n")
        return original(one, *arguments, **options)

    random = np.random.default_rng(0)
    x = random.normal(size=(60, 3))
    noise = 0.3 * random.normal(size=(2, 60))
    targets = {"a": x[:, 0] + noise[0], "b": x.sum(axis=1) + noise[1]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "run_unit", noted)
        return tl.compare(
            tl.MultiTaskData.from_arrays(x, targets, {"a": tl.Regression(), "b": tl.Regression()}),
            candidates=CANDIDATES,
            seeds=2,
            budget=N_TRIALS,
            workers=n_workers,
            out=folder / "run",
            progress=False,
        )


def finished_units(folder: Path) -> dict[str, int]:
    return {file.stem: file.stat().st_mtime_ns for file in (folder / "run" / "units").glob("*.json")}


def carried_out(folder: Path) -> list[str]:
    file = folder / "carried_out"
    return file.read_text().split() if file.exists() else []


def kill(folder: Path, n_workers: int, *, when: Callable[[], bool], delay: float) -> None:
    """Run the comparison in another process, and kill that a moment after something has happened.

    The process is forked, so that nothing is imported anew: seconds become milliseconds. It is killed before it writes
    tables: polars does not work in a forked process.
    """
    process = multiprocessing.get_context("fork").Process(target=compare, args=(folder, n_workers))
    process.start()
    while process.is_alive() and not when():
        time.sleep(0.002)
    time.sleep(delay)
    os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    assert process.exitcode in (-signal.SIGKILL, 0)  # 0: its last unit was quicker than the moment's delay


def check_equal(folder: Path, expected: Results) -> None:
    found = Results.load(folder / "run")
    assert found.scores.equals(expected.scores)
    columns = ["candidate", "seed", "task", "trial", "settings", "validation_score", "epochs", "best_epoch", "steps"]
    assert found.runs.select(columns).equals(expected.runs.select(columns))
    assert found.curves.equals(expected.curves)
    assert found.conflicts.equals(expected.conflicts)
    assert found.answer() == expected.answer()
    assert not list(folder.rglob("*.part"))
    fingerprint = json.loads((folder / "run" / "config.json").read_text())["fingerprint"]
    tuner = Tuner(f"sqlite:///{folder / 'run' / 'study.db'}", name=fingerprint, seed=0, owner="reader")
    for candidate in CANDIDATES:
        assert [trial.number for trial in tuner.finished(candidate)] == list(range(N_TRIALS))


@pytest.fixture(scope="module")
def undisturbed(_short_trainings: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Path]:
    folder = tmp_path_factory.mktemp("undisturbed")
    results = compare(folder, 1)
    assert sorted(carried_out(folder)) == sorted(finished_units(folder))
    return results, folder


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_three_times(undisturbed, tmp_path, seed):
    expected, other = undisturbed
    n_units = len(finished_units(other))
    chance = random.Random(seed)
    for third in range(3):  # an early, a middle and a late moment, each at random
        before, already = finished_units(tmp_path), len(carried_out(tmp_path))
        begun = already + max(1, round((n_units - len(before)) * chance.uniform(third, third + 1) / 3))
        kill(
            tmp_path,
            1,
            when=lambda begun=begun: len(carried_out(tmp_path)) >= begun,
            delay=chance.uniform(0.0, 0.05),
        )
        assert not set(carried_out(tmp_path)[already:]) & set(before), "a finished unit was carried out again"
        assert before.items() <= finished_units(tmp_path).items()
    before, already = finished_units(tmp_path), len(carried_out(tmp_path))
    compare(tmp_path, 1)
    assert not set(carried_out(tmp_path)[already:]) & set(before)
    assert set(finished_units(tmp_path)) == set(finished_units(other)), "other units than without a kill"
    check_equal(tmp_path, expected)


@pytest.mark.parametrize("written", ["study.db", "results"])
def test_killed_when_a_file_has_just_been_begun(undisturbed, tmp_path, written):
    expected, _ = undisturbed
    kill(tmp_path, 1, when=lambda: (tmp_path / "run" / written).exists(), delay=0.0)
    before = finished_units(tmp_path)
    compare(tmp_path, 1)
    assert before.items() <= finished_units(tmp_path).items()
    check_equal(tmp_path, expected)


@pytest.mark.parametrize("step", ["collect", "store_winners"])
def test_stopped_when_all_is_trained(undisturbed, tmp_path, monkeypatch, step):
    """Not killed: a forked process must not write tables with polars."""

    def stopped(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    expected, _ = undisturbed
    with monkeypatch.context() as patch:
        patch.setattr(f"taskloom.study.run.{step}", stopped)
        with pytest.raises(KeyboardInterrupt):
            compare(tmp_path, 1)
    before = finished_units(tmp_path)
    compare(tmp_path, 1)
    assert finished_units(tmp_path) == before
    check_equal(tmp_path, expected)


@pytest.mark.slow
def test_killed_with_processes_at_work(tmp_path, monkeypatch):
    """Other processes train for the full length, which the tests of this package shorten."""
    from taskloom.study.plans._networks import schedule_for

    for plan in ("apart", "together"):
        monkeypatch.setattr(f"taskloom.study.plans.{plan}.schedule_for", schedule_for)
    for name in "ab":
        (tmp_path / name).mkdir()
    expected = compare(tmp_path / "a", 1)
    kill(
        tmp_path / "b", 2, when=lambda: len(finished_units(tmp_path / "b")) >= 3, delay=random.Random(0).uniform(0, 0.3)
    )
    time.sleep(0.5)  # the processes that it has started notice that it is gone
    before = finished_units(tmp_path / "b")
    compare(tmp_path / "b", 2)
    assert before.items() <= finished_units(tmp_path / "b").items(), "a finished unit was carried out again"
    assert set(finished_units(tmp_path / "b")) == set(finished_units(tmp_path / "a"))
    check_equal(tmp_path / "b", expected)
