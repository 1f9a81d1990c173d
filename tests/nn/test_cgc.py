from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn import CGC, MLP, DSelectKGate, HardSharing, Independent, MMoE, NoCommonFeature, gates
from taskloom.task import Regression, Task
from taskloom.testing import ModelLaws


def size_of(*widths: int) -> int:
    return sum((first + 1) * second for first, second in pairwise(widths))


class TestCGC(ModelLaws):
    def make_model(self, tasks: Sequence[Task]) -> CGC:
        return CGC(lambda: MLP(self.n_features, (5, 4)), tasks, n_shared=2, n_own=2)

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        n = len(tasks)
        return (2 + 2 * n) * size_of(6, 5, 4) + 6 * n * 4 + sum(5 * task.kind.n_outputs for task in tasks)


class TestCGCWithNumbersPerTask(ModelLaws):
    def make_model(self, tasks: Sequence[Task]) -> CGC:
        n_own = {task.name: index % 3 for index, task in enumerate(tasks)}
        return CGC(lambda: MLP(self.n_features, (4,)), tasks, n_shared=2, n_own=n_own)

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        n_own = [index % 3 for index in range(len(tasks))]
        gates = 6 * sum(own + 2 for own in n_own)
        return (2 + sum(n_own)) * size_of(6, 4) + gates + sum(5 * task.kind.n_outputs for task in tasks)


class TestCGCWithoutSharedExperts(ModelLaws):
    sizes = (1, 3)

    def make_model(self, tasks: Sequence[Task]) -> CGC:
        return CGC(lambda: MLP(self.n_features, (4,)), tasks, n_shared=0, n_own=2, gate=DSelectKGate(entropy=0.1))


class TestCGCOfManyTasks(ModelLaws):
    """More tasks than are mixed as one product."""

    sizes = (1, 18)

    def make_tasks(self, n_tasks: int) -> list[Task]:
        return [Task(name=f"task {index}", kind=Regression()) for index in range(n_tasks)]

    def make_model(self, tasks: Sequence[Task]) -> CGC:
        return CGC(lambda: MLP(self.n_features, (3,)), tasks, n_shared=1, n_own=2)


def tasks_of(names: str = "abc") -> list[Task]:
    return [Task(name=name, kind=Regression()) for name in names]


def expert() -> nn.Module:
    return MLP(4, (5, 3))


def build(n_shared: int = 2, n_own: int | Mapping[str, int] = 1) -> CGC:
    torch.manual_seed(0)
    return CGC(expert, tasks_of(), n_shared=n_shared, n_own=n_own).double()


def rows(n_rows: int = 7, *, seed: int = 1) -> Tensor:
    return torch.randn(n_rows, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("n_own", [2, {"a": 0, "b": 1, "c": 2}], ids=["all alike", "by task"])
@pytest.mark.parametrize("is_training", [True, False])
def test_equations(is_training: bool, n_own: int | Mapping[str, int]) -> None:
    """Own experts come first, then the shared ones."""
    model, x = build(2, n_own).train(is_training), rows()
    level = model.levels.level(0)
    shared = [level.experts[index](x) for index in level.shared]
    for index, (task, head) in enumerate(zip("abc", model.heads, strict=True)):
        own = [level.experts[place](x) for place in level.own[index]]
        assert len(own) == (n_own if isinstance(n_own, int) else n_own[task])
        weights = (x @ level.gates[index].weight.T).softmax(1)
        mixture = sum(weights[:, [i]] * output for i, output in enumerate([*own, *shared]))
        torch.testing.assert_close(model(x)[task], head(mixture), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("is_training", [True, False])
def test_without_own_experts_it_is_mmoe(is_training: bool) -> None:
    model, x = build(3, 0).train(is_training), rows()
    mmoe = MMoE(expert, tasks_of(), n_experts=3).double().train(is_training)
    mmoe.load_state_dict(model.state_dict())
    parts = {task: rows(seed=seed) for seed, task in enumerate("abc")}
    for inputs in (x, parts):
        for task, output in model(inputs).items():
            torch.testing.assert_close(mmoe(inputs)[task], output, rtol=1e-14, atol=1e-14)


def test_one_shared_expert_alone_is_hard_sharing() -> None:
    model, x = build(1, 0), rows()
    hard = HardSharing(model.levels.level(0).experts[0], tasks_of(), heads=dict(zip("abc", model.heads, strict=True)))
    for task, output in hard(x).items():
        torch.testing.assert_close(model(x)[task], output, rtol=1e-14, atol=1e-14)
    assert model.describe()["shared"] == hard.describe()["shared"]
    assert model.describe()["total"] == hard.describe()["total"]


def test_one_own_expert_alone_is_independent() -> None:
    model, x = build(0, 1), rows()
    copies = iter(model.levels.level(0).experts)
    alone = Independent(lambda: next(copies), tasks_of(), heads=dict(zip("abc", model.heads, strict=True)))
    for task, output in alone(x).items():
        torch.testing.assert_close(model(x)[task], output, rtol=1e-14, atol=1e-14)
    assert model.describe()["total"] == alone.describe()["total"]
    assert list(model.shared_parameters()) == []
    with pytest.raises(NoCommonFeature):
        model.encode(x)


def test_other_tasks_experts_are_left_out_of_the_export() -> None:
    model = build(2, 1)
    assert len(model.export("b")[0].levels.level(0).experts) == 3
    assert model.describe()["path"]["b"] == 3 * size_of(4, 5, 3) + 3 * 4 + 4


def test_gates_weigh_the_shared_experts_alone() -> None:
    model, x = build(), rows()
    own = list(model.task_parameters("b"))
    shared = list(model.shared_parameters())
    plain = torch.autograd.grad(model(x)["b"].sum(), [*own, *shared])
    with gates(model, {"b": 3.0}):
        output = model(x)["b"]
    found = torch.autograd.grad(output.sum(), [*own, *shared])
    expected = [*plain[: len(own)], *(3 * gradient for gradient in plain[len(own) :])]
    torch.testing.assert_close(found, tuple(expected), rtol=1e-12, atol=1e-12)


def test_new_tasks_with_own_experts() -> None:
    model = build(2, 1)
    larger = model.add_task(Task(name="d", kind=Regression()), n_own=3).double()
    level = larger.levels.level(0)
    assert level.n_own == [1, 1, 1, 3]
    assert level.gates[3].n_experts == 5
    assert larger(rows())["d"].shape == (7, 1)
    smaller = larger.remove_task("b")
    assert smaller.levels.level(0).n_own == [1, 1, 3]
    assert len(smaller.levels.level(0).gates) == 3
    single = build(1, 0).add_task(Task(name="d", kind=Regression()), n_own=1).double()  # the first gate of all
    assert single(rows())["d"].shape == (7, 1)
    with pytest.raises(TaskError, match=r"task 'd' has no expert at level 1 \(n_shared=0, n_own=0\)"):
        build(0, 1).add_task(Task(name="d", kind=Regression()), n_own=0)


@pytest.mark.parametrize(
    ("n_shared", "n_own", "message"),
    [
        (0, {"a": 1, "b": 2, "c": 0}, r"task 'c' has no expert at level 1 \(n_shared=0, n_own=0\)"),
        (-1, 1, "n_shared must be 0 or more, found -1"),
        (1, -1, "n_own of task 'a' must be 0 or more, found -1"),
        (1, {"a": 1, "b": 2}, "n_own has no entry for task 'c'"),
        (1, {"a": 1, "b": 2, "c": 1, "bb": 1}, "n_own has an entry for the unknown task 'bb'.* Did you mean 'b'"),
    ],
)
def test_bad_numbers(n_shared: int, n_own: int | Mapping[str, int], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        build(n_shared, n_own)
