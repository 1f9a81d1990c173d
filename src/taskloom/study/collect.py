"""From finished trials to results: choose a setting per seed on validation rows, and lay out the tables."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from taskloom.study.candidate import Candidate
from taskloom.study.problem import Problem, metrics_of
from taskloom.study.results import SCHEMAS, Results
from taskloom.study.tuner import Finished
from taskloom.study.unit import MOST_PAIRED_TASKS, read_pieces, score_of_setting

__all__ = ["Chosen", "arrays_of", "choose_pieces", "collect"]


@dataclass(frozen=True)
class Chosen:
    """The predictor that won for some tasks under one seed.

    Args:
        candidate: name of the candidate.
        seed: the seed.
        trial: number of the winning trial.
        place: place among the trial's predictors.
        settings: hyperparameters of the trial.
        record: what the worker stored.
    """

    candidate: str
    seed: int
    trial: int
    place: int
    settings: Mapping[str, Any]
    record: Mapping[str, Any]

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks that it answers."""
        return tuple(self.record["tasks"])

    @property
    def score(self) -> float:
        """Validation score; infinite where it is not finite, so that a training that diverged comes last."""
        score = self.record["score"]
        return float(score) if score is not None and math.isfinite(score) else math.inf


def arrays_of(chosen: Sequence[Chosen], units: Path) -> list[dict[str, np.ndarray]]:
    """State and history of each predictor; empty for estimators, and for units that another machine carried out."""
    files = {stem: read_pieces(units, stem) for stem in {str(one.record["unit"]) for one in chosen}}
    return [files[str(one.record["unit"])].get(f"{one.trial}/{one.seed}/{one.place}", {}) for one in chosen]


def choose_pieces(candidate: str, trials: Sequence[Finished], seeds: Sequence[int]) -> list[Chosen]:
    """For every seed and group of tasks the predictor with the best validation score; ties go to the lower trial."""
    best: dict[tuple[int, tuple[str, ...]], Chosen] = {}
    for trial in trials:
        for seed in seeds:
            for place, record in enumerate(trial.outcome[seed]):
                chosen = Chosen(candidate, seed, trial.number, place, trial.settings, record)
                key = (seed, chosen.tasks)
                if key not in best or chosen.score < best[key].score:
                    best[key] = chosen
    return list(best.values())


def collect(
    candidates: Sequence[Candidate],
    finished: Mapping[str, Sequence[Finished]],
    problems: Mapping[int, Problem],
    units: Path,
    *,
    settings: dict[str, Any],
    environment: dict[str, Any],
) -> tuple[Results, list[Chosen]]:
    """Lay out the results of a finished comparison.

    Args:
        candidates: what was compared.
        finished: candidate -> its finished trials.
        problems: seed -> data under its split.
        units: folder of finished units, for curves and conflicts.
        settings: the comparison's settings.
        environment: versions and machine.

    Returns:
        the results, and the winning predictors.
    """
    rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in SCHEMAS}
    winners = []
    for candidate in candidates:
        chosen = choose_pieces(candidate.name, finished[candidate.name], list(problems))
        winners.extend(chosen)
        best_setting = {
            seed: min(score_of_setting(trial.outcome[seed], problem) for trial in finished[candidate.name])
            for seed, problem in problems.items()
        }
        for one, arrays in zip(chosen, arrays_of(chosen, units), strict=True):
            _add_scores(rows["scores"], one, problems[one.seed])
            rows["runs"].append(_run(one, len(problems[one.seed].tasks), best_setting[one.seed]))
            if arrays:
                _add_curves(rows, one, arrays)
                _add_conflicts(rows["conflicts"], one, arrays, first=min(problems))
    for seed, problem in problems.items():
        for part in ("train", "validation", "test"):
            for task in problem.tasks:
                rows["labelled"].append((task.name, seed, part, len(problem.rows(task.name, part))))
    return Results.from_rows(rows, settings=settings, environment=environment), winners


def _add_scores(rows: list[tuple[Any, ...]], one: Chosen, problem: Problem) -> None:
    tasks = {task.name: task for task in problem.tasks}
    for split, by_task in one.record["metrics"].items():
        for name, values in by_task.items():
            for metric in metrics_of(tasks[name]):
                value = values.get(metric.name)
                number = math.nan if value is None else float(value)
                rows.append((one.candidate, name, metric.name, one.seed, split, number, metric.lower_is_better))


def _run(one: Chosen, n_tasks: int, selection_score: float) -> tuple[Any, ...]:
    record = one.record
    return (
        one.candidate,
        one.seed,
        "" if len(one.tasks) == n_tasks and n_tasks > 1 else one.tasks[0],
        one.trial,
        json.dumps(dict(one.settings), ensure_ascii=False),
        one.score,
        selection_score,
        int(record["parameters"]),
        float(record["seconds"]),
        float(record["predict_microseconds"]),
        int(record["epochs"]),
        int(record["best_epoch"]),
        int(record["steps"]),
    )


def _add_curves(rows: dict[str, list[tuple[Any, ...]]], one: Chosen, arrays: Mapping[str, np.ndarray]) -> None:
    train, validation, weights = arrays["train_loss"], arrays["validation_loss"], arrays["weights"]
    for column, task in enumerate(one.tasks):
        for epoch in range(len(train)):
            rows["curves"].append(
                (one.candidate, one.seed, task, epoch, float(train[epoch, column]), float(validation[epoch, column]))
            )
            if len(one.tasks) > 1:
                rows["weights"].append((one.candidate, one.seed, epoch, task, float(weights[epoch, column])))


def _add_conflicts(rows: list[tuple[Any, ...]], one: Chosen, arrays: Mapping[str, np.ndarray], *, first: int) -> None:
    if "cosines" not in arrays:
        return
    cosines, conflicts = arrays["cosines"], arrays["conflicts"]
    n_tasks = cosines.shape[1]
    if n_tasks > MOST_PAIRED_TASKS and (one.seed != first or one.candidate != "hard_sharing"):
        return  # the number of pairs is quadratic: one seed of the plain form stands for all
    upper = np.triu_indices(n_tasks, 1)
    for place in range(len(cosines)):
        epoch = int(arrays["measured"][place])
        pairs = zip(*upper, cosines[place][upper].tolist(), conflicts[place][upper].tolist(), strict=True)
        for a, b, cosine, conflict in pairs:
            rows.append((one.candidate, one.seed, epoch, one.tasks[a], one.tasks[b], cosine, conflict))
