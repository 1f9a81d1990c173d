"""Every architecture as ONNX files: all tasks in one file and a task alone, with the model's own answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from taskloom.export import export_onnx
from taskloom.testing.small_models import SmallModel, small_models

SMALL = small_models()
# an export takes a second or two: variants of one class, and networks of one task that are modules one behind the
# other, only with --slow
VARIANTS = {small.name for small in SMALL if " " in small.name} - {"ModSquad, derived", "SharingGraph, derived"}
WHOLE = {small.name for small in SMALL} - VARIANTS - {"ModSquad", "SharingGraph"}
ALONE = {"AdaShare, derived", "CrossStitch", "LoRA", "PLE", "TaskRouting", "TensorFactorised"}


@pytest.fixture(autouse=True)
def _runtime() -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason="the extra onnx is not installed")


def check(small: SmallModel, folder: Path, tasks: list[str] | None) -> None:
    """``export_onnx`` itself compares the file's answers with the model's, on all rows and on one."""
    model = small.build().derive().eval()
    found = export_onnx(model, folder / "model.onnx", example=small.inputs, tasks=tasks, tolerance=1e-5)
    assert list(found) == (list(model.tasks) if tasks is None else tasks)


def cases(quick: set[str]) -> list[Any]:
    return [pytest.param(one, id=one.name, marks=() if one.name in quick else (pytest.mark.slow,)) for one in SMALL]


@pytest.mark.parametrize("small", cases(WHOLE))
def test_all_tasks_in_one_file(small: SmallModel, tmp_path: Path) -> None:
    check(small, tmp_path, None)


@pytest.mark.parametrize("small", cases(ALONE))
def test_a_task_alone(small: SmallModel, tmp_path: Path) -> None:
    check(small, tmp_path, [small.build().tasks[-1]])


def test_the_names_are_those_of_small_models() -> None:
    assert {small.name for small in SMALL} >= ALONE | WHOLE
    classes = {type(small.build().derive()).__name__ for small in SMALL}
    assert {type(small.build().derive()).__name__ for small in SMALL if small.name in WHOLE} == classes
