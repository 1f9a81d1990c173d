"""Run a comparison: tune every candidate with one budget under paired seeds, and collect the results."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from taskloom.balance.base import Balancer
from taskloom.data.split import Splitter, default_split
from taskloom.data.table import MultiTaskData
from taskloom.errors import StudyError, TaskError, nearest
from taskloom.study.budget import Budget
from taskloom.study.candidate import Candidate
from taskloom.study.catalogue import choose
from taskloom.study.collect import collect
from taskloom.study.configuration import configuration
from taskloom.study.description import describe_networks
from taskloom.study.environment import environment
from taskloom.study.files import read_json, write_json
from taskloom.study.folder import RunFolder
from taskloom.study.models import NetworkPlan, load_model, store_winners
from taskloom.study.problem import Problem
from taskloom.study.results import Results
from taskloom.study.space import Parameter
from taskloom.study.step_time import step_milliseconds
from taskloom.study.tuner import Trial, Tuner
from taskloom.study.unit import Unit, UnitOutcome, run_unit, stored_outcomes, units_of
from taskloom.study.workers import carry_out, n_processes, one_thread

__all__ = ["Progress", "Study"]

Progress = Callable[[float, float, str], None]
"""Called with the work done, the work known so far, and what is going on."""

_TRIALS_OF_A_ROUND = 16  # trials that are planned at once under a budget of trials
_TRIALS_OF_A_TIMED_ROUND = 4
_DESCRIBED_ROWS = 256  # on which gates are looked at for the report


@dataclass(frozen=True, eq=False)
class Study:
    """A comparison of candidates on one data set.

    Args:
        data: the data.
        candidates: ``"default"``, ``"all"``, or names and :class:`Candidate` objects. Single-task networks and hard
            sharing with equal weights always take part.
        main: the task that counts; None: all that are not auxiliary.
        seeds: number of replications; each has its own split, initial weights and row orders, the same for all
            candidates. Default 5.
        seed: base seed; the replications are ``seed, seed + 1, ...``.
        budget: tuning budget of every candidate; default 8 trials.
        split: how the data are split; default by group if the data have groups, by time if they have times, else at
            random (60 / 20 / 20 %).
        workers: processes that train at the same time; default one per core when there is much to do, else none
            beside this one. The results do not depend on it.
        out: folder of the run; an unfinished run in it is continued. None: a temporary one.
        storage: Optuna storage URL that several machines share; default a SQLite file in the folder.
        alpha: level of the tests; default 0.05.
        margin: relative difference that does not matter; default 0.01.
        batched: train networks of one shape together; False trains one by one (the results are the same).
        title: what the report is headed with; default the name of the data.
        command: how to repeat the run, shown in the report.

    Example:
        >>> import taskloom as tl, numpy as np
        >>> random = np.random.default_rng(0)
        >>> x = random.normal(size=(100, 3))
        >>> data = tl.MultiTaskData.from_arrays(
        ...     x, {"a": x[:, 0], "b": x[:, 1]},
        ...     tasks=[tl.Task(name="a", kind=tl.Regression()), tl.Task(name="b", kind=tl.Regression())])
        >>> results = Study(data, candidates=("hard_sharing",), seeds=2, budget=Budget(trials=1)).run()
        >>> results.candidates
        ('single_task', 'hard_sharing')
    """

    data: MultiTaskData
    candidates: Sequence[Candidate | Balancer | str] | str = "default"
    main: str | None = None
    seeds: int = 5
    seed: int = 0
    budget: Budget = field(default_factory=lambda: Budget(trials=8))
    split: Splitter | None = None
    workers: int | None = None
    out: Path | None = None
    storage: str | None = None
    alpha: float = 0.05
    margin: float = 0.01
    batched: bool = True
    title: str | None = None
    command: str | None = None

    def __post_init__(self) -> None:
        for name, number in (("seeds", self.seeds), ("workers", self.workers)):
            if number is not None and number < 1:
                raise StudyError(f"{name} must be at least 1, found {number!r}")
        for name in ("alpha", "margin"):
            if not 0 < getattr(self, name) < 1:
                raise StudyError(f"{name} must lie between 0 and 1, found {getattr(self, name)!r}")
        names = [task.name for task in self.data.tasks]
        if self.main is not None and self.main not in names:
            raise TaskError(f"main: unknown task {self.main!r}.{nearest(self.main, names)}")
        if self.main is None and all(task.auxiliary for task in self.data.tasks):
            raise TaskError("every task is auxiliary; at least one must count: name it with main")

    def run(self, progress: Progress | None = None) -> Results:
        """Run the comparison, or what is left of it.

        Args:
            progress: called as the work goes on.

        Returns:
            the results, which also lie in the run folder.

        Raises:
            StudyError: the folder or storage belongs to another comparison or cannot be used.
            DataError: the data cannot be split so that every task has rows in every part.
        """
        with contextlib.ExitStack() as stack:
            path = self.out if self.out is not None else Path(stack.enter_context(TemporaryDirectory()))
            return self._run_in(path, progress or _silent)

    def _run_in(self, path: Path, progress: Progress) -> Results:
        chosen, left_out = choose(self.candidates, self.data)
        splitter = self.split if self.split is not None else default_split(self.data)
        problems = self._problems(splitter)  # before anything is written: bad data leave no folder behind
        described = configuration(self, chosen, left_out, splitter)
        with RunFolder.open(path, described) as folder:
            tuner = Tuner(
                self.storage if self.storage is not None else folder.storage,
                name=described["fingerprint"],
                seed=self.seed,
                owner=folder.owner,
                shared=self.storage is not None,
            )
            trials = self._tune(chosen, tuner, folder, problems, progress)
            finished = {
                one.name: [trial for trial in tuner.finished(one.name) if trial.number < trials] for one in chosen
            }
            times = _step_times(folder, chosen, next(iter(problems.values())))
            settings = {**described["settings"], "trials": trials, "step_milliseconds": times}
            results, winners = collect(
                chosen, finished, problems, folder.units, settings=settings, environment=environment()
            )
            store_winners(winners, chosen, problems, folder)
            networks = _networks(folder, chosen, next(iter(problems.values())))
            results = replace(results, settings={**results.settings, "networks": networks})
            results.save(folder.results)
            write_json(folder.path / "environment.json", results.environment)
            results.curves.write_csv(folder.path / "metrics.csv")
            return results

    # -- tuning -----------------------------------------------------------------------------------------------

    def _tune(
        self,
        candidates: Sequence[Candidate],
        tuner: Tuner,
        folder: RunFolder,
        problems: Mapping[int, Problem],
        progress: Progress,
    ) -> int:
        """Run rounds of trials until the budget is used; returns the number of trials of every candidate."""
        spaces = {one.name: one.plan.space(self.data) for one in candidates}
        n_trials = 0
        for n_trials in self._rounds(tuner, candidates):
            work: list[Unit] = []
            for candidate in candidates:
                tuner.plan(candidate.name, spaces[candidate.name], n_trials=n_trials)
                left = _tell_stored(candidate, tuner, tuner.take(candidate.name), folder)
                work.extend(units_of(candidate, left, spaces[candidate.name]))
            total = len(candidates) * n_trials
            counter = _Counter(progress, total - sum(len(unit.trials) for unit in work), total)
            for unit, outcome in carry_out(self, work, problems, folder.units, counter.begins):
                _tell(tuner, unit.candidate, unit.trials, outcome)
                counter.ends(unit)
            for candidate in candidates:
                self._finish_others(candidate, tuner, spaces[candidate.name], folder, problems, n_trials)
        return n_trials

    def _rounds(self, tuner: Tuner, candidates: Sequence[Candidate]) -> Iterator[int]:
        """Numbers of trials that every candidate must have had, one after another."""
        if self.budget.trials is not None:
            # a run that is continued with a smaller budget keeps what it has finished
            numbers = [trial.number + 1 for one in candidates for trial in tuner.finished(one.name)]
            wanted = max(self.budget.trials, *numbers, 0)
            yield from range(_TRIALS_OF_A_ROUND, wanted, _TRIALS_OF_A_ROUND)
            yield wanted
            return
        # time used before a kill counts: finished trials know how long they took; a round that was begun is finished
        finished = [trial for one in candidates for trial in tuner.finished(one.name)]
        begun = max((trial.number + 1 for trial in finished), default=1)
        end = time.monotonic() + (self.budget.seconds or 0.0)
        end -= sum(trial.seconds for trial in finished) / n_processes(self.workers)
        n_trials = 0
        while n_trials < begun or time.monotonic() < end:
            n_trials += _TRIALS_OF_A_TIMED_ROUND
            yield n_trials

    def _finish_others(
        self,
        candidate: Candidate,
        tuner: Tuner,
        space: Sequence[Parameter],
        folder: RunFolder,
        problems: Mapping[int, Problem],
        n_trials: int,
    ) -> None:
        """Wait for trials that other machines have taken, and take over those they gave up."""
        while not tuner.wait_for_others(candidate.name, n_trials):
            tuner.plan(candidate.name, space, n_trials=n_trials)
            for unit in units_of(candidate, tuner.take(candidate.name), space):
                outcome = run_unit(unit, problems, folder.units, batched=self.batched)
                _tell(tuner, candidate, unit.trials, outcome)

    # -- description ------------------------------------------------------------------------------------------

    def _problems(self, splitter: Splitter) -> dict[int, Problem]:
        main = (self.main,) if self.main is not None else ()
        return {
            seed: Problem(self.data, splitter, seed, main=main) for seed in range(self.seed, self.seed + self.seeds)
        }


def _step_times(folder: RunFolder, candidates: Sequence[Candidate], problem: Problem) -> dict[str, float]:
    """Times of steps; measured once, so that a run that is continued ends with the same results."""
    stored = folder.path / "step_times.json"
    names = [candidate.name for candidate in candidates]
    if stored.exists():
        found = read_json(stored)
        if found["candidates"] == names:
            times: dict[str, float] = found["milliseconds"]
            return times
    with one_thread():
        times = step_milliseconds(candidates, problem)
    write_json(stored, {"candidates": names, "milliseconds": times})
    return times


def _tell(tuner: Tuner, candidate: Candidate, trials: Sequence[Trial], outcome: UnitOutcome) -> None:
    for trial in trials:
        tuner.finish(
            candidate.name,
            trial,
            value=outcome.values[trial.number],
            outcome=outcome.outcomes[trial.number],
            seconds=outcome.seconds,
        )


def _tell_stored(candidate: Candidate, tuner: Tuner, taken: Sequence[Trial], folder: RunFolder) -> list[Trial]:
    """Tell the tuner what a killed run had finished but not told; returns the trials that are left.

    Units that were finished are told to the end in this way, and the others lack none of their trials: dealt again,
    these trials make the units that they were in before.
    """
    left = {trial.number: trial for trial in taken}
    for outcome in stored_outcomes(candidate.name, folder.units):
        told = [left[number] for number, settings in outcome.settings.items() if _is_trial(left.get(number), settings)]
        _tell(tuner, candidate, told, outcome)
        for trial in told:
            del left[trial.number]
    return list(left.values())


def _is_trial(trial: Trial | None, settings: Mapping[str, Any]) -> bool:
    return trial is not None and dict(trial.settings) == dict(settings)


def _networks(folder: RunFolder, candidates: Sequence[Candidate], problem: Problem) -> dict[str, Any]:
    """What the stored networks of the candidates are, for the report."""
    found = {}
    for one in candidates:
        if isinstance(one.plan, NetworkPlan) and (folder.checkpoints / one.name).is_dir():
            stored = load_model(folder.path, candidate=one)
            found[one.name] = describe_networks(stored.networks, problem.tensors.inputs[:_DESCRIBED_ROWS])
    return found


class _Counter:
    """Counts finished trials for the progress function."""

    def __init__(self, progress: Progress, done: int, total: int) -> None:
        self._progress, self._done, self._total = progress, done, total
        progress(done, total, "")

    def begins(self, unit: Unit) -> None:
        self._progress(self._done, self._total, unit.candidate.title)

    def ends(self, unit: Unit) -> None:
        self._done += len(unit.trials)
        self._progress(self._done, self._total, unit.candidate.title)


def _silent(done: float, total: float, text: str) -> None:
    return None
