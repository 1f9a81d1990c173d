"""Stored networks: weights as safetensors, everything else as JSON; loading needs no pickle."""

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
from taskloom.study.candidate import Candidate, Learned
from taskloom.study.catalogue import catalogue
from taskloom.study.collect import Chosen, arrays_of
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


_WEIGHTS, _DESCRIPTION = "model.safetensors", "model.json"


@dataclass(frozen=True, eq=False)
class StoredModel:
    """Networks that answer the tasks of a data set, with the preparation that they were trained under.

    Attributes:
        candidate: name of the candidate.
        preparation: how inputs are prepared and predictions are put back into the user's units.
        networks: the networks, each with the tasks that it answers.

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
        by_name = {task.name: (position, task) for position, task in enumerate(self.tasks)}
        predictions: dict[str, np.ndarray] = {}
        for network in self.networks:
            for name in network.tasks:
                position, task = by_name[name]
                own = np.arange(len(rows)) if data.task_ids is None else np.flatnonzero(data.task_ids == position)
                with torch.no_grad():
                    outputs = network(rows[torch.from_numpy(own)], [name])[name].double().numpy()
                answer = self.preparation.restore(name, task.kind.predict(outputs))
                full = np.full((len(rows), *answer.shape[1:]), np.nan)
                full[own] = answer
                predictions[name] = full
        return {task.name: predictions[task.name] for task in self.tasks if task.name in predictions}


def store_learned(
    learned: Sequence[Learned], *, candidate: Candidate, settings: Settings, problem: Problem, folder: Path
) -> None:
    """Store the networks that one candidate has learned under one setting.

    Raises:
        ExportError: the candidate has no networks.
    """
    pieces = []
    for one in learned:
        if one.fit is None:
            raise ExportError(f"the candidate {candidate.name!r} is no network; only networks can be stored")
        state = {name: value.numpy() for name, value in one.fit.state.items()}
        pieces.append(_Piece(one.tasks, settings, state, one.fit.skeleton.structure()))
    _write(folder, candidate.name, problem, pieces)


def store_winners(
    winners: Sequence[Chosen], candidates: Sequence[Candidate], problems: Mapping[int, Problem], folder: RunFolder
) -> None:
    """Store the networks of every candidate: those of the seed with the best validation score."""
    for candidate in candidates:
        own = [one for one in winners if one.candidate == candidate.name]
        seeds = sorted({one.seed for one in own}, key=lambda seed: (_seed_score(own, seed), seed))
        best = [one for one in own if one.seed == seeds[0]]
        pieces = []
        for one, arrays in zip(best, arrays_of(best, folder.units), strict=True):
            state = {name.removeprefix("state/"): array for name, array in arrays.items() if name.startswith("state/")}
            if state:
                pieces.append(_Piece(one.tasks, one.settings, state, _structure(arrays)))
        if pieces and len(pieces) == len(best):  # not where another machine holds some of them
            _write(folder.checkpoints / candidate.name, candidate.name, problems[seeds[0]], pieces)


def _seed_score(own: Sequence[Chosen], seed: int) -> float:
    return float(np.mean([one.score for one in own if one.seed == seed]))


@dataclass(frozen=True)
class _Piece:
    """One network: the tasks it answers, its settings and weights, and the structure that it has learned, if any."""

    tasks: tuple[str, ...]
    settings: Mapping[str, Any]
    state: Mapping[str, np.ndarray]
    structure: Any


def _structure(arrays: Mapping[str, np.ndarray]) -> Any:
    return json.loads(bytes(arrays["structure"])) if "structure" in arrays else None


def _write(folder: Path, candidate: str, problem: Problem, pieces: Sequence[_Piece]) -> None:
    arrays = {f"{place}/{name}": array for place, one in enumerate(pieces) for name, array in one.state.items()}
    write_arrays(folder / _WEIGHTS, arrays)
    write_json(
        folder / _DESCRIPTION,
        {
            "version": 1,
            "candidate": candidate,
            "seed": problem.seed,
            "n_inputs": problem.n_inputs,
            "networks": [
                {"tasks": list(one.tasks), "settings": dict(one.settings), "structure": one.structure} for one in pieces
            ],
            "preparation": problem.preparation.to_dict(),
        },
    )


def load_model(folder: str | Path, *, candidate: str | Candidate | None = None) -> StoredModel:
    """Load the networks of a run.

    Args:
        folder: what ``taskloom fit`` has written, or the folder of a comparison.
        candidate: which candidate of a comparison; default the best one that is a network. A candidate that is not in
            the catalogue is given as the object.

    Raises:
        StudyError: no such folder or candidate, or a damaged file.

    Example:
        >>> import taskloom as tl
        >>> x = np.random.default_rng(0).normal(size=(60, 2))
        >>> y = x.sum(axis=1) + np.random.default_rng(1).normal(size=60)
        >>> data = tl.MultiTaskData.from_arrays(x, {"a": y}, {"a": tl.Regression()})
        >>> results = tl.compare(data, candidates=["linear"], seeds=1, budget=1, out="run", progress=False)
        >>> load_model("run").candidate
        'single_task'
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
    plan = known[description["candidate"]].plan
    if not isinstance(plan, NetworkPlan):
        raise StudyError(
            f"the plan of the candidate {description['candidate']!r} has no method build(shape), with which its stored "
            "network could be built again; add one"
        )
    preparation = Preparation.from_dict(description["preparation"])
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
    return StoredModel(description["candidate"], preparation, tuple(networks))


def _which(folder: Path, name: str | None) -> str:
    """Name of the stored candidate that is meant."""
    stored = sorted(path.parent.name for path in (folder / "checkpoints").glob(f"*/{_DESCRIPTION}"))
    if not stored:
        raise StudyError(f"{folder} holds no stored network; give the folder of a finished run")
    if name is not None:
        if name not in stored:
            raise StudyError(f"{folder} holds no network of the candidate {name!r}; it has {stored}")
        return name
    results = Results.load(folder)
    return min(stored, key=results.validation_score)
