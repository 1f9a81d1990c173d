from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn import (
    CNN,
    MLP,
    DSelectKGate,
    GateRule,
    HardSharing,
    MMoE,
    SoftmaxGate,
    StaticGate,
    TopKGate,
    gates,
    macs,
)
from taskloom.task import Regression, Task
from taskloom.testing import ModelLaws


def size_of(*widths: int) -> int:
    """Number of weights and biases of linear layers of these widths."""
    return sum((first + 1) * second for first, second in pairwise(widths))


class TestMMoE(ModelLaws):
    def make_model(self, tasks: Sequence[Task]) -> MMoE:
        return MMoE(lambda: MLP(self.n_features, (5, 4)), tasks, n_experts=3)

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        return 3 * size_of(6, 5, 4) + len(tasks) * 3 * 6 + sum(5 * task.kind.n_outputs for task in tasks)


class TestMMoEWithDSelectK(ModelLaws):
    def make_model(self, tasks: Sequence[Task]) -> MMoE:
        return MMoE(lambda: MLP(self.n_features, (4,)), tasks, n_experts=5, gate=DSelectKGate(entropy=0.1))

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        gate = (6 + 1) * 2 * (3 + 1)
        return 5 * size_of(6, 4) + len(tasks) * gate + sum(5 * task.kind.n_outputs for task in tasks)


class TestMMoEWithStaticDSelectK(ModelLaws):
    def make_model(self, tasks: Sequence[Task]) -> MMoE:
        rule = DSelectKGate(entropy=0.1, reads_input=False)
        return MMoE(lambda: MLP(self.n_features, (4,)), tasks, n_experts=3, gate=rule)

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        return 3 * size_of(6, 4) + len(tasks) * 2 * (2 + 1) + sum(5 * task.kind.n_outputs for task in tasks)

    def test_export(self) -> None:
        """Gates are left out of what is exported, so that fewer parameters are kept than reach the task."""
        model = self.build().eval()
        inputs = self.make_inputs(4)
        expected = model(inputs)
        for task in model.tasks:
            exported = model.export(task)
            assert torch.equal(exported(inputs), expected[task])
            assert sum(p.numel() for p in exported.parameters()) == model.describe()["path"][task]


class TestSparseMoE(ModelLaws):
    def make_model(self, tasks: Sequence[Task]) -> MMoE:
        return MMoE(lambda: MLP(self.n_features, (4,)), tasks, n_experts=4, gate=TopKGate(noise=False))


class TestMMoEOfOneExpert(ModelLaws):
    sizes = (1, 3)

    def make_model(self, tasks: Sequence[Task]) -> MMoE:
        return MMoE(lambda: MLP(self.n_features, (4,)), tasks, n_experts=1)

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        return size_of(6, 4) + sum(5 * task.kind.n_outputs for task in tasks)


class TestMMoEOfOtherModules(ModelLaws):
    """Experts that are no chains of linear layers, and do not say how wide they are."""

    sizes = (1, 3)

    def make_model(self, tasks: Sequence[Task]) -> MMoE:
        def expert() -> nn.Module:
            return nn.Sequential(nn.Linear(self.n_features, 5), nn.LayerNorm(5), nn.Softmax(1))

        return MMoE(expert, tasks, n_experts=5, example=torch.zeros(2, self.n_features))


class TestMMoEWithBatchNorm(ModelLaws):
    vectorises = False

    def make_model(self, tasks: Sequence[Task]) -> MMoE:
        def expert() -> nn.Module:
            return nn.Sequential(nn.Linear(self.n_features, 5), nn.BatchNorm1d(5), nn.ReLU())

        return MMoE(expert, tasks, n_experts=3, example=torch.zeros(2, self.n_features))


class TestMMoEOnTokens(ModelLaws):
    sizes = (1, 2, 4)

    def make_inputs(self, n_rows: int, *, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(n_rows, 3, self.n_features, dtype=torch.float64, generator=generator)

    def make_model(self, tasks: Sequence[Task]) -> MMoE:
        heads = {
            task.name: nn.Sequential(nn.Flatten(), nn.Linear(3 * 4, task.kind.n_outputs), nn.Tanh()) for task in tasks
        }
        return MMoE(lambda: MLP(self.n_features, (4,)), tasks, n_experts=3, heads=heads)


def tasks_of(names: str = "ab") -> list[Task]:
    return [Task(name=name, kind=Regression()) for name in names]


def build(n_experts: int = 3, *, gate: GateRule | None = None, names: str = "ab", seed: int = 0) -> MMoE:
    torch.manual_seed(seed)
    return MMoE(lambda: MLP(4, (5, 3)), tasks_of(names), n_experts=n_experts, gate=gate).double()


def rows(n_rows: int = 7, *, seed: int = 1) -> Tensor:
    return torch.randn(n_rows, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------- special cases


def test_equations() -> None:
    model, x = build(), rows()
    level = model.levels.level(0)
    for index, (task, head) in enumerate(zip("ab", model.heads, strict=True)):
        weights = (x @ level.gates[index].weight.T).softmax(1)
        mixture = sum(weights[:, [i]] * expert(x) for i, expert in enumerate(level.experts))
        torch.testing.assert_close(model(x)[task], head(mixture), rtol=1e-13, atol=1e-13)


def test_one_expert_is_hard_sharing() -> None:
    model, x = build(1).train(), rows()
    hard = HardSharing(model.levels.level(0).experts[0], tasks_of(), heads=dict(zip("ab", model.heads, strict=True)))
    parameters = list(hard.parameters())
    assert {id(parameter) for parameter in parameters} == {id(parameter) for parameter in model.parameters()}
    found = [sum(output.square().sum() for output in network(x).values()) for network in (model, hard)]
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)
    gradients = [torch.autograd.grad(total, parameters) for total in found]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("gate", [SoftmaxGate(zero_start=True), StaticGate()], ids=["zeros", "static"])
@pytest.mark.parametrize("is_training", [True, False])
def test_zero_gates_are_the_mean(gate: GateRule, is_training: bool) -> None:
    model, x = build(4, gate=gate).train(is_training), rows()
    mean = torch.stack([expert(x) for expert in model.levels.level(0).experts]).mean(0)
    for features in model.features(x).values():
        torch.testing.assert_close(features, mean, rtol=1e-12, atol=1e-12)


def test_many_tasks_are_one_by_one() -> None:
    """Beyond 16 tasks, and with one input per task."""
    model = build(names="abcdefghijklmnopqrst")
    inputs = {task: rows(seed=seed) for seed, task in enumerate(model.tasks)}
    together, alone = model.train()(inputs), copy.deepcopy(model).eval()(inputs)
    for task in model.tasks:
        torch.testing.assert_close(together[task], alone[task], rtol=1e-12, atol=1e-12)


def test_experts_run_once_for_all_tasks() -> None:
    class Counting(nn.Linear):
        calls = 0

        def forward(self, inputs: Tensor) -> Tensor:
            type(self).calls += 1
            return super().forward(inputs)

    model = MMoE(lambda: Counting(4, 3), tasks_of("abcde"), n_experts=3)
    model(torch.zeros(2, 4))
    assert Counting.calls == 3
    model({task: torch.zeros(2, 4) for task in "abcde"})
    assert Counting.calls == 6


def test_images() -> None:
    torch.manual_seed(0)
    model = MMoE(lambda: CNN(3, (4,)), tasks_of(), n_experts=2, example=torch.zeros(1, 3, 8, 8))
    assert model.levels.level(0).gates[0].weight.shape == (2, 3)
    assert model.eval()(torch.randn(2, 3, 8, 8))["a"].shape == (2, 1)


# ---------------------------------------------------------------- penalties and what gates remember


def penalised() -> MMoE:
    return build(3, gate=DSelectKGate(entropy=0.1, missing=0.2)).train()


def test_penalties_are_those_of_every_gate() -> None:
    model, x = penalised(), rows()
    model(x)
    expected: dict[str, float] = {}
    for gate in model.levels.level(0).gates:
        scores = x @ gate.weight.T + gate.bias
        for name, value in gate.rule.penalties(scores, gate(x), gate.constants()).items():
            expected[name] = expected.get(name, 0.0) + value.item()
    model(x)
    found = model.penalties()
    assert list(found) == ["gate_entropy", "gate_missing"]
    assert {name: value.item() for name, value in found.items()} == pytest.approx(expected, rel=1e-12)


def test_penalties_are_of_the_last_forward_in_training() -> None:
    model = penalised()
    assert model.has_batch_penalties
    assert model.penalties() == {}
    model(rows())
    first = model.penalty()
    model(rows(5, seed=2))
    assert not torch.equal(first, model.penalty())
    model(rows())
    assert torch.equal(first, model.penalty())
    first.backward()
    assert all(gate.weight.grad is not None for gate in model.levels.level(0).gates)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.penalties() == {}
        assert torch.equal(other(rows())["a"], model(rows())["a"])
    model.eval()(rows())
    assert model.penalties() == {}
    assert model.penalty().item() == 0


def test_penalties_of_one_input_per_task_add_up() -> None:
    model = penalised()
    parts = {"a": rows(3), "b": rows(5, seed=2)}
    model(parts)
    together = model.penalty()
    alone = []
    for task, part in parts.items():
        model(part, [task])
        alone.append(model.penalty())
    torch.testing.assert_close(together, sum(alone), rtol=1e-12, atol=1e-14)


def test_describe_and_gate_weights() -> None:
    model, x = build(gate=SoftmaxGate(temperature=0.5)), rows()
    assert model.describe()["gates"]["a"] == [{"weights": None, "entropy": None}]
    model(x)
    found, weights = model.describe()["gates"], model.gate_weights(x)
    assert list(weights) == ["a", "b"]
    for task in "ab":
        assert weights[task][0].shape == (7, 3)
        assert found[task][0]["weights"] == pytest.approx(weights[task][0].mean(0).tolist())
        assert found[task][0]["entropy"] == pytest.approx(
            -torch.xlogy(weights[task][0], weights[task][0]).sum(1).mean()
        )
    each = model.gate_weights({"b": x[:2]})
    torch.testing.assert_close(each["b"][0], weights["b"][0][:2])
    assert model.training
    assert build(1).gate_weights(x, ["a"]) == {"a": []}
    assert build(1).describe()["gates"]["a"] == [{"weights": [1.0], "entropy": 0.0}]


def test_gates_weigh_the_experts_and_not_the_rest() -> None:
    model, x = build(names="abc").train(), rows()
    weights = {"a": 0.25, "b": 4.0, "c": 0.0}
    shared = list(model.shared_parameters())
    private = [parameter for task in model.tasks for parameter in model.task_parameters(task)]
    outputs = model(x)
    weighted = sum(weights[task] * outputs[task].square().sum() for task in outputs)
    expected = torch.autograd.grad(weighted, shared, retain_graph=True)
    plain = torch.autograd.grad(sum(output.square().sum() for output in outputs.values()), private)
    with gates(model) as opened:
        total = sum(output.square().sum() for output in model(x).values())
    opened.set(weights)
    found = torch.autograd.grad(total, [*shared, *private])
    torch.testing.assert_close(found, (*expected, *plain), rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------- export


def test_a_decided_static_gate_is_pruned() -> None:
    model, x = build(6, gate=DSelectKGate(k=2, reads_input=False)).eval(), rows()
    with torch.no_grad():  # selectors at experts 4 (100) and 1 (001)
        model.levels.level(0).gates[0].bias.copy_(torch.tensor([3.0, -3.0, -3.0, -3.0, -3.0, 3.0, 0.4, 0.1]))
        model.levels.level(0).gates[1].bias.copy_(torch.tensor([-3.0, 3.0, -3.0, -3.0, 3.0, -3.0, 0.4, 0.1]))
    exported = model.export("a"), model.export("b")
    assert torch.equal(exported[0](x), model(x)["a"])
    assert torch.equal(exported[1](x), model(x)["b"])
    n_expert = size_of(4, 5, 3)
    assert [sum(p.numel() for p in one.parameters()) for one in exported] == [2 * n_expert + 4, n_expert + 4]
    assert not any(isinstance(part, type(model.levels.level(0).gates[0])) for one in exported for part in one.modules())


def test_cost_counts_experts_and_gates() -> None:
    cost = macs(build(), rows(2))
    assert cost.not_counted == ()
    assert cost.macs == 2 * (3 * (4 * 5 + 5 * 3) + 2 * 3 * 4 + 2 * 3)


def test_automatic_precision() -> None:
    for gate in (SoftmaxGate(), DSelectKGate(), TopKGate(noise=False)):
        model, x = build(gate=gate).float().train(), rows().float()
        expected = model(x)["a"]
        for is_training in (True, False):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                found = model.train(is_training)(x)["a"]
            assert found.dtype == torch.bfloat16
            torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.05)


# ---------------------------------------------------------------- tasks


def test_new_task() -> None:
    model = build()
    larger = model.add_task(Task(name="c", kind=Regression()), freeze="shared")
    assert len(larger.levels.level(0).gates) == 3
    assert not any(parameter.requires_grad for parameter in larger.levels.level(0).experts.parameters())
    assert all(parameter.requires_grad for parameter in larger.levels.level(0).gates.parameters())
    assert larger.double()(rows())["c"].shape == (7, 1)
    with pytest.raises(TaskError, match="n_own"):
        build().add_task(Task(name="c", kind=Regression()), n_own=-1)


# ---------------------------------------------------------------- bad input


def test_bad_numbers() -> None:
    with pytest.raises(TaskError, match="n_experts must be 1 or more, found 0"):
        build(0)
    with pytest.raises(TaskError, match=r"k=5\) must choose from 3 experts"):
        build(3, gate=DSelectKGate(k=5))


def test_bad_factories() -> None:
    expert = MLP(4, (3,))
    with pytest.raises(TaskError, match="expert factory returned the same module twice"):
        MMoE(lambda: expert, tasks_of())
    with pytest.raises(TaskError, match="does not say its in_features; give example="):
        MMoE(lambda: nn.Sequential(nn.Linear(4, 3)), tasks_of())
    with pytest.raises(TaskError, match="gate_input is a function of yours; give example="):
        MMoE(lambda: MLP(4, (3,)), tasks_of(), gate_input=lambda x: x[:, :2])
    with pytest.raises(TaskError, match="gate_input must be a function without parameters"):
        MMoE(lambda: MLP(4, (3,)), tasks_of(), gate_input=nn.Linear(4, 2), example=torch.zeros(1, 4))


def test_identical_experts_are_pointed_out_once() -> None:
    pattern = MLP(4, (3,))
    with pytest.warns(UserWarning, match="experts of level 1 are identical copies") as caught:
        MMoE(lambda: copy.deepcopy(pattern), tasks_of(), n_experts=5)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MMoE(pattern, tasks_of(), n_experts=5)  # copies of a module are drawn anew
        MMoE(lambda: copy.deepcopy(pattern), tasks_of(), n_experts=1)


def test_experts_that_cannot_be_mixed() -> None:
    widths = iter([3, 3, 5])
    model = MMoE(lambda: MLP(4, (next(widths),)), tasks_of(), n_experts=3)
    with pytest.raises(TaskError, match=r"experts are mixed as tensors of one shape.*\(2, 3\)', '\(2, 5\)"):
        model(torch.zeros(2, 4))

    class Pair(nn.Linear):
        def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
            return inputs, inputs

    with pytest.raises(TaskError, match=r"experts are mixed as tensors of one shape.*tuple"):
        MMoE(lambda: Pair(4, 3), tasks_of(), heads=heads(3))(torch.zeros(2, 4))

    class Flat(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs)[:, 0]

    with pytest.raises(TaskError, match=r"an expert returned \(2,\); expected .batch, features"):
        MMoE(lambda: Flat(4, 3), tasks_of(), heads=heads(3))(torch.zeros(2, 4))


def test_bad_inputs_of_gates() -> None:
    with pytest.raises(TaskError, match=r"got \(2, 4\) torch.int64"):
        MMoE(lambda: nn.Embedding(9, 3), tasks_of(), example=torch.zeros(2, 4, dtype=torch.int64))
    fixed = MMoE(
        lambda: nn.Sequential(nn.Embedding(9, 3), nn.Flatten()), tasks_of(), gate=StaticGate(), heads=heads(12)
    )
    assert fixed(torch.ones(5, 4, dtype=torch.int64))["a"].shape == (5, 1)
    assert fixed.eval()({task: torch.ones(2, 4, dtype=torch.int64) for task in "ab"})["b"].shape == (2, 1)
    chosen = MMoE(
        lambda: nn.Sequential(nn.Embedding(9, 3), nn.Flatten()),
        tasks_of(),
        gate_input=lambda ids: ids.float(),
        example=torch.zeros(2, 4, dtype=torch.int64),
    )
    assert chosen(torch.ones(5, 4, dtype=torch.int64))["a"].shape == (5, 1)


def heads(width: int) -> dict[str, nn.Module]:
    return {task.name: nn.Linear(width, 1) for task in tasks_of()}


def test_one_expert_may_read_anything() -> None:
    class Tokens(nn.Module):
        def forward(self, inputs: dict[str, Tensor]) -> Tensor:
            return inputs["ids"] * inputs["mask"]

    model = MMoE(Tokens, tasks_of(), n_experts=1, heads=heads(2))
    assert model({"ids": torch.ones(3, 2), "mask": torch.ones(3, 2)})["a"].shape == (3, 1)


def test_a_cut_of_another_length() -> None:
    model = build()
    with pytest.raises(TaskError, match="the cut of 2 tasks has 2 parts, or 2 for each task; found 3"):
        model.decode([*model.encode(rows()), rows()])
