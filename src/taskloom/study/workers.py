"""Carry out units: in this process, or in several at the same time."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import joblib
import torch

from taskloom.data.multitask import MultiTaskData
from taskloom.data.split import Splitter
from taskloom.study.problem import Problem
from taskloom.study.unit import Unit, UnitOutcome, run_unit

if TYPE_CHECKING:
    from taskloom.study.run import Study

__all__ = ["carry_out", "n_processes", "one_thread"]

_WORTH_PROCESSES = 200  # trials times seeds above which processes repay the seconds that they take to start


@dataclass(frozen=True, eq=False)
class _Context:
    """What a worker process needs to build the problems; it builds them once."""

    data: MultiTaskData
    splitter: Splitter
    seeds: tuple[int, ...]
    main: tuple[str, ...]


def n_processes(workers: int | None) -> int:
    """Number of processes that a setting stands for: itself, or one per core that this process may use."""
    if workers is not None:
        return workers
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def carry_out(
    study: Study,
    units: Sequence[Unit],
    problems: Mapping[int, Problem],
    folder: Path,
    begins: Callable[[Unit], None],
) -> Iterator[tuple[Unit, UnitOutcome]]:
    """Carry out units; yields each with its outcome when it is finished.

    Every unit computes on one thread, wherever it runs, so that what it finds does not depend on the number of
    processes; networks of this size gain nothing from more threads.

    Args:
        study: the comparison.
        units: the work.
        problems: seed -> data under its split.
        folder: where finished units are stored.
        begins: called when a unit begins, if it is carried out in this process.
    """
    work = sum(len(unit.trials) for unit in units) * len(problems)
    processes = min(n_processes(study.workers), len(units))
    if processes < 2 or (study.workers is None and work < _WORTH_PROCESSES):
        for unit in units:
            begins(unit)
            with one_thread():
                outcome = run_unit(unit, problems, folder, batched=study.batched)
            yield unit, outcome
        return
    first = next(iter(problems.values()))
    context = _Context(study.data, first.splitter, tuple(problems), first.main)
    # loky's workers need no guard in the user's script and end with this process
    pool = joblib.Parallel(n_jobs=processes, backend="loky", return_as="generator_unordered", batch_size=1)
    calls = (
        joblib.delayed(_in_worker)(context, place, unit, folder, study.batched) for place, unit in enumerate(units)
    )
    with warnings.catch_warnings():
        # a worker that has grown is replaced between two units; that is no news for the user
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs")
        # nor is that units were given up when the run is stopped: what is finished is kept
        warnings.filterwarnings("ignore", message=".* tasks which were still being processed")
        outcomes = pool(calls)
        try:
            for place, outcome in outcomes:
                yield units[place], outcome
        finally:
            outcomes.close()


_problems: dict[str, dict[int, Problem]] = {}


def _in_worker(context: _Context, place: int, unit: Unit, folder: Path, batched: bool) -> tuple[int, UnitOutcome]:
    key = f"{context.data.fingerprint}/{context.splitter}/{context.seeds}/{context.main}"
    if key not in _problems:
        _problems.clear()
        _problems[key] = {
            seed: Problem(context.data, context.splitter, seed, main=context.main) for seed in context.seeds
        }
    with one_thread():
        return place, run_unit(unit, _problems[key], folder, batched=batched)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread inside."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
