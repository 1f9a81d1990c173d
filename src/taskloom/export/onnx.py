"""A model as an ONNX file, checked against the model that was given."""

from __future__ import annotations

import importlib.util
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from taskloom.errors import ExportError
from taskloom.export._view import export_view
from taskloom.nn.model import MultiTaskModel
from taskloom.task import slugs

__all__ = ["export_onnx"]

_NEEDED = ("onnx", "onnxscript", "onnxruntime")


def export_onnx(
    model: MultiTaskModel,
    path: str | Path,
    *,
    example: Tensor,
    tasks: Sequence[str] | None = None,
    tolerance: float = 1e-4,
) -> dict[str, float]:
    """Write some tasks of a model as an ONNX file, run that file, and compare its outputs with the model's.

    The first axis of the input (rows) is left open; the outputs are called by the slugs of the tasks. Nothing is
    written when the file's outputs differ from the model's.

    Args:
        model: the trained network; it is not changed.
        path: the file, usually ``*.onnx``; its folder is created.
        example: an input, (n, ...) with n of 2 or more; rows of it are also used for the check.
        tasks: names of the tasks, in the order of the outputs; default all.
        tolerance: largest difference allowed, relative to 1 + the largest output; default 1e-4, room for the other
            order of additions in float32.

    Returns:
        task -> largest relative difference that was found.

    Raises:
        ExportError: the packages of the extra ``onnx`` are missing, the network cannot be expressed in ONNX, the
            outputs differ, or the file cannot be written.
        TaskError: an unknown task.

    Cost:
        one tracing, four forward passes.

    Source:
        the ONNX standard; written by torch's own exporter and run by onnxruntime.

    Example:
        >>> import pytest, tempfile
        >>> for package in ("onnxscript", "onnxruntime"):
        ...     _ = pytest.importorskip(package)
        >>> from taskloom.nn import MLP, HardSharing
        >>> from taskloom.task import Regression, Task
        >>> model = HardSharing(MLP(3), [Task(name=name, kind=Regression()) for name in "ab"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     differences = export_onnx(model, f"{folder}/model.onnx", example=torch.randn(4, 3))
        >>> sorted(differences)
        ['a', 'b']
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ExportError(f"ONNX files need {', '.join(missing)}; install taskloom with the extra onnx: taskloom[onnx]")
    if not isinstance(example, Tensor) or example.ndim < 1 or len(example) < 2:
        found = tuple(example.shape) if isinstance(example, Tensor) else type(example).__name__
        raise ExportError(f"example: found {found}; expected a tensor (n, ...) with n of 2 rows or more")
    view = export_view(model, tasks).to(example.device)
    names = list(view.tasks)  # type: ignore[arg-type]
    path = Path(path)
    draft = path.with_name(f".{path.name}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(view, draft, example, names)
        differences = _differences(view, draft, example, names)
        wrong = {name: value for name, value in differences.items() if not value <= tolerance}
        if wrong:
            raise ExportError(
                f"the ONNX file's outputs differ from the model's by {wrong} relative to their size, more than "
                f"tolerance={tolerance:g}; nothing was written. If that is enough for you, pass a larger tolerance="
            )
        draft.replace(path)
    except OSError as error:
        raise ExportError(f"{path} cannot be written ({error.strerror}); give a path that can be written") from error
    finally:
        draft.unlink(missing_ok=True)
    return differences


def _write(view: nn.Module, path: Path, example: Tensor, names: Sequence[str]) -> None:
    try:
        with _quiet(), torch.no_grad():
            torch.onnx.export(
                view,
                (example,),
                str(path),
                input_names=["inputs"],
                output_names=list(slugs(names)),
                dynamic_shapes=({0: torch.export.Dim("rows")},),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except OSError:
        raise
    except Exception as error:  # torch raises many kinds here
        raise ExportError(
            f"the network of {list(names)} cannot be expressed in ONNX: {_reason(error)}. Export tasks one by one, or "
            "replace the operation that is named"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the packages say of their own work."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _reason(error: BaseException) -> str:
    """First line of the first of several errors, which says what could not be expressed; without colours."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    return next((line.strip().rstrip(".") for line in text.splitlines() if line.strip()), type(error).__name__)


def _differences(view: nn.Module, path: Path, example: Tensor, names: Sequence[str]) -> dict[str, float]:
    """Largest relative difference per task on the example and on its first row alone."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    found = dict.fromkeys(names, 0.0)
    for rows in (example, example[:1]):
        with torch.no_grad():
            expected = [output.detach().cpu().numpy() for output in view(rows)]
        try:
            outputs: list[Any] = session.run(None, {entry.name: rows.detach().cpu().numpy()})
        except Exception as error:  # onnxruntime has kinds of its own, without a common base
            raise ExportError(
                f"the ONNX file of {list(names)} was written but does not run on {len(rows)} rows: {_reason(error)}. "
                "A number of rows is fixed in it: use tensor.shape[0] in the network where it has len(tensor)"
            ) from error
        for name, output, wanted in zip(names, outputs, expected, strict=True):
            scale = 1.0 + float(np.abs(wanted).max(initial=0.0))
            difference = float(np.abs(output - wanted).max(initial=0.0)) if output.shape == wanted.shape else np.inf
            found[name] = max(found[name], difference / scale)
    return found
