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


def test_two_tasks_of_ordinary_layers_take_one_ordinary_pass_each(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(300, 300), nn.ReLU(), nn.Linear(300, 300)).double()
    heads = nn.ModuleList(nn.Linear(300, 1) for _ in range(2)).double()
    inputs = torch.randn(200, 300, dtype=torch.float64)

    def losses(n_tasks: int = 2) -> dict[str, Tensor]:
        z = trunk(inputs)
        return {f"t{k}": (heads[k % 2](z) - k).square().mean() for k in range(n_tasks)}

    parameters, given, engine = list(trunk.parameters()), list(losses().values()), LayerEngine()
    engine.rows(given, parameters)  # the first step looks for rows with few labels
    assert explain_cost(trunk, losses(), engine=engine).passes == "one ordinary backward pass per task"
    assert explain_cost(trunk, losses(3), engine=engine).passes.startswith("heads first")
    asked, grad = [], torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **named: asked.append(a) or grad(*a, **named))
    rows = engine.rows(given, parameters)
    assert len(asked) == 2
    monkeypatch.undo()
    expected = torch.stack(
        [torch.cat([g.flatten() for g in grad(one, parameters, retain_graph=True)]) for one in given]
    )
    torch.testing.assert_close(rows.matrix(), expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(rows.gramian(), expected @ expected.T, rtol=1e-12, atol=1e-14)
    of_heads = rows.of_heads(torch.tensor([2.0, 3.0]))
    wanted = grad(2 * given[0] + 3 * given[1], list(heads.parameters()))
    for leaf, gradient in zip(heads.parameters(), wanted, strict=True):
        torch.testing.assert_close(of_heads[id(leaf)], gradient, rtol=1e-12, atol=1e-14)
