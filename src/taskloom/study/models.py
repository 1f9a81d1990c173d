"""Stored models: weights as safetensors, estimators by skops, everything else as JSON; loading needs no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from taskloom.data.multitask import MultiTaskData
from taskloom.data.prepare import Preparation
from taskloom.errors import ExportError, StudyError
from taskloom.nn.model import MultiTaskModel
from taskloom.study.candidate import Candidate, Fitted, Learned
from taskloom.study.catalogue import catalogue
from taskloom.study.collect import Chosen, arrays_of
from taskloom.study.estimator_file import read_estimators, write_estimators
from taskloom.study.files import read_arrays, read_json, write_arrays, write_json
from taskloom.study.folder import RunFolder
from taskloom.study.plans._networks import Shape
from taskloom.study.problem import Problem
from taskloom.study.results import Results
from taskloom.study.space import Settings
from taskloom.task import Task

__all__ = ["StoredModel", "load_model", "store_learned", "store_winners"]


@runtime_checkable
class NetworkPlan(Protocol):
    """A plan whose networks can be built again, which loading needs."""

    def build(self, shape: Shape) -> MultiTaskModel:
        """The network of a shape."""
        ...


_WEIGHTS, _ESTIMATORS, _DESCRIPTION = "model.safetensors", "estimators.skops", "model.json"


@dataclass(frozen=True, eq=False)
class StoredModel:
    """Networks or estimators that answer the tasks of a data set, with the preparation that they were trained under.

    Attributes:
        candidate: name of the candidate.
        preparation: how inputs are prepared and predictions are put back into the user's units.
        networks: the networks, each with the tasks that it answers; empty for a candidate without.
        estimators: fitted predictors, each with the tasks that it answers; empty for networks.

    Example:
        >>> import taskloom as tl
        >>> x = np.random.default_rng(0).normal(size=(60, 2))
        >>> noise = np.random.default_rng(1).normal(size=(2, 60))
        >>> data = tl.MultiTaskData.from_arrays(
        ...     x, {"a": x[:, 0] + noise[0], "b": x[:, 1] + noise[1]}, {"a": tl.Regression(), "b": tl.Regression()})
        >>> results = tl.compare(data, candidates=["linear"], seeds=1, budget=1, out="run", progress=False)
        >>> stored = load_model("run", candidate="single_task")
        >>> len(stored.networks), stored.predict(data)["a"].shape
        (2, (60,))
    """

    candidate: str
    preparation: Preparation
    networks: tuple[MultiTaskModel, ...]
    estimators: tuple[Fitted, ...] = ()

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks, in the order of the data."""
        return self.preparation.schema.tasks

    def predict(self, data: MultiTaskData) -> dict[str, np.ndarray]:
        """Predict every task for the rows of a data set.

        Args:
            data: rows with the features of the training data (:func:`taskloom.data.read_features`).

        Returns:
            task name -> predictions in the user's units: values (n,), probability of the second class (n,), or class
            probabilities (n, classes). With several data sets, NaN for rows of other tasks.
        """
        inputs = np.asarray(self.preparation.inputs(data))
        rows = torch.from_numpy(inputs.reshape(len(inputs), -1)).float()
        asked = {
            task.name: np.arange(len(rows)) if data.task_ids is None else np.flatnonzero(data.task_ids == place)
            for place, task in enumerate(self.tasks)
        }
        outputs: dict[str, np.ndarray] = {}
        for network in self.networks:
            with torch.no_grad():
                for name in network.tasks:
                    outputs[name] = network(rows[torch.from_numpy(asked[name])], [name])[name].double().numpy()
        values = rows.double().numpy()
        for fitted in self.estimators:
            outputs.update(fitted.outputs(values, {name: asked[name] for name in fitted.tasks}))
        return {
            task.name: self._answer(task, outputs[task.name], asked[task.name], len(rows))
            for task in self.tasks
            if task.name in outputs
        }

    def _answer(self, task: Task, outputs: np.ndarray, rows: np.ndarray, n_rows: int) -> np.ndarray:
        answer = self.preparation.restore(task.name, task.kind.predict(outputs))
        full = np.full((n_rows, *answer.shape[1:]), np.nan)
        full[rows] = answer
        return full


def store_learned(
    learned: Sequence[Learned], *, candidate: Candidate, settings: Settings, problem: Problem, folder: Path
) -> None:
    """Store what one candidate has learned under one setting.

    Raises:
        ExportError: the candidate gives predictions only, and nothing that could be stored.
    """
    networks = [
        _Network(one.tasks, settings, {name: value.numpy() for name, value in one.fit.state.items()},
                 one.fit.skeleton.structure())
        for one in learned if one.fit is not None
    ]  # fmt: skip
    estimators = [_Estimator(settings, one.fitted) for one in learned if one.fitted is not None]
    if len(networks) + len(estimators) < len(learned):
        raise ExportError(
            f"the candidate {candidate.name!r} gives predictions only; its plan must return Learned with fit= (a "
            "network) or fitted= (an estimator) for it to be stored"
        )
    _write(folder, _Model(candidate.name, problem, networks, estimators))


def store_winners(
    winners: Sequence[Chosen], candidates: Sequence[Candidate], problems: Mapping[int, Problem], folder: RunFolder
) -> None:
    """Store the model of every candidate: that of the seed with the best validation score.

    Networks are stored as they were trained. Estimators are fitted once more, which gives the same ones and is quicker
    than to keep those of all trials.
    """
    for candidate in candidates:
        own = [one for one in winners if one.candidate == candidate.name]
        seeds = sorted({one.seed for one in own}, key=lambda seed: (_seed_score(own, seed), seed))
        best, problem, place = [one for one in own if one.seed == seeds[0]], problems[seeds[0]], folder.checkpoints
        networks = []
        for one, arrays in zip(best, arrays_of(best, folder.units), strict=True):
            state = {name.removeprefix("state/"): array for name, array in arrays.items() if name.startswith("state/")}
            if state:
                networks.append(_Network(one.tasks, one.settings, state, _structure(arrays)))
        if networks and len(networks) == len(best):  # not where another machine holds some of them
            _write(place / candidate.name, _Model(candidate.name, problem, networks, []))
        elif not networks and all(one.record["steps"] == 0 for one in best):
            _store_again(place / candidate.name, candidate, best, problem)


def _store_again(folder: Path, candidate: Candidate, best: Sequence[Chosen], problem: Problem) -> None:
    """Fit the estimators of the winning trials once more and store them; nothing if that was done before."""
    wanted = [{"tasks": list(one.tasks), "settings": dict(one.settings)} for one in best]
    if (folder / _DESCRIPTION).exists():
        known = read_json(folder / _DESCRIPTION)
        if known["seed"] == problem.seed and known.get("estimators") == wanted:
            return
    estimators: list[_Estimator] = []
    trials: dict[int, list[Learned] | None] = {}
    for one in best:
        if one.trial not in trials:
            trials[one.trial] = _learned_at_once(candidate, problem, one.settings)
        learned = trials[one.trial]
        fitted = None if learned is None else learned[one.place].fitted
        if fitted is None:
            return
        estimators.append(_Estimator(one.settings, fitted))
    _write(folder, _Model(candidate.name, problem, [], estimators))


def _learned_at_once(candidate: Candidate, problem: Problem, settings: Settings) -> list[Learned] | None:
    """What a plan learns without training networks; None if it asks for a training."""
    try:
        next(candidate.plan.learn(problem, settings))
    except StopIteration as end:
        learned: list[Learned] = end.value
        return learned
    return None


def _seed_score(own: Sequence[Chosen], seed: int) -> float:
    return float(np.mean([one.score for one in own if one.seed == seed]))


@dataclass(frozen=True)
class _Network:
    """One network: the tasks it answers, its settings and weights, and the structure that it has learned, if any."""

    tasks: tuple[str, ...]
    settings: Settings
    state: Mapping[str, np.ndarray]
    structure: Any


@dataclass(frozen=True)
class _Estimator:
    """One fitted predictor and its settings."""

    settings: Settings
    fitted: Fitted


@dataclass(frozen=True)
class _Model:
    """What a candidate has learned on a problem."""

    candidate: str
    problem: Problem
    networks: Sequence[_Network]
    estimators: Sequence[_Estimator]


def _structure(arrays: Mapping[str, np.ndarray]) -> Any:
    return json.loads(bytes(arrays["structure"])) if "structure" in arrays else None


def _write(folder: Path, model: _Model) -> None:
    """Write the files; the description comes last, so that it is there only beside what it describes."""
    if model.networks:
        arrays = {f"{place}/{key}": a for place, one in enumerate(model.networks) for key, a in one.state.items()}
        write_arrays(folder / _WEIGHTS, arrays)
    if model.estimators:
        write_estimators(folder / _ESTIMATORS, [one.fitted for one in model.estimators])
    write_json(
        folder / _DESCRIPTION,
        {
            "version": 1,
            "candidate": model.candidate,
            "seed": model.problem.seed,
            "n_inputs": model.problem.n_inputs,
            "networks": [
                {"tasks": list(one.tasks), "settings": dict(one.settings), "structure": one.structure}
                for one in model.networks
            ],
            "estimators": [
                {"tasks": list(one.fitted.tasks), "settings": dict(one.settings)} for one in model.estimators
            ],
            "preparation": model.problem.preparation.to_dict(),
        },
    )


def load_model(folder: str | Path, *, candidate: str | Candidate | None = None) -> StoredModel:
    """Load the model of a run.

    Args:
        folder: what ``taskloom fit`` has written, or the folder of a comparison.
        candidate: which candidate of a comparison; default the best one. A candidate that is not in the catalogue is
            given as the object.

    Raises:
        StudyError: no such folder or candidate, or a damaged file.

    Example:
        >>> import taskloom as tl
        >>> x = np.random.default_rng(0).normal(size=(60, 2))
        >>> y = x.sum(axis=1) + np.random.default_rng(1).normal(size=60)
        >>> data = tl.MultiTaskData.from_arrays(x, {"a": y}, {"a": tl.Regression()})
        >>> results = tl.compare(data, candidates=["linear"], seeds=1, budget=1, out="run", progress=False)
        >>> load_model("run", candidate="linear").predict(data)["a"].shape
        (60,)
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise StudyError(f"the folder {folder} does not exist; give the folder of a run that taskloom has written")
    name = candidate.name if isinstance(candidate, Candidate) else candidate
    if not (folder / _DESCRIPTION).exists():
        folder = folder / "checkpoints" / _which(folder, name)
    description = read_json(folder / _DESCRIPTION)
    known = {one.name: one for one in catalogue()}
    if isinstance(candidate, Candidate):
        known[candidate.name] = candidate
    if description["candidate"] not in known:
        raise StudyError(
            f"the model in {folder} is of the candidate {description['candidate']!r}, which is not in the catalogue; "
            "give the Candidate object with candidate="
        )
    preparation = Preparation.from_dict(description["preparation"])
    own = () if candidate is None or isinstance(candidate, str) else (f"{type(candidate.plan).__module__}.",)
    estimators = read_estimators(folder / _ESTIMATORS, own=own) if description.get("estimators") else ()
    networks = _networks(folder, description, known[description["candidate"]], preparation)
    return StoredModel(description["candidate"], preparation, networks, estimators)


def _networks(
    folder: Path, description: Mapping[str, Any], candidate: Candidate, preparation: Preparation
) -> tuple[MultiTaskModel, ...]:
    """The networks of a description, built again."""
    if not description["networks"]:
        return ()
    plan = candidate.plan
    if not isinstance(plan, NetworkPlan):
        raise StudyError(
            f"the plan of the candidate {candidate.name!r} has no method build(shape), with which its stored network "
            "could be built again; add one"
        )
    tasks = {task.name: task for task in preparation.schema.tasks}
    arrays = read_arrays(folder / _WEIGHTS)
    networks = []
    for place, network in enumerate(description["networks"]):
        own = tuple(tasks[one] for one in network["tasks"])
        model = plan.build(Shape(own, description["n_inputs"], network["settings"]))
        if network.get("structure") is not None:
            model = model.with_structure(network["structure"])
        state = {
            key.removeprefix(f"{place}/"): torch.from_numpy(array)
            for key, array in arrays.items()
            if key.startswith(f"{place}/")
        }
        model.load_state_dict(state)
        networks.append(model.eval())
    return tuple(networks)


def _which(folder: Path, name: str | None) -> str:
    """Name of the stored candidate that is meant."""
    stored = sorted(path.parent.name for path in (folder / "checkpoints").glob(f"*/{_DESCRIPTION}"))
    if not stored:
        raise StudyError(f"{folder} holds no stored model; give the folder of a finished run")
    if name is not None:
        if name not in stored:
            raise StudyError(f"{folder} holds no model of the candidate {name!r}; it has {stored}")
        return name
    results = Results.load(folder)
    return min(stored, key=results.validation_score)
