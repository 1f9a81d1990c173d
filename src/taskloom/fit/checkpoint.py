"""What a finished training stores: weights as safetensors, history as JSON; loading needs no pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file, save_file
from torch import Tensor

from taskloom.data.prepare import Preparation
from taskloom.errors import EngineError, ExportError
from taskloom.fit.result import FitResult, History
from taskloom.nn.model import MultiTaskModel

__all__ = ["claim_folder", "load", "save"]

_WEIGHTS, _BALANCER, _DESCRIPTION = "model.safetensors", "balancer.safetensors", "fit.json"
_CLAIM = "training.sha256"


def save(result: FitResult, folder: str | Path) -> None:
    """Write the best weights, the balancer's state, the history and the preparation of a training.

    Args:
        result: what :func:`taskloom.fit` returned.
        folder: where; it is created.

    Raises:
        ExportError: the folder cannot be written.

    Example:
        >>> import taskloom as tl, tempfile
        >>> x = np.random.default_rng(0).normal(size=(60, 2))
        >>> data = tl.MultiTaskData.from_arrays(x, {"a": x[:, 0] + x[:, 1]}, [tl.Task(name="a", kind=tl.Regression())])
        >>> result = tl.fit(tl.MLP(2, hidden=(4,)), data, schedule=tl.Schedule(max_epochs=1))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(result, folder)
        ...     sorted(path.name for path in Path(folder).iterdir())
        ['balancer.safetensors', 'fit.json', 'model.safetensors']
    """
    folder = Path(folder)
    history = result.history
    description: dict[str, Any] = {
        "version": 1,
        "tasks": list(history.tasks),
        "best_epoch": result.best_epoch,
        "steps": result.steps,
        "seconds": result.seconds,
        "measured": list(history.measured),
        "structure": result.skeleton.structure(),
        "preparation": result.preparation.to_dict() if result.preparation is not None else None,
    }
    for name in ("train_loss", "validation_loss", "weights", "score", "gramians"):
        description[name] = _as_lists(getattr(history, name))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: value.contiguous() for name, value in result.state.items()}, folder / _WEIGHTS)
        own = {name: value.contiguous() for name, value in result.balancer_state.items()}
        if own:
            save_file(own, folder / _BALANCER)
        (folder / _DESCRIPTION).write_text(json.dumps(description) + "\n", encoding="utf-8")
    except OSError as error:
        raise ExportError(
            f"the folder {folder} cannot be written ({error.strerror}); give a folder that can be written"
        ) from error


def claim_folder(folder: Path, settings: Sequence[str]) -> None:
    """Note in a folder of checkpoints which training they are of, or raise if they are of another one.

    Args:
        folder: the folder; it is created.
        settings: texts that two calls have in common when the second may go on where the first was.

    Raises:
        EngineError: the folder has checkpoints of another training.
        ExportError: the folder cannot be written.
    """
    digest = hashlib.sha256(json.dumps(list(settings)).encode()).hexdigest()
    note = folder / _CLAIM
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if note.exists() and note.read_text(encoding="utf-8").strip() != digest:
            raise EngineError(
                f"{folder} holds the checkpoints of another training (another model, balancer, optimiser, batch size, "
                "seed or data); give another folder, or delete this one"
            )
        note.write_text(digest + "\n", encoding="utf-8")
    except OSError as error:
        raise ExportError(
            f"the folder {folder} cannot be written ({error.strerror}); give a folder that can be written"
        ) from error


def load(folder: str | Path, model: MultiTaskModel) -> FitResult:
    """Read what :func:`save` has written into a network of the same structure.

    Args:
        folder: the folder.
        model: a network built as the trained one was; its weights are not changed.

    Returns:
        the result, whose ``.model`` has the stored weights.

    Raises:
        ExportError: files are missing, or the network has another structure or other tasks.

    Example:
        >>> import taskloom as tl, tempfile
        >>> tasks = [tl.Task(name="a", kind=tl.Regression())]
        >>> x = np.random.default_rng(0).normal(size=(60, 2))
        >>> data = tl.MultiTaskData.from_arrays(x, {"a": x[:, 0] + x[:, 1]}, tasks=tasks)
        >>> model = tl.HardSharing(tl.nn.MLP(2, hidden=(4,)), tasks)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result = tl.fit(model, data, schedule=tl.Schedule(max_epochs=1), out=folder)
        ...     again = load(folder, model)
        >>> again.validation_score == result.validation_score
        True
    """
    folder = Path(folder)
    try:
        description = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
        state: dict[str, Tensor] = load_file(folder / _WEIGHTS)
    except (OSError, ValueError) as error:
        raise ExportError(f"{folder} holds no training that can be read ({error}); give what tl.fit wrote") from error
    if description.get("structure") is not None:
        model = model.with_structure(description["structure"])
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in state.items()}
    if expected != found or list(model.tasks) != description["tasks"]:
        differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise ExportError(
            f"the network in {folder} has the tasks {description['tasks']} and differs in {differing[:5]}; build the "
            "model as it was built for training"
        )
    arrays = {name: _as_array(description[name]) for name in ("train_loss", "validation_loss", "weights", "score")}
    n_tasks = len(description["tasks"])
    history = History(
        tasks=tuple(description["tasks"]),
        measured=tuple(description["measured"]),
        gramians=_as_array(description["gramians"]).reshape(-1, n_tasks, n_tasks),
        **arrays,
    )
    own = load_file(folder / _BALANCER) if (folder / _BALANCER).exists() else {}
    stored = description["preparation"]
    return FitResult(
        skeleton=model,
        state=state,
        history=history,
        best_epoch=int(description["best_epoch"]),
        steps=int(description["steps"]),
        seconds=float(description["seconds"]),
        balancer_state=own,
        preparation=Preparation.from_dict(stored) if stored is not None else None,
    )


def _as_lists(array: np.ndarray) -> Any:
    """Nested lists with None for NaN, which JSON does not know."""
    known = np.isfinite(array)
    lists = array.astype(object)
    lists[~known] = None
    return lists.tolist()


def _as_array(lists: Any) -> np.ndarray:
    return np.asarray(lists, dtype=np.float64)
