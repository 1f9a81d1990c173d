"""Batches in which rows belong to tasks: one batch per task, few labels per row, heads computed together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.engine.test_layers_exact import assert_exact
from torch import Tensor, nn

import taskloom as tl
from taskloom.engine.layers.engine import LayerEngine
from taskloom.engine.layers.graph import Graph
from taskloom.engine.layers.linear import LinearForm, LinearRowGhost
from taskloom.losses import task_losses

SIZES = [5, 1, 7, 4]


def trunk_of(kind: str) -> nn.Module:
    made: dict[str, Callable[[], nn.Module]] = {
        "mlp": lambda: nn.Sequential(nn.Linear(7, 40), nn.ReLU(), nn.Dropout(0.3), nn.Linear(40, 9, bias=False)),
        "narrow": lambda: nn.Sequential(nn.Linear(7, 3), nn.Tanh(), nn.Linear(3, 9)),
        "layer norm": lambda: nn.Sequential(nn.Linear(7, 9), nn.LayerNorm(9), nn.Linear(9, 9)),
        "batch norm": lambda: nn.Sequential(nn.Linear(7, 9), nn.BatchNorm1d(9), nn.Linear(9, 9)),
        "images": lambda: nn.Sequential(
            nn.Unflatten(1, (1, 7)), nn.Conv1d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(15, 9)
        ),
        "couples rows": _Couples,
        "turned": _Turned,
    }
    return made[kind]().double()


class _Couples(nn.Module):
    """Rows look at each other, in one way after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(7, 9), nn.Linear(9, 9)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.a(x))
        h = h + (h @ h.T).softmax(0) @ h
        h = h.cumsum(0) - h.mean(0) + h.flip(0).roll(1, 0)
        return self.b(h)


class _Turned(nn.Module):
    """Rows stand in the second axis for a while, and several stand in one."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(7, 6), nn.Linear(3, 5), nn.Linear(10, 9)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x).unflatten(1, (2, 3)).transpose(0, 1).contiguous().transpose(0, 1)
        return self.c(torch.tanh(self.b(h)).flatten(1))


CUTS: dict[str, Callable[[Tensor], list[Tensor]]] = {
    "split": lambda z: list(z.split(SIZES)),
    "slices": lambda z: [z[0:5], z[5:6], z[6:13], z[-4:]],
    "narrow": lambda z: [z.narrow(0, 0, 5), z.narrow(0, 5, 1), z.narrow(0, 6, 7), z.narrow(0, 13, 4)],
    "some rows unused": lambda z: [z[1:4], z[5:6], z[6:9], z[13:]],
    "unbind": lambda z: [torch.stack(z.unbind(0)[:5]), z[5].unsqueeze(0), torch.cat([z[6:9], z[9:13]]), z[13:]],
    "index": lambda z: [z[torch.arange(17) % 4 == task] for task in range(4)],
    "steps": lambda z: [z[task::4] for task in range(4)],
    "overlapping": lambda z: [z[:6], z[5:8], z[6:13], z[13:]],
}
ENGINES: dict[str, dict[str, Any]] = {
    "auto": {},
    "form": {"rule": "form"},
    "ghost": {"rule": "ghost"},
    "ghost, together": {"rule": "ghost", "batching": "always"},
    "no rules": {"rule": "parameters"},
}


@pytest.mark.parametrize("options", ENGINES)
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("kind", ["mlp", "narrow", "layer norm", "batch norm", "images", "couples rows", "turned"])
def test_one_batch_per_task(kind: str, cut: str, options: str) -> None:
    torch.manual_seed(0)
    trunk = trunk_of(kind)
    heads = nn.ModuleList(nn.Linear(9, 2) for _ in SIZES).double()
    parts = CUTS[cut](trunk(torch.randn(sum(SIZES), 7, dtype=torch.float64)))
    losses = [head(part).square().mean() for head, part in zip(heads, parts, strict=True)]
    assert_exact(LayerEngine(**ENGINES[options]), losses, list(trunk.parameters()))


@pytest.mark.parametrize("cut", ["split", "slices", "narrow", "some rows unused", "unbind"])
@pytest.mark.parametrize("kind", ["mlp", "images"])
def test_one_pass_is_made_where_rows_stay_apart(kind: str, cut: str) -> None:
    trunk = trunk_of(kind)
    parts = CUTS[cut](trunk(torch.randn(sum(SIZES), 7, dtype=torch.float64)))
    parameters = list(trunk.parameters())
    plan = LayerEngine().plan(Graph([part.square().sum() for part in parts]), parameters)
    assert plan.course == "one pass"


@pytest.mark.parametrize("kind", ["batch norm", "couples rows", "turned"])
def test_no_single_pass_where_rows_mix(kind: str) -> None:
    trunk = trunk_of(kind)
    parts = trunk(torch.randn(sum(SIZES), 7, dtype=torch.float64)).split(SIZES)
    parameters = list(trunk.parameters())
    plan = LayerEngine().plan(Graph([part.square().sum() for part in parts]), parameters)
    assert plan.course == "task by task"
    shared = trunk(torch.randn(6, 7, dtype=torch.float64))
    plan = LayerEngine("form").plan(Graph([shared.square().sum(), shared.sum()]), parameters)
    assert plan.rows == 0


LABELS: dict[str, Callable[[int, int], Tensor]] = {  # (K, N)
    "one": lambda k, n: torch.arange(k)[:, None] == (torch.arange(n) * 7 + 3) % k,
    "sorted": lambda k, n: torch.arange(k)[:, None] == torch.arange(n) * k // n,
    "two": lambda k, n: (torch.arange(k)[:, None] - torch.arange(n)) % k < 2,
    "none in some rows": lambda k, n: torch.arange(k)[:, None] == torch.arange(n) % (k + 2),
    "uneven": lambda k, n: torch.rand(k, n, generator=torch.Generator().manual_seed(3)) < 0.2,
    "dense": lambda k, n: torch.ones(k, n, dtype=torch.bool),
    "a task without": lambda k, n: (torch.arange(k)[:, None] == torch.arange(n) % k) & (torch.arange(k)[:, None] > 0),
}


@pytest.mark.parametrize("options", ENGINES)
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("kind", ["mlp", "layer norm", "images", "couples rows", "turned"])
def test_few_labels(kind: str, labels: str, options: str) -> None:
    torch.manual_seed(0)
    trunk, n_tasks, n_rows = trunk_of(kind), 6, 24
    heads = nn.ModuleList(nn.Linear(9, 1) for _ in range(n_tasks)).double()
    mask = LABELS[labels](n_tasks, n_rows)
    z = trunk(torch.randn(n_rows, 7, dtype=torch.float64))
    losses = []
    for head, known in zip(heads, mask, strict=True):
        losses.append(torch.where(known, (head(z).squeeze(1) - 1).square(), 0.0).sum() / known.sum().clamp(min=1))
    engine = LayerEngine(**ENGINES[options])
    for _ in range(2):
        assert_exact(engine, losses, list(trunk.parameters()))


def test_as_many_passes_as_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    trunk = trunk_of("mlp")
    counted: list[int] = []
    original = LayerEngine._kind

    def counting(self: LayerEngine, *arguments: Any, **named: Any) -> Any:
        counted.append(int(named["by_row"]))
        return original(self, *arguments, **named)

    monkeypatch.setattr(LayerEngine, "_kind", counting)
    for labels, by_row in (("one", 1), ("two", 1), ("dense", 0)):
        mask = LABELS[labels](6, 24)
        z = trunk(torch.randn(24, 7, dtype=torch.float64))
        losses = [(z.square().sum(1) * known).sum() for known in mask]
        LayerEngine("ghost").rows(losses, list(trunk.parameters()))
        assert counted[-1] == by_row, labels


def test_dense_batches_are_looked_at_less_and_less_often() -> None:
    trunk = trunk_of("mlp")
    engine, looked = LayerEngine("form", "never"), []
    for step in range(40):
        z = trunk(torch.randn(6, 7, dtype=torch.float64))
        losses: list[Tensor | None] = [z.sum(), z.square().sum(), z.mean()]
        if engine.plan(Graph(losses), list(trunk.parameters())).rows:
            looked.append(step)
        engine.rows(losses, list(trunk.parameters()))
    assert looked == [0, 3, 8, 17, 34]


def test_embeddings_by_row() -> None:
    torch.manual_seed(0)
    table, layer = nn.Embedding(20, 5, padding_idx=3).double(), nn.Linear(5, 4).double()
    for rule in ("form", "ghost"):
        for index in (torch.randint(0, 20, (17,)), torch.randint(0, 20, (17, 6))):
            h = table(index)
            z = torch.tanh(layer(h if index.ndim == 1 else h.mean(1)))
            losses = [part.square().sum() for part in z.split(SIZES)]
            assert_exact(LayerEngine(rule), losses, [table.weight, *layer.parameters()])
            sparse = [(z.square().sum(1) * (torch.arange(17) % 4 == task)).sum() for task in range(4)]
            assert_exact(LayerEngine(rule), sparse, [table.weight, *layer.parameters()])


def test_a_network_called_once_per_task() -> None:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(7, 9), nn.BatchNorm1d(9), nn.Tanh(), nn.Conv1d(1, 2, 3), nn.Flatten()).double()
    trunk.insert(3, nn.Unflatten(1, (1, 9)))
    for rule in ("form", "ghost"):
        losses: list[Any] = [trunk(torch.randn(n, 7, dtype=torch.float64)).square().mean() for n in (4, 3, 6)]
        assert_exact(LayerEngine(rule), losses, list(trunk.parameters()))
        losses.append(losses[0] + trunk(torch.randn(2, 7, dtype=torch.float64)).sum())
        assert_exact(LayerEngine(rule), losses, list(trunk.parameters()))


@pytest.mark.parametrize("options", ENGINES)
def test_a_layer_for_all_rows_and_for_those_of_tasks(options: str) -> None:
    """One call that all tasks reach, one whose rows belong to tasks, one of a single task, one of nobody."""
    torch.manual_seed(0)
    layer, table = nn.Linear(7, 7).double(), nn.Embedding(9, 7).double()
    x = torch.tanh(layer(torch.randn(17, 7, dtype=torch.float64) + table(torch.randint(0, 9, (17,)))))
    parts = torch.tanh(layer(torch.randn(17, 7, dtype=torch.float64))).split(SIZES)
    alone = layer(table(torch.randint(0, 9, (5, 2)))).square().sum((1, 2))
    stacked = torch.stack([layer(torch.randn(3, 7, dtype=torch.float64)).sum(), alone.sum()])
    losses = [(part.sum() + 1) * x.square().mean() for part in parts]
    losses[1] = losses[1] + stacked[1]
    assert_exact(LayerEngine(**ENGINES[options]), losses, [*layer.parameters(), *table.parameters()])
    again = torch.tanh(layer(x))  # all tasks at once, after a call with few rows was met first
    losses = [loss + (again * k).sum() for k, loss in enumerate(losses)]
    assert_exact(LayerEngine(**ENGINES[options]), losses, [*layer.parameters(), *table.parameters()])


def test_parameters_with_rows_of_their_own() -> None:
    """A parameter added row by row has a gradient in the rows of each task; no rule knows it."""
    torch.manual_seed(0)
    layer, offsets = nn.Linear(7, 7).double(), nn.Parameter(torch.randn(17, 7, dtype=torch.float64))
    z = layer(torch.randn(17, 7, dtype=torch.float64) + offsets)
    for rule in ("form", "ghost"):
        losses = [part.square().sum() for part in z.split(SIZES)]
        assert_exact(LayerEngine(rule), losses, [*layer.parameters(), offsets])
        single = [torch.stack([one]).sum() for one in (z[:3].square().sum(), z[4])[:1]]
        assert_exact(LayerEngine(rule), [*single, z[0, 0], z[-1].sum()], [*layer.parameters(), offsets])


def test_one_pass_with_a_parameter_of_one_task() -> None:
    torch.manual_seed(0)
    layer, own = nn.Linear(7, 7).double(), nn.LayerNorm(7).double()
    parts = layer(torch.randn(17, 7, dtype=torch.float64)).split(SIZES)
    losses = [own(parts[0]).square().sum(), *(part.square().sum() for part in parts[1:])]
    parameters = [*layer.parameters(), own.bias]
    assert LayerEngine().plan(Graph(losses), parameters).course == "one pass"
    assert_exact(LayerEngine(), losses, parameters)


# -- heads computed together ------------------------------------------------------------------------------------------

TASKS = [tl.Task(name=f"t{k}", kind=tl.Regression()) for k in range(7)]


def model_of(head: str, n_tasks: int = 7) -> Any:
    heads = None
    if head == "tower":
        heads = {task.name: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 1)) for task in TASKS[:n_tasks]}
    return tl.HardSharing(tl.MLP(3, hidden=(8, 6)), TASKS[:n_tasks], heads=heads).double()


@pytest.mark.parametrize("options", ENGINES)
@pytest.mark.parametrize("n_tasks", [3, 7])
@pytest.mark.parametrize("head", ["linear", "tower"])
def test_models_of_the_library(head: str, n_tasks: int, options: str) -> None:
    torch.manual_seed(0)
    model = model_of(head, n_tasks)
    tasks = TASKS[:n_tasks]
    engine = LayerEngine(**ENGINES[options])
    shared = list(model.shared_parameters())
    outputs = model(torch.randn(9, 3, dtype=torch.float64))
    targets = {task.name: torch.randn(9, dtype=torch.float64) for task in tasks}
    mask = {task.name: torch.rand(9) < 0.5 for task in tasks}
    for known in (None, mask):
        losses, _ = task_losses(tasks, outputs, targets=targets, mask=known)
        assert_exact(engine, list(losses.unbind()), shared)
    assert_exact(engine, [output.square().mean() for output in outputs.values()], shared)
    several = model({task.name: torch.randn(3 + k, 3, dtype=torch.float64) for k, task in enumerate(tasks)})
    assert_exact(engine, [output.square().mean() for output in several.values()], shared)


@pytest.mark.parametrize("head", ["linear", "tower"])
def test_heads_computed_together_are_passed_once(head: str) -> None:
    model = model_of(head)
    losses = [output.square().mean() for output in model(torch.randn(9, 3, dtype=torch.float64)).values()]
    graph = Graph(losses)
    plan = LayerEngine("form").plan(graph, list(model.shared_parameters()))
    assert plan.frontier is not None
    assert plan.frontier.is_stacked
    for name, parameter in model.named_parameters():
        owner = graph.owner(graph.accumulators[id(parameter)])
        expected = -1 if name.startswith("encoder") else int(name.split(".")[1])
        assert owner == expected, name


def test_few_labels_behind_heads_computed_together() -> None:
    torch.manual_seed(0)
    model = model_of("tower")
    shared = list(model.shared_parameters())
    mask = {task.name: torch.arange(14) % 7 == k for k, task in enumerate(TASKS)}
    targets = {task.name: torch.randn(14, dtype=torch.float64) for task in TASKS}
    for rule in ("form", "ghost"):
        losses, _ = task_losses(TASKS, model(torch.randn(14, 3, dtype=torch.float64)), targets=targets, mask=mask)
        rows = assert_exact(LayerEngine(rule), list(losses.unbind()), shared)
        assert all(isinstance(one, LinearForm | LinearRowGhost) for one in rows.parts)
        assert rows.parts[0].inputs == [] or rule == "form"


@pytest.mark.parametrize("options", ENGINES)
@pytest.mark.parametrize("head", ["linear", "tower"])
def test_forks_are_where_heads_end(head: str, options: str) -> None:
    torch.manual_seed(0)
    model = model_of(head)
    shared = list(model.shared_parameters())
    with tl.nn.gates(model):
        outputs = model(torch.randn(9, 3, dtype=torch.float64))
    losses, _ = task_losses(TASKS, outputs, targets={task.name: torch.randn(9) for task in TASKS})
    plan = LayerEngine("form").plan(Graph(list(losses.unbind())), shared)
    assert plan.frontier is not None
    assert len(plan.frontier.exits) == len(TASKS)
    assert_exact(LayerEngine(**ENGINES[options]), list(losses.unbind()), shared)
    with tl.nn.gates(model, weights={task.name: 0.5 + k for k, task in enumerate(TASKS)}):
        outputs = model(torch.randn(9, 3, dtype=torch.float64))
    assert_exact(LayerEngine(**ENGINES[options]), [one.square().mean() for one in outputs.values()], shared)


def test_losses_that_mix_heads_are_told_apart() -> None:
    """Heads are computed together, but one loss compares two of them."""
    torch.manual_seed(0)
    model = model_of("tower")
    for rule in ("form", "ghost"):
        outputs = list(model(torch.randn(9, 3, dtype=torch.float64)).values())
        losses = [output.square().mean() for output in outputs]
        losses[2] = (outputs[2] - outputs[4]).square().mean()
        assert_exact(LayerEngine(rule), losses, list(model.shared_parameters()))
        stacked = torch.stack(outputs)
        losses = list((stacked - stacked.mean(0)).square().mean((1, 2)).unbind())
        assert_exact(LayerEngine(rule), losses, list(model.shared_parameters()))
        losses = list(F.mse_loss(stacked, stacked.detach().flip(0), reduction="none").mean((1, 2)).unbind())
        assert_exact(LayerEngine(rule), losses, list(model.shared_parameters()))
