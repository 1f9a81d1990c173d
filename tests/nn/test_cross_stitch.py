from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import chain, combinations
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import taskloom as tl
from taskloom.errors import TaskError
from taskloom.fit.trainer import TrainerOptions
from taskloom.nn import (
    MLP,
    CrossStitch,
    HardSharing,
    Independent,
    batched_evaluation,
    check_partition,
    macs,
    reached_by,
    resnet18,
    stages_of,
)
from taskloom.task import Regression, Task
from taskloom.testing import ModelLaws


class TestCrossStitch(ModelLaws):
    sizes = (1, 2, 3)

    def make_model(self, tasks: Sequence[Task]) -> CrossStitch:
        return CrossStitch(MLP(self.n_features, (5, 4, 3)), tasks)

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        encoder, heads = 7 * 5 + 6 * 4 + 5 * 3, sum(4 * task.kind.n_outputs for task in tasks)
        return len(tasks) * encoder + 2 * len(tasks) ** 2 + heads


class TestCrossStitchOfManyTasks(ModelLaws):
    sizes = (1, 7)

    def make_model(self, tasks: Sequence[Task]) -> CrossStitch:
        return CrossStitch([lambda: MLP(self.n_features, (5,)), lambda: nn.Linear(5, 4)], tasks)


class TestCrossStitchPerChannel(ModelLaws):
    sizes = (1, 2, 3)

    def make_model(self, tasks: Sequence[Task]) -> CrossStitch:
        return CrossStitch(MLP(self.n_features, (5, 4, 3)), tasks, per="channel", after=[2, 0])

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        encoder, heads = 7 * 5 + 6 * 4 + 5 * 3, sum(4 * task.kind.n_outputs for task in tasks)
        return len(tasks) * encoder + len(tasks) ** 2 * (5 + 3) + heads


class TestCrossStitchWithBatchNorm(ModelLaws):
    sizes = (1, 2, 3)
    vectorises = False

    def make_model(self, tasks: Sequence[Task]) -> CrossStitch:
        stages = [nn.Sequential(nn.Linear(self.n_features, 5), nn.BatchNorm1d(5), nn.ReLU()), nn.Linear(5, 4)]
        return CrossStitch(stages, tasks)


class TestUnstitched(ModelLaws):
    """In the phase before the units are put in."""

    sizes = (1, 3)

    def make_model(self, tasks: Sequence[Task]) -> CrossStitch:
        model = CrossStitch(MLP(self.n_features, (5, 4, 3)), tasks, single_task_epochs=2)
        model.unstitch()
        return model


def tasks_of(names: str) -> list[Task]:
    return [Task(name=name, kind=Regression()) for name in names]


def inputs_of(n_rows: int = 6) -> Tensor:
    return torch.randn(n_rows, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def build(names: str = "abc", **settings: Any) -> CrossStitch:
    torch.manual_seed(0)
    return CrossStitch(MLP(4, (5, 5, 3)), tasks_of(names), **settings).double()


def set_units(model: CrossStitch, weight: Tensor) -> None:
    with torch.no_grad():
        for unit in model.units:
            unit.rows[0].copy_(weight)


def network(model: CrossStitch, index: int) -> nn.Sequential:
    return nn.Sequential(*(stage[index] for stage in model.stages))


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for task in expected:
        torch.testing.assert_close(found[task], expected[task], rtol=0, atol=1e-14)


# -------------------------------------------------------------------------------------------- special cases (test 3)


def test_identity_is_independent_networks() -> None:
    model, inputs = build(), inputs_of()
    set_units(model, torch.eye(3))
    networks = iter([network(model, index) for index in range(3)])
    alone = Independent(lambda: next(networks), tasks_of("abc"), heads=dict(zip("abc", model.heads, strict=True)))
    for mode in (True, False):
        assert_same(model.train(mode)(inputs), alone.train(mode)(inputs))


def test_equal_weights_are_the_average() -> None:
    model, inputs = build(), inputs_of()
    set_units(model, torch.full((3, 3), 1 / 3, dtype=torch.float64))
    found, hidden = model(inputs), inputs
    for stage in list(model.stages)[:-1]:
        hidden = sum(module(hidden) for module in stage) / 3
    for index, task in enumerate("abc"):
        expected = model.heads[index](model.stages[-1][index](hidden))
        torch.testing.assert_close(found[task], expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("chosen", range(3))
def test_rows_that_select_one_network_are_hard_sharing(chosen: int) -> None:
    model, inputs = build(), inputs_of()
    set_units(model, torch.eye(3)[chosen].expand(3, 3))
    trunk = nn.Sequential(*(stage[chosen] for stage in list(model.stages)[:-1]))
    heads = {task: nn.Sequential(model.stages[-1][k], model.heads[k]) for k, task in enumerate("abc")}
    hard = HardSharing(trunk, tasks_of("abc"), heads=heads)
    for mode in (True, False):
        assert_same(model.train(mode)(inputs), hard.train(mode)(inputs))


# -------------------------------------------------------------------------------------------- partition (test 1)

POSITIONS = list(chain.from_iterable(combinations(range(3), size) for size in (1, 2, 3)))


@pytest.mark.parametrize("after", POSITIONS, ids=str)
def test_partition_with_units_in_every_position(after: tuple[int, ...]) -> None:
    model = build(after=after)
    check_partition(model, inputs_of(), samples=3)
    reached = reached_by(model, inputs_of(), samples=3)
    shared = {id(parameter) for parameter in model.shared_parameters()}
    for name, parameter in model.named_parameters():
        place = int(name.split(".")[1]) if name.startswith("stages") else -1
        early = name.startswith("units") or (name.startswith("stages") and place <= after[-1])
        assert (id(parameter) in shared) == early, name
        assert reached[name] == set("abc") or not early, name


def test_partition_follows_what_is_frozen() -> None:
    model = build(after=[0, 1])
    set_units(model, torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.0, 0.5]]))
    model.units.requires_grad_(False)
    check_partition(model, inputs_of())
    shared = {id(parameter) for parameter in model.shared_parameters()}
    assert shared == {id(p) for stage in list(model.stages)[:2] for p in stage[0].parameters()}  # c reads a's network


# -------------------------------------------------------------------------------------------- layouts and stages


@pytest.mark.parametrize("per", ["scalar", "channel"])
def test_images(per: Any) -> None:
    def stages() -> list[nn.Module]:
        first = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU())
        return [first, nn.Sequential(nn.Conv2d(4, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())]

    images = torch.randn(5, 2, 6, 6)
    model = CrossStitch(stages, tasks_of("ab"), per=per, example=images)
    assert model.units[0].weight.shape == ((2, 2) if per == "scalar" else (2, 2, 4))
    trained = model(images)
    with batched_evaluation():
        batched = model.eval()(images)
    for task, output in model(images).items():
        assert output.shape == (5, 1)
        torch.testing.assert_close(output, trained[task])
        torch.testing.assert_close(output, batched[task])


def test_tokens_per_channel() -> None:
    stages = [nn.Linear(3, 4), nn.Sequential(nn.Linear(4, 4), nn.Tanh())]
    heads = {task: nn.Linear(4, 2) for task in "ab"}
    model = CrossStitch(stages, tasks_of("ab"), per="channel", dimension=2, heads=heads)
    tokens = torch.randn(5, 7, 3)
    assert model(tokens)["b"].shape == (5, 7, 2)
    with pytest.raises(TaskError, match=r"for 4 channels found 7 on axis 1 .* dimension=2 for tokens"):
        CrossStitch(stages, tasks_of("ab"), per="channel", heads=heads)(tokens)


def test_every_form_of_stages() -> None:
    encoder = MLP(4, (5, 3))
    forms: list[Any] = [
        encoder,
        lambda: MLP(4, (5, 3)),
        stages_of(encoder),
        lambda: stages_of(MLP(4, (5, 3))),
        [nn.Linear(4, 5), lambda: nn.Linear(5, 3)],
    ]
    for form in forms:
        model = CrossStitch(form, tasks_of("abc"))
        assert [len(stage) for stage in model.stages] == [3, 3]
        weights = [next(module.parameters()) for module in model.stages[0]]
        assert not torch.equal(weights[0], weights[1])
    same = CrossStitch(encoder, tasks_of("abc"), same_start=True)
    assert torch.equal(next(same.stages[1][0].parameters()), next(same.stages[1][2].parameters()))


def test_an_encoder_that_says_its_stages() -> None:
    model = CrossStitch(lambda: resnet18(), tasks_of("ab"), per="channel", example=torch.zeros(1, 3, 32, 32))
    assert [tuple(unit.weight.shape) for unit in model.units] == [(2, 2, 64), (2, 2, 128), (2, 2, 256)]
    assert model.eval()(torch.zeros(1, 3, 32, 32))["a"].shape == (1, 1)


def test_example_leaves_modes_alone() -> None:
    stages = [nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5)).eval(), nn.Linear(5, 3).train()]
    model = CrossStitch(stages, tasks_of("ab"), example=torch.zeros(2, 4))
    assert not model.stages[0][0].training
    assert model.stages[1][0].training
    assert model.widths == [5, 3]


# -------------------------------------------------------------------------------------------- several inputs


def test_one_input_per_task_is_one_pass() -> None:
    calls = []

    class Watched(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            calls.append(len(inputs))
            return super().forward(inputs)

    stages = [lambda: Watched(4, 5), lambda: Watched(5, 3)]
    model = CrossStitch(stages, tasks_of("ab"))
    model({"a": torch.zeros(2, 4), "b": torch.zeros(3, 4)})
    assert calls == [5, 5, 2, 3]  # behind the last unit every network sees its own rows only
    calls.clear()
    same = torch.zeros(2, 4)
    model({"a": same, "b": same})
    assert calls == [2, 2, 2, 2]


# -------------------------------------------------------------------------------------------- export


def test_export_leaves_out_networks_without_weight() -> None:
    model, inputs = build(), inputs_of()
    set_units(model, torch.tensor([[1.0, 0.0, 0.0], [0.3, 0.7, 0.0], [0.0, 1e-3, 1.0]]))
    model.eval()
    expected = model(inputs)
    # networks of each stage, and weights of the two units; c reads b, and what b reads of a in the first unit
    kept = {"a": ((1, 1, 1), 1 + 1), "b": ((2, 2, 1), 4 + 2), "c": ((3, 2, 1), 6 + 2)}
    sizes = [25, 30, 18]
    for task, (n_networks, n_weights) in kept.items():
        exported = model.export(task)
        assert torch.equal(exported(inputs), expected[task])
        n_parameters = sum(parameter.numel() for parameter in exported.parameters())
        assert n_parameters == sum(map(int.__mul__, n_networks, sizes)) + n_weights + 4
        assert n_parameters == model.describe()["path"][task]
    pruned = model.export("c", tolerance=1e-2)
    assert sum(parameter.numel() for parameter in pruned.parameters()) == sum(sizes) + 2 + 4
    assert 0 < float((pruned(inputs) - expected["c"]).detach().abs().max()) < 1e-2


def test_cost_of_one_task_and_of_all() -> None:
    model, inputs = build(), inputs_of()
    single = macs(network(model, 0), inputs).macs
    whole = macs(model, inputs).macs
    assert whole >= 3 * single
    set_units(model, torch.eye(3))
    assert macs(model.export("b"), inputs).by_layer.keys() == {
        *(f"steps.{k}.stages.0.0" for k in range(3)),
        *(f"steps.{k}.unit" for k in range(2)),  # a network's weight on itself
        "head",
    }


# -------------------------------------------------------------------------------------------- tasks come and go


def test_a_new_task_reads_the_old_ones() -> None:
    model, inputs = build().eval(), inputs_of()
    torch.manual_seed(3)
    larger = model.add_task(Task(name="d", kind=Regression()), freeze="old").double()
    assert [tuple(unit.weight.shape) for unit in larger.units] == [(4, 4)] * 2
    assert list(larger.shared_parameters()) == []
    row = larger.units[0].rows[1]
    assert any(row is parameter for parameter in larger.task_parameters("d"))
    larger.train()(inputs)["d"].sum().backward()
    assert bool(row.grad[0, :3].any())
    free = model.add_task(Task(name="d", kind=Regression())).double()
    check_partition(free, inputs)
    assert len(free.units[0].rows) == 1
    again = larger.add_task(Task(name="e", kind=Regression()), freeze="old").double()
    check_partition(again, inputs)
    assert [len(unit.rows) for unit in again.units] == [3, 3]


def test_a_new_network_behind_frozen_batch_norm_still_learns_its_statistics() -> None:
    stages = [nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5)), nn.Linear(5, 3)]
    larger = CrossStitch(stages, tasks_of("ab")).add_task(Task(name="c", kind=Regression()), freeze="old")
    assert [module[1].momentum for module in larger.stages[0]] == [0.0, 0.0, 0.1]


def test_a_removed_task_leaves_a_network_that_others_read() -> None:
    model, inputs = build().eval(), inputs_of()
    smaller = model.remove_task("b")
    assert [len(stage) for stage in smaller.stages] == [3, 3, 2]
    assert [tuple(unit.weight.shape) for unit in smaller.units] == [(3, 3), (2, 3)]
    check_partition(smaller, inputs)
    grown = smaller.add_task(Task(name="d", kind=Regression())).double()
    check_partition(grown, inputs)
    assert grown.networks == (0, 2, 3)
    before, after = smaller(inputs), grown.eval()(inputs, ["a", "c"])
    assert all(torch.equal(before[task], after[task]) for task in "ac")
    parts = {task: inputs_of(rows) for rows, task in enumerate("acd", start=2)}
    assert {task: len(output) for task, output in grown.train()(parts).items()} == {"a": 2, "c": 3, "d": 4}
    for task in "acd":
        assert torch.equal(grown.eval().export(task)(inputs), grown(inputs)[task])
    grown.unstitch()
    check_partition(grown, inputs)


def test_a_removed_task_takes_a_network_along_that_nobody_reads() -> None:
    model, inputs = build().eval(), inputs_of()
    larger = model.add_task(Task(name="d", kind=Regression()), freeze="old")
    smaller = larger.remove_task("d")
    assert [len(stage) for stage in smaller.stages] == [3, 3, 3]
    assert smaller.networks == (0, 1, 2)
    before, after = model(inputs), smaller.eval()(inputs)
    assert all(torch.equal(before[task], after[task]) for task in "abc")


# -------------------------------------------------------------------------------------------- training


def test_unstitched_networks_are_independent() -> None:
    model, inputs = build(), inputs_of()
    model.unstitch()
    for index, task in enumerate("abc"):
        expected = model.heads[index](network(model, index)(inputs))
        assert torch.equal(model(inputs)[task], expected)
        assert torch.equal(model.eval().export(task)(inputs), expected)
    assert list(model.shared_parameters()) == []
    check_partition(model, inputs)
    model.stitch()
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_state_says_whether_the_units_are_in() -> None:
    model, other, inputs = build(), build(), inputs_of()
    model.unstitch()
    other.load_state_dict(model.state_dict())
    assert not other.is_stitched
    assert torch.equal(other.eval()(inputs)["a"], model.eval()(inputs)["a"])
    clone = copy.deepcopy(model)
    clone.stitch()
    assert all(parameter.requires_grad for parameter in clone.parameters())
    assert not next(model.units.parameters()).requires_grad


def test_single_task_networks_first(tmp_path: Any) -> None:
    import lightning.pytorch as pl

    random = np.random.default_rng(0)
    x = random.normal(size=(80, 4))
    data = tl.MultiTaskData.from_arrays(x, {"a": x[:, 0] + x[:, 1], "b": x[:, 1] - x[:, 2]}, tasks=tasks_of("ab"))
    seen = []

    class Watch(pl.Callback):
        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            model = pl_module.model
            seen.append((model.is_stitched, model.units[0].weight.detach().clone(), pl_module.phase.name))

    torch.manual_seed(0)
    model = CrossStitch(MLP(4, (6, 6)), tasks_of("ab"), single_task_epochs=2)
    for balancer in (tl.equal(), tl.pcgrad()):
        seen.clear()
        result = tl.fit(
            model,
            data,
            balancer=balancer,
            schedule=tl.Schedule(max_epochs=3, batch_size=20),
            trainer=TrainerOptions(callbacks=(Watch(),)),
        )
        assert [(stitched, name) for stitched, _, name in seen] == [(False, "single task"), (True, "stitched")]
        start = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
        assert torch.equal(seen[0][1], start)
        assert not torch.equal(seen[1][1], start)
        assert result.history.epochs == 5
        assert result.model.is_stitched


def test_groups_for_an_optimiser() -> None:
    model = build()
    networks, units = model.param_groups(0.01, unit_lr_factor=10, weight_decay=0.1)
    assert (networks["lr"], networks["weight_decay"], units["lr"], units["weight_decay"]) == (0.01, 0.1, 0.1, 0.0)
    assert {id(p) for p in units["params"]} == {id(p) for p in model.units.parameters()}
    everything = [*networks["params"], *units["params"]]
    assert {id(p) for p in everything} == {id(p) for p in model.parameters()}
    model.units.requires_grad_(False)
    assert model.param_groups(0.01)[1]["params"] == []


def test_mixing_weights_in_words() -> None:
    assert build("ab").describe()["mixing"] == pytest.approx(
        {0: pytest.approx(np.array([[0.9, 0.1], [0.1, 0.9]])), 1: pytest.approx(np.array([[0.9, 0.1], [0.1, 0.9]]))}
    )


def test_compiles_as_one_graph() -> None:
    torch._dynamo.reset()
    model, inputs = build("abcde"), inputs_of()
    for mode in (True, False):
        expected = model.train(mode)(inputs)
        assert_same(torch.compile(model, backend="eager", fullgraph=True)(inputs), expected)


# -------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"after": [3]}, r"no stage 3; it has 0 to 2"),
        ({"after": [-1]}, "no stage -1"),
        ({"after": [1, 1]}, "names a stage twice"),
        ({"after": []}, "a unit behind at least one stage"),
        ({"channels": [5, 5], "per": "channel"}, "2 numbers, but the encoder has 3 stages"),
        ({"single_task_epochs": -1}, "0 or more, found -1"),
        ({"per": "full"}, "'scalar' or 'channel', found 'full'; for matrices over channels use NDDR"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        build(**settings)


def test_bad_stages() -> None:
    class Block(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs

    heads = {task: nn.Identity() for task in "ab"}
    with pytest.raises(TaskError, match="Block is no sequence of stages; cut it with stages_of"):
        CrossStitch(Block(), tasks_of("ab"))
    with pytest.raises(TaskError, match="Block is no sequence"):
        CrossStitch(lambda: Block(), tasks_of("ab"))
    with pytest.raises(TaskError, match="no stages"):
        CrossStitch([], tasks_of("ab"), heads=heads)
    with pytest.raises(TaskError, match="needs a unit behind at least one stage, and the encoder has 1"):
        CrossStitch(MLP(4, (5,)), tasks_of("ab"))
    with pytest.raises(TaskError, match="channels behind stage 0 is not known"):
        CrossStitch([Block(), nn.Linear(4, 3)], tasks_of("ab"), per="channel")
    with pytest.raises(TaskError, match="does not say how wide its features are"):
        CrossStitch([nn.Linear(4, 3), Block()], tasks_of("ab"))
    encoder = MLP(4, (5, 3))
    with pytest.raises(TaskError, match="share the tensor"):
        CrossStitch(lambda: encoder, tasks_of("ab"))
    lengths = iter([(5, 3), (5, 4, 3)])
    with pytest.raises(TaskError, match=r"networks of \[2, 3\] stages"):
        CrossStitch(lambda: MLP(4, next(lengths)), tasks_of("ab"))


def test_features_that_cannot_be_mixed() -> None:
    class Pair(nn.Linear):
        def forward(self, inputs: Tensor) -> Any:
            return super().forward(inputs), inputs

    heads = {task: nn.Identity() for task in "ab"}
    model = CrossStitch([lambda: Pair(4, 4), lambda: nn.Identity()], tasks_of("ab"), heads=heads)
    with pytest.raises(TypeError, match="CrossStitch mixes tensors, stage 0 returned a tuple"):
        model(torch.zeros(2, 4))
    widths = iter([8, 4])
    model = CrossStitch([lambda: nn.Conv2d(3, next(widths), 1), lambda: nn.Identity()], tasks_of("ab"), heads=heads)
    expected = r"stage 0 outputs differ between tasks: \(2, 8, 5, 5\) for 'a', \(2, 4, 5, 5\) for 'b'"
    with pytest.raises(TaskError, match=expected):
        model(torch.zeros(2, 3, 5, 5))
