"""Every architecture under ``torch.compile``: one graph and equal answers; those listed as several graphs are that."""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from taskloom import nn as networks
from taskloom.nn import HardSharing, MultiTaskModel, fork, gates
from taskloom.task import Regression, Task
from taskloom.testing.small_models import SmallModel, small_models

SMALL = small_models()
PAGE = Path(__file__).parents[2] / "docs" / "architectures.rst"


def in_several_graphs() -> set[str]:
    """Names that the page says break into several graphs."""
    text = PAGE.read_text(encoding="utf-8").partition(".. compiled in several graphs")[2].partition("..\n")[0]
    return set(re.findall(r"~taskloom\.(?:nn\.)?(\w+)", text))


SEVERAL = in_several_graphs()


@pytest.fixture(autouse=True)
def _no_graphs() -> Iterator[None]:
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about itself
        yield
    torch._dynamo.reset()


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], **tolerance: float) -> None:
    assert list(found) == list(expected)
    for task in expected:
        torch.testing.assert_close(found[task], expected[task], **(tolerance or {"rtol": 0, "atol": 0}))


def test_every_architecture_has_a_small_model() -> None:
    built = {type(small.build()).__name__ for small in SMALL}
    public = [getattr(networks, name) for name in networks.__all__]
    architectures = {one.__name__ for one in public if isinstance(one, type) and issubclass(one, MultiTaskModel)}
    assert architectures - {"MultiTaskModel", "Deferred"} <= built


@pytest.mark.parametrize("small", SMALL, ids=str)
def test_evaluation_is_one_graph(small: SmallModel) -> None:
    model = small.build().eval()
    expected = model(small.inputs)
    compiled = torch.compile(model, backend="eager", fullgraph=small.name not in SEVERAL)
    assert_same(compiled(small.inputs), expected)


@pytest.mark.parametrize("name", sorted(SEVERAL))
def test_what_is_listed_is_no_one_graph(name: str) -> None:
    small = next(small for small in SMALL if small.name == name)
    with pytest.raises(Exception, match=r"tolist|data-dependent"):
        torch.compile(small.build().eval(), backend="eager", fullgraph=True)(small.inputs)
    derived = small.build().derive().eval()
    compiled = torch.compile(derived, backend="eager", fullgraph=True)
    assert_same(compiled(small.inputs), derived(small.inputs))


@pytest.mark.parametrize(
    "name", ["AdaShare", "CrossStitch", "HardSharing", "LoRA", "MTAN", "ModSquad", "PLE", "Sluice"]
)
def test_training_is_one_graph(name: str) -> None:
    small = next(small for small in SMALL if small.name == name)
    model, other = small.build(), small.build()
    torch.manual_seed(0)
    expected = model(small.inputs)
    torch.manual_seed(0)
    found = torch.compile(other, backend="aot_eager", fullgraph=True)(small.inputs)
    assert_same(found, expected, rtol=1e-5, atol=1e-6)
    for outputs in (expected, found):
        sum(output.square().sum() for output in outputs.values()).backward()
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert (one.grad is None) == (two.grad is None)
        if one.grad is not None:
            torch.testing.assert_close(two.grad, one.grad, rtol=1e-4, atol=1e-6)


def test_compiled_to_machine_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        pytest.skip("torch's inductor writes C++, and there is no C++ compiler here")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    small = next(small for small in SMALL if small.name == "MMoE")
    model = small.build().eval()
    with torch.no_grad():
        assert_same(torch.compile(model, fullgraph=True)(small.inputs), model(small.inputs), rtol=1e-5, atol=1e-6)


def test_gates_count_in_a_compiled_model() -> None:
    """A graph made while no gates were open is not used inside them."""
    tasks = [Task(name=name, kind=Regression()) for name in "ab"]
    torch.manual_seed(0)
    model = HardSharing(networks.MLP(4, (5,)), tasks)
    inputs = torch.randn(6, 4)
    compiled = torch.compile(model, backend="eager")
    compiled(inputs)
    weighted = {}
    for name, call in {"plain": model, "compiled": compiled}.items():
        with gates(model) as opened:
            outputs = call(inputs)
        opened.set({"a": 10.0, "b": 0.5})
        total = sum(output.square().mean() for output in outputs.values())
        weighted[name] = torch.autograd.grad(total, list(model.parameters()))
    for found, expected in zip(weighted["compiled"], weighted["plain"], strict=True):
        torch.testing.assert_close(found, expected)
    assert torch.equal(fork(inputs, "a"), inputs)
