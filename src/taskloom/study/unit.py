"""One piece of work of a comparison: some trials of one candidate, for all seeds, trained together.

A unit is what is finished or not finished when a run is killed: its results are written to the run folder first, and
then told to the tuner. A unit always has the same members, so that repeating it repeats its arithmetic.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from taskloom.fit.train import train
from taskloom.study.candidate import Candidate, Learned, Learning
from taskloom.study.files import read_arrays, read_json, write_arrays, write_json
from taskloom.study.problem import Problem
from taskloom.study.space import Parameter
from taskloom.study.tuner import Trial

__all__ = [
    "MOST_PAIRED_TASKS",
    "Unit",
    "UnitOutcome",
    "read_pieces",
    "run_unit",
    "score_of_setting",
    "stored_outcomes",
    "units_of",
]

MOST_PAIRED_TASKS = 12
"""Up to this many tasks the cosines of every measured step are kept, beyond it their mean: pairs are quadratic."""


@dataclass(frozen=True)
class Unit:
    """Trials of one candidate that have the same shape of network.

    Args:
        candidate: what is learned.
        trials: the settings.
    """

    candidate: Candidate
    trials: tuple[Trial, ...]

    @property
    def stem(self) -> str:
        """Name of the unit's files."""
        return f"{self.candidate.name}-" + "-".join(str(trial.number) for trial in self.trials)


@dataclass(frozen=True)
class UnitOutcome:
    """What a unit found, as plain data.

    Args:
        settings: trial number -> hyperparameters.
        values: trial number -> mean validation score over the seeds.
        outcomes: trial number -> seed -> records of its predictors.
        seconds: wall time per trial.
    """

    settings: dict[int, dict[str, float | int | str]]
    values: dict[int, float]
    outcomes: dict[int, dict[int, list[dict[str, Any]]]]
    seconds: float


def units_of(candidate: Candidate, trials: Sequence[Trial], space: Sequence[Parameter]) -> list[Unit]:
    """Deal trials into units: networks of equal structural settings together, in order of their numbers.

    Estimators are not trained in batches: each of their trials is a unit of its own.
    """
    if candidate.family == "baseline":
        return [Unit(candidate, (trial,)) for trial in sorted(trials, key=lambda one: one.number)]
    structural = [parameter.name for parameter in space if parameter.structural]
    groups: dict[tuple[Any, ...], list[Trial]] = {}
    for trial in sorted(trials, key=lambda one: one.number):
        groups.setdefault(tuple(trial.settings[name] for name in structural), []).append(trial)
    return [Unit(candidate, tuple(group)) for group in groups.values()]


def run_unit(
    unit: Unit,
    problems: Mapping[int, Problem],
    folder: Path,
    *,
    batched: bool = True,
    finished: Callable[[int], None] | None = None,
) -> UnitOutcome:
    """Carry out a unit.

    Args:
        unit: the piece of work.
        problems: seed -> the data under that seed's split.
        folder: where finished units lie.
        batched: train networks of one shape together.
        finished: called with the number of networks just trained.

    Returns:
        the outcome, which is now also in the folder.
    """
    start = time.perf_counter()
    learned = _learn(unit, problems, batched, finished)
    kept = _best(learned)
    arrays: dict[str, np.ndarray] = {}
    outcomes: dict[int, dict[int, list[dict[str, Any]]]] = {}
    for (trial, seed), predictors in learned.items():
        for place, predictor in enumerate(predictors):
            piece = _record(predictor)
            if (trial, seed, place) in kept:
                piece.update(_evaluate(predictor, problems[seed]))
                piece["unit"] = unit.stem
                arrays.update(_arrays(f"{trial}/{seed}/{place}", predictor))
            outcomes.setdefault(trial, {}).setdefault(seed, []).append(piece)
    values = {
        trial.number: float(
            np.mean([score_of_setting(outcomes[trial.number][seed], problems[seed]) for seed in problems])
        )
        for trial in unit.trials
    }
    settings = {trial.number: dict(trial.settings) for trial in unit.trials}
    outcome = UnitOutcome(settings, values, outcomes, (time.perf_counter() - start) / len(unit.trials))
    if arrays:
        write_arrays(folder / f"{unit.stem}.safetensors", arrays)
    # the record comes last: a unit without it was not finished
    write_json(folder / f"{unit.stem}.json", dataclasses.asdict(outcome))
    return outcome


def stored_outcomes(candidate: str, folder: Path) -> Iterator[UnitOutcome]:
    """Outcomes of a candidate's units that lie in a folder, in no particular order."""
    for record in folder.glob(f"{candidate}-*.json"):
        yield _read(record)


def _read(record: Path) -> UnitOutcome:
    found = read_json(record)
    return UnitOutcome(
        {int(trial): settings for trial, settings in found["settings"].items()},
        {int(trial): _number(value) for trial, value in found["values"].items()},
        {
            int(trial): {int(seed): pieces for seed, pieces in seeds.items()}
            for trial, seeds in found["outcomes"].items()
        },
        float(found["seconds"]),
    )


def _learn(
    unit: Unit, problems: Mapping[int, Problem], batched: bool, finished: Callable[[int], None] | None
) -> dict[tuple[int, int], list[Learned]]:
    """Run the plans of all trials and seeds side by side, stage by stage."""
    running: dict[tuple[int, int], Learning] = {
        (trial.number, seed): unit.candidate.plan.learn(problem, trial.settings)
        for trial in unit.trials
        for seed, problem in problems.items()
    }
    answers: dict[tuple[int, int], Any] = dict.fromkeys(running)
    done: dict[tuple[int, int], list[Learned]] = {}
    while running:
        wanted: dict[tuple[int, int], list[Any]] = {}
        for key in list(running):
            try:
                wanted[key] = running[key].send(answers[key])
            except StopIteration as end:
                done[key] = end.value
                del running[key]
        results = iter(train([one for key in wanted for one in wanted[key]], batched=batched, finished=finished))
        answers = {key: [next(results) for _ in wanted[key]] for key in wanted}
    return {(trial.number, seed): done[trial.number, seed] for trial in unit.trials for seed in problems}


def _best(learned: Mapping[tuple[int, int], list[Learned]]) -> set[tuple[int, int, int]]:
    """The best predictor of every seed and group of tasks: only these can be chosen in the end."""
    best: dict[tuple[int, tuple[str, ...]], tuple[float, int, int]] = {}
    for (trial, seed), predictors in learned.items():
        for place, predictor in enumerate(predictors):
            rank = (_comparable(predictor.score), trial, place)
            key = (seed, predictor.tasks)
            if key not in best or rank < best[key]:
                best[key] = rank
    return {(trial, seed, place) for (seed, _), (_, trial, place) in best.items()}


def _comparable(score: float) -> float:
    return score if math.isfinite(score) else math.inf


def _number(value: float | None) -> float:
    return math.inf if value is None else float(value)


def _record(predictor: Learned) -> dict[str, Any]:
    fit = predictor.fit
    return {
        "tasks": list(predictor.tasks),
        "score": predictor.score if math.isfinite(predictor.score) else None,
        "parameters": predictor.parameters,
        "seconds": predictor.seconds,
        "epochs": fit.history.epochs if fit is not None else 0,
        "steps": fit.steps if fit is not None else 0,
        "best_epoch": fit.best_epoch if fit is not None else 0,
    }


def _evaluate(predictor: Learned, problem: Problem) -> dict[str, Any]:
    """Metrics on validation and test rows, and the time of a prediction."""
    tasks = {task.name: task for task in problem.tasks}
    found: dict[str, Any] = {"metrics": {}}
    for part in ("validation", "test"):
        start = time.perf_counter()
        outputs = predictor.outputs(part)
        seconds = time.perf_counter() - start
        found["metrics"][part] = {name: problem.metrics(tasks[name], outputs[name], part) for name in predictor.tasks}
        rows = max(1, max(len(outputs[name]) for name in predictor.tasks))
        found["predict_microseconds"] = 1e6 * seconds / rows
    return found


def score_of_setting(pieces: Sequence[Mapping[str, Any]], problem: Problem) -> float:
    """Validation score of one setting under one seed: the mean over the tasks that count; infinite if one diverged."""
    counts = [sum(name in problem.scored for name in piece["tasks"]) for piece in pieces]
    scores = [math.inf if piece["score"] is None else float(piece["score"]) for piece in pieces]
    total = sum(score * count for score, count in zip(scores, counts, strict=True) if count)
    return total / max(sum(counts), 1)


def _arrays(prefix: str, predictor: Learned) -> dict[str, np.ndarray]:
    """State and history of a kept network."""
    if predictor.fit is None:
        return {}
    history = predictor.fit.history
    arrays = {f"{prefix}/state/{name}": value.numpy() for name, value in predictor.fit.state.items()}
    structure = predictor.fit.skeleton.structure()
    if structure is not None:
        arrays[f"{prefix}/structure"] = np.frombuffer(json.dumps(structure).encode(), dtype=np.uint8)
    for name in ("train_loss", "validation_loss", "weights", "score"):
        arrays[f"{prefix}/{name}"] = np.asarray(getattr(history, name), dtype=np.float64)
    if len(history.gramians):
        cosines = history.cosines()
        n_tasks = cosines.shape[1]
        with np.errstate(invalid="ignore"):
            conflicts = np.where(np.isnan(cosines), np.nan, cosines < 0)
        arrays[f"{prefix}/measured"] = np.asarray(history.measured)
        if n_tasks > MOST_PAIRED_TASKS:
            cosines, conflicts = _mean(cosines)[None], _mean(conflicts)[None]
        arrays[f"{prefix}/cosines"] = cosines.astype(np.float32)
        arrays[f"{prefix}/conflicts"] = conflicts.astype(np.float32)
    return arrays


def _mean(stacked: np.ndarray) -> np.ndarray:
    """Mean over the first axis that ignores NaN; NaN where nothing is left."""
    known = ~np.isnan(stacked)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: np.ndarray = np.where(known, stacked, 0.0).sum(0) / known.sum(0)
    return mean


def read_pieces(folder: Path, stem: str) -> dict[str, dict[str, np.ndarray]]:
    """Arrays of a unit's kept networks, by ``trial/seed/place``: the state under ``state/...``, the history beside.

    Empty for estimators, and for a unit that another machine carried out.
    """
    file = folder / f"{stem}.safetensors"
    pieces: dict[str, dict[str, np.ndarray]] = {}
    if file.exists():
        for name, array in read_arrays(file).items():
            trial, seed, place, own = name.split("/", 3)
            pieces.setdefault(f"{trial}/{seed}/{place}", {})[own] = array
    return pieces
