"""Networks as ONNX files: equal outputs, open number of rows, clear errors."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from torch import nn

from taskloom.errors import ExportError
from taskloom.export import export_onnx
from taskloom.nn import MLP, HardSharing
from taskloom.task import Multiclass, Regression, Task

TASKS = [Task(name="높이/a b", kind=Regression()), Task(name="class", kind=Multiclass(3))]


@pytest.fixture
def runtime():
    for name in ("onnx", "onnxscript"):
        pytest.importorskip(name, reason="the extra onnx is not installed")
    return pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")


def network(encoder: nn.Module | None = None) -> HardSharing:
    torch.manual_seed(0)
    return HardSharing(encoder if encoder is not None else MLP(4, (5,)), TASKS, example=torch.zeros(2, 4))


def test_the_file_answers_as_the_model(runtime, tmp_path):
    model = network()
    path = tmp_path / "deep" / "model.onnx"
    differences = export_onnx(model, path, example=torch.randn(4, 4))
    assert list(differences) == list(model.tasks)
    assert max(differences.values()) < 1e-6
    session = runtime.InferenceSession(str(path))
    assert [output.name for output in session.get_outputs()][1] == "class"
    inputs = torch.randn(9, 4)  # another number of rows
    found = session.run(None, {"inputs": inputs.numpy()})
    for output, expected in zip(found, model.eval()(inputs).values(), strict=True):
        np.testing.assert_allclose(output, expected.detach().numpy(), atol=1e-6)
    assert [file.name for file in path.parent.iterdir()] == ["model.onnx"]


def test_a_file_that_differs_is_not_written(runtime, tmp_path):
    with pytest.raises(ExportError, match=r"more than tolerance=-1; nothing was written"):
        export_onnx(network(), tmp_path / "model.onnx", example=torch.randn(4, 4), tolerance=-1.0)
    assert not list(tmp_path.iterdir())


class Unusual(nn.Module):
    """Decides by the values it sees, which no file can express."""

    def forward(self, inputs):
        return inputs if inputs.sum().item() > 0 else -inputs


def test_what_cannot_be_expressed_is_said(runtime, tmp_path):
    with pytest.raises(ExportError, match="cannot be expressed in ONNX"):
        export_onnx(network(Unusual()), tmp_path / "model.onnx", example=torch.randn(4, 4))


@pytest.mark.parametrize("example", [torch.zeros(1, 4), "text"])
def test_bad_examples(runtime, tmp_path, example):
    with pytest.raises(ExportError, match="example: found"):
        export_onnx(network(), tmp_path / "model.onnx", example=example)


def test_missing_packages_are_named(monkeypatch, tmp_path):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name))
    with pytest.raises(ExportError, match=r"need .*onnxscript.*taskloom\[onnx\]"):
        export_onnx(network(), tmp_path / "model.onnx", example=torch.zeros(2, 4))
