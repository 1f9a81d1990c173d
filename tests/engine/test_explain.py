"""explain_cost(): every parameter, its rule, and why it has none."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.engine.layer_networks import CASES, heads_for, masked_losses
from torch import Tensor, nn

import taskloom as tl
from taskloom.engine.explain import explain_cost
from taskloom.engine.layers.engine import LayerEngine
from taskloom.errors import EngineError


def losses_of(trunk: nn.Module, inputs: Tensor, width: int) -> dict[str, Tensor]:
    found = masked_losses(heads_for(width), [trunk(inputs)] * 4, has_absent=False)
    return dict(zip("abcd", found, strict=True))


@pytest.mark.parametrize("name", CASES)
def test_every_parameter_is_named_once(name: str) -> None:
    torch.manual_seed(0)
    case = CASES[name]
    trunk = case.make().double()
    engine = LayerEngine(batching="always")
    table = explain_cost(trunk, losses_of(trunk, case.inputs(), case.width), engine=engine)
    listed = [parameter for layer in table.layers for parameter in layer.parameters]
    expected = [key for key, parameter in trunk.named_parameters() if parameter.requires_grad]
    assert sorted(listed) == sorted(expected)
    for layer in table.layers:
        assert bool(layer.reason) == (layer.rule in ("parameter", "unused"))
    text = str(table)
    assert all(layer.reason in text for layer in table.layers)
    assert table.bytes == sum(layer.bytes for layer in table.layers)
    assert table.operations > 0


def reasons(name: str) -> dict[str, str]:
    torch.manual_seed(0)
    case = CASES[name]
    trunk = case.make().double()
    table = explain_cost(trunk, losses_of(trunk, case.inputs(), case.width), engine=LayerEngine(batching="always"))
    return {parameter: layer.reason for layer in table.layers for parameter in layer.parameters}


@pytest.mark.parametrize(
    ("name", "parameter", "reason"),
    [
        ("tied embedding", "table.weight", "tied"),
        ("bias used functionally", "layer.bias", "used by Mul"),
        ("checkpoint", "b.0.weight", "checkpointing"),
        ("keyword and weight norm", "w.parametrizations.weight.original0", "WeightNorm"),
        ("hook on a parameter", "a.weight", "hook"),
        ("unused parameters", "b.weight", "no loss reaches it"),
        ("by hand", "s", "scaled product"),
        ("by hand", "both", "transposed"),
        ("convolutions", "net.5.weight", "transposed convolution"),
        ("odd embeddings", "b.weight", "frequency"),
        ("normalised images", "net.1.weight", "BatchNorm"),
        ("mlp", "0.weight", ""),
        ("transformer", "layer.self_attn.in_proj_weight", ""),
    ],
)
def test_reasons(name: str, parameter: str, reason: str) -> None:
    found = reasons(name)[parameter]
    assert reason in found
    assert bool(reason) == bool(found)


def test_passes_and_rules_are_those_of_the_engine() -> None:
    torch.manual_seed(0)
    wide = nn.Linear(600, 600)
    heads = nn.ModuleList(nn.Linear(600, 1) for _ in range(4))
    z = wide(torch.randn(16, 600))
    losses = {name: head(z).square().mean() for name, head in zip("abcd", heads, strict=True)}
    table = explain_cost(wide, losses)
    assert table.layers[0].rule == "ghost"
    assert table.passes.startswith("heads first, then 4 tasks at a time")
    assert explain_cost(wide, losses, engine=LayerEngine("form")).layers[0].rule == "form"
    assert explain_cost(wide, losses, engine=LayerEngine(batching="never")).passes.startswith("heads first, then one")
    parts = wide(torch.randn(16, 600)).split([3, 3, 3, 7])
    own = {name: head(part).square().mean() for name, head, part in zip("abcd", heads, parts, strict=True)}
    assert "one pass for all" in explain_cost(wide, own).passes
    torch.stack(list(losses.values())).sum().backward()  # the graph is still there


def test_a_model_names_its_shared_parameters() -> None:
    tasks = [tl.Task(name=name, kind=tl.Regression()) for name in ("a", "b")]
    model = tl.HardSharing(tl.MLP(3, hidden=(4,)), tasks)
    losses = {task: output.mean() for task, output in model(torch.randn(5, 3)).items()}
    table = explain_cost(model, losses)
    assert {name for layer in table.layers for name in layer.parameters} == {"encoder.0.0.weight", "encoder.0.0.bias"}
    assert table.tasks == ("a", "b")


def test_what_is_no_module_is_refused() -> None:
    layer = nn.Linear(2, 2)
    given: Any = list(layer.parameters())
    with pytest.raises(EngineError, match="names parameters and needs the module"):
        explain_cost(given, {"a": layer(torch.ones(1, 2)).sum()})
