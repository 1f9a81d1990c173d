"""Train one candidate as its configuration says, and store it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from taskloom.cli._output import output_folder
from taskloom.cli._screen import Advance, Screen
from taskloom.cli._tables import read, show_table
from taskloom.errors import StudyError, nearest

if TYPE_CHECKING:
    from taskloom.cli._config import FitConfig
    from taskloom.data import MultiTaskData
    from taskloom.fit import Training
    from taskloom.study.candidate import Candidate, Learned
    from taskloom.study.problem import Problem

__all__ = ["run"]

_MOST_TASKS = 20


def run(settings: FitConfig, *, quiet: bool = False) -> None:
    """Read the table, show it, train the candidate, and store model and settings.

    Raises:
        TaskloomError: the data, the settings or the folder cannot be used.
    """
    screen = Screen(quiet=quiet)
    data = read(settings, screen)
    candidate = _candidate(settings.candidate, data)
    hyperparameters = _hyperparameters(candidate, data, settings.settings)
    _check_schedule(candidate, settings)
    splitter = show_table(screen, data, seed=settings.seed)
    with output_folder(settings.folder) as folder:
        from taskloom.study.models import store_learned
        from taskloom.study.problem import Problem

        problem = Problem(data, splitter, settings.seed)
        learned = _learn(candidate, problem, hyperparameters, settings, screen)
        store_learned(learned, candidate=candidate, settings=hyperparameters, problem=problem, folder=folder)
        _show(screen, problem, learned)
        screen.answer(f"model: {folder}")


def _candidate(name: str, data: MultiTaskData) -> Candidate:
    """The candidate of a name, if it fits the data."""
    from taskloom.study.catalogue import catalogue

    known = {candidate.name: candidate for candidate in catalogue()}
    if name not in known:
        raise StudyError(
            f"unknown candidate {name!r}; expected one of those that 'taskloom methods' lists.{nearest(name, known)}"
        )
    reason = known[name].plan.reason_against(data)
    if reason is not None:
        raise StudyError(f"the candidate {name!r} does not fit these data: {reason}; choose another --candidate")
    return known[name]


def _hyperparameters(
    candidate: Candidate, data: MultiTaskData, given: dict[str, int | float | str]
) -> dict[str, int | float | str]:
    """The values with which tuning would start, and those that were given."""
    from taskloom.study.space import default_settings

    defaults = default_settings(candidate.plan.space(data))
    for name, value in given.items():
        if name not in defaults:
            raise StudyError(f"{candidate.name!r} has no hyperparameter {name!r}.{nearest(name, defaults)}")
        if isinstance(value, str) != isinstance(defaults[name], str):
            raise StudyError(
                f"the hyperparameter {name!r} of {candidate.name!r} was given {value!r}; expected a value like "
                f"{defaults[name]!r}"
            )
    return {**defaults, **given}


def _check_schedule(candidate: Candidate, settings: FitConfig) -> None:
    """Refuse a number of epochs for what is not trained in epochs."""
    given = [name for name in ("max_epochs", "patience") if getattr(settings, name) is not None]
    if given and not hasattr(candidate.plan, "build"):
        raise StudyError(
            f"{' and '.join(given)} {'was' if len(given) == 1 else 'were'} given, but the candidate {candidate.name!r} "
            "is no network and has no epochs; leave it out, or choose a network"
        )


def _learn(
    candidate: Candidate,
    problem: Problem,
    hyperparameters: dict[str, int | float | str],
    settings: FitConfig,
    screen: Screen,
) -> list[Learned]:
    """Carry out what the plan asks for, round after round."""
    from taskloom.fit import train

    learning = candidate.plan.learn(problem, hyperparameters)
    try:
        wanted = next(learning)
    except StopIteration as end:
        fitted: list[Learned] = end.value
        return fitted
    while True:
        trainings = [_scheduled(training, settings) for training in wanted]
        with screen.progress("training") as advance:
            results = train(trainings, finished=_counted(advance, len(trainings)))
        try:
            wanted = learning.send(results)
        except StopIteration as end:
            learned: list[Learned] = end.value
            return learned


def _counted(advance: Advance, total: int) -> Callable[[int], None]:
    """Tell the progress bar how many trainings are finished, given how many just were."""
    done = 0

    def finished(count: int) -> None:
        nonlocal done
        done += count
        advance(done, total)

    return finished


def _scheduled(training: Training, settings: FitConfig) -> Training:
    """The training with the length that was asked for."""
    given = {"max_epochs": settings.max_epochs, "patience": settings.patience}
    changes = {name: value for name, value in given.items() if value is not None}
    return dataclasses.replace(training, schedule=dataclasses.replace(training.schedule, **changes))


def _show(screen: Screen, problem: Problem, learned: list[Learned]) -> None:
    """Scores on the test rows."""
    rows = []
    for one in learned:
        outputs = one.outputs("test")
        for task in problem.tasks:
            if task.name in one.tasks:
                name, value = next(iter(problem.metrics(task, outputs[task.name], "test").items()))
                rows.append((task.name, name, f"{value:.4g}"))
    screen.table("Scores on the test rows", ("task", "metric", "value"), rows[:_MOST_TASKS], right=("value",))
    if len(rows) > _MOST_TASKS:
        screen.say(f"... and {len(rows) - _MOST_TASKS} more tasks")
