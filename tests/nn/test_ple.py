from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn import CGC, MLP, PLE, DSelectKGate, check_partition, gates, reached_by
from taskloom.task import Regression, Task
from taskloom.testing import ModelLaws

WIDTHS = (5, 4, 3)


def size_of(*widths: int) -> int:
    return sum((first + 1) * second for first, second in pairwise(widths))


class PLELaws(ModelLaws):
    n_levels: int

    def make_model(self, tasks: Sequence[Task]) -> PLE:
        widths = pairwise([self.n_features, *WIDTHS[: self.n_levels]])
        return PLE([lambda i=i, o=o: MLP(i, (o,)) for i, o in widths], tasks, n_shared=2, n_own=1)

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        n, total = len(tasks), 0
        for depth, (i, o) in enumerate(pairwise([self.n_features, *WIDTHS[: self.n_levels]]), 1):
            total += (2 + n) * size_of(i, o) + i * (3 * n + (2 + n) * (depth < self.n_levels))
        return total + sum((WIDTHS[self.n_levels - 1] + 1) * task.kind.n_outputs for task in tasks)


class TestPLEOfOneLevel(PLELaws):
    n_levels = 1


class TestPLEOfTwoLevels(PLELaws):
    n_levels = 2


class TestPLEOfThreeLevels(PLELaws):
    n_levels = 3


class TestPLEWhereSomeFeedNothing(ModelLaws):
    """Tasks without own experts are private from the first gate on."""

    def make_model(self, tasks: Sequence[Task]) -> PLE:
        n_own = {task.name: (index + 1) % 3 for index, task in enumerate(tasks)}
        experts = [lambda: MLP(self.n_features, (4,)), lambda: MLP(4, (4,)), lambda: MLP(4, (3,))]
        return PLE(experts, tasks, n_shared=1, n_own=n_own)


class TestPLEWithoutOwnExperts(ModelLaws):
    sizes = (1, 3)

    def make_model(self, tasks: Sequence[Task]) -> PLE:
        return PLE([lambda: MLP(self.n_features, (4,)), lambda: MLP(4, (3,))], tasks, n_shared=3, n_own=0)


class TestPLEWithoutSharedExperts(ModelLaws):
    sizes = (1, 3)

    def make_model(self, tasks: Sequence[Task]) -> PLE:
        return PLE([lambda: MLP(self.n_features, (4,)), lambda: MLP(4, (3,))], tasks, n_shared=0, n_own=2)


class TestPLEWithDSelectK(ModelLaws):
    sizes = (1, 3)

    def make_model(self, tasks: Sequence[Task]) -> PLE:
        rule = DSelectKGate(k=1, entropy=0.1)
        return PLE([lambda: MLP(self.n_features, (4,)), lambda: MLP(4, (3,))], tasks, gate=rule)


def tasks_of(names: str = "abc") -> list[Task]:
    return [Task(name=name, kind=Regression()) for name in names]


def build(n_levels: int = 3, *, names: str = "abc", n_shared: int = 2, n_own: int | dict[str, int] = 1) -> PLE:
    torch.manual_seed(0)
    widths = pairwise([4, *WIDTHS[:n_levels]])
    experts = [lambda i=i, o=o: MLP(i, (o,)) for i, o in widths]
    return PLE(experts, tasks_of(names), n_shared=n_shared, n_own=n_own).double()


def rows(n_rows: int = 7, *, seed: int = 1) -> Tensor:
    return torch.randn(n_rows, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def weigh(gate: nn.Module | None, state: Tensor) -> Tensor:
    return state.new_ones(len(state), 1) if gate is None else (state @ gate.weight.T).softmax(1)


def mixed(weights: Tensor, outputs: Sequence[Tensor]) -> Tensor:
    return sum(weight.unsqueeze(1) * output for weight, output in zip(weights.T, outputs, strict=True))


def by_hand(model: PLE, x: Tensor) -> dict[str, Tensor]:
    """The equations of the paper with loops over tasks."""
    states, common = [x] * len(model.tasks), x
    for level in model.levels:
        shared = [level.experts[place](common) for place in level.shared]
        own = [[level.experts[place](state) for place in level.own[t]] for t, state in enumerate(states)]
        everything = [output for mine in own for output in mine] + shared
        states = [mixed(weigh(level.gates[t], state), [*own[t], *shared]) for t, state in enumerate(states)]
        if shared and level is not model.levels.level(-1):
            common = mixed(weigh(level.shared_gate, common), everything)
    return {task: head(state) for task, head, state in zip(model.tasks, model.heads, states, strict=True)}


@pytest.mark.parametrize("n_own", [2, {"a": 1, "b": 0, "c": 3}], ids=["all alike", "by task"])
@pytest.mark.parametrize("n_levels", [1, 2, 3])
@pytest.mark.parametrize("is_training", [True, False])
def test_equations(is_training: bool, n_levels: int, n_own: int | dict[str, int]) -> None:
    model, x = build(n_levels, n_own=n_own).train(is_training), rows()
    expected = by_hand(model, x)
    parts = {task: x[index : index + 3] for index, task in enumerate("abc")}
    for task, output in model(x).items():
        torch.testing.assert_close(output, expected[task], rtol=1e-13, atol=1e-13)
    for index, (task, output) in enumerate(model(parts).items()):
        torch.testing.assert_close(output, expected[task][index : index + 3], rtol=1e-13, atol=1e-13)


@st.composite
def structures(draw: st.DrawFn) -> tuple[int, int, dict[str, int]]:
    n_shared = draw(st.integers(0, 2))
    names = "abcd"[: draw(st.integers(1, 4))]
    n_own = {name: draw(st.integers(0 if n_shared else 1, 2)) for name in names}
    return draw(st.integers(1, 3)), n_shared, n_own


@settings(max_examples=20, deadline=None)
@given(structure=structures(), is_training=st.booleans(), seed=st.integers(0, 1000))
def test_any_structure(structure: tuple[int, int, dict[str, int]], is_training: bool, seed: int) -> None:
    """The equations, the partition and the cut, for any numbers of levels, tasks and experts."""
    n_levels, n_shared, n_own = structure
    model = build(n_levels, names="".join(n_own), n_shared=n_shared, n_own=n_own).train(is_training)
    x = rows(seed=seed)
    expected = by_hand(model, x)
    torch.testing.assert_close(model(x), expected, rtol=1e-12, atol=1e-12)
    check_partition(model, x, samples=3)
    if n_shared:
        torch.testing.assert_close(model.decode(model.encode(x)), expected, rtol=1e-12, atol=1e-12)
    larger = model.add_task(Task(name="new", kind=Regression()), n_own=1).double()
    smaller = larger.remove_task(model.tasks[0])
    expected = {task: output for task, output in larger(x).items() if task in smaller.tasks}
    torch.testing.assert_close(smaller(x), expected, rtol=1e-12, atol=1e-12)
    check_partition(smaller, x, samples=3)


def test_one_level_is_cgc() -> None:
    model, x = build(1), rows()
    cgc = CGC(lambda: MLP(4, (5,)), tasks_of()).double()
    cgc.load_state_dict(model.state_dict())
    for task, output in model(x).items():
        torch.testing.assert_close(cgc(x)[task], output, rtol=1e-14, atol=1e-14)


def test_the_last_level_has_no_shared_gate() -> None:
    assert [level.shared_gate is None for level in build(3).levels] == [False, False, True]


def names_of(model: PLE, parameters: object) -> set[str]:
    wanted = {id(parameter) for parameter in parameters}
    return {name.removeprefix("levels.levels.") for name, p in model.named_parameters() if id(p) in wanted}


def test_partition_by_name() -> None:
    """One expert per task and one shared: experts 0, 1 of tasks a, b, 2 shared."""
    model = build(3, names="ab", n_shared=1)
    private = names_of(model, model.task_parameters("a"))
    assert {name for name in private if "gates" in name} == {"1.gates.0.weight", "2.gates.0.weight"}
    assert {name for name in private if "experts" in name} == {f"2.experts.0.0.0.{part}" for part in ("weight", "bias")}
    shared = names_of(model, model.shared_parameters())
    assert {name for name in shared if "gate" in name} == {
        "0.gates.0.weight",
        "0.gates.1.weight",
        "0.shared_gate.weight",
        "1.shared_gate.weight",
    }
    assert {name.split(".")[2] for name in shared if name.startswith("1.experts")} == {"0", "1", "2"}
    assert {name.split(".")[2] for name in shared if name.startswith("2.experts")} == {"2"}
    reached = reached_by(model, rows())
    for name in model.state_dict():
        assert (len(reached[name]) == 2) == (name.removeprefix("levels.levels.") in shared)


def test_private_gates_lie_behind_the_forks() -> None:
    """The gate before the last level belongs to its task: a weight of the shared part leaves its gradient alone."""
    model, x = build(3), rows()
    private = [parameter for task in model.tasks for parameter in model.task_parameters(task)]
    shared = list(model.shared_parameters())
    weights = {"a": 2.0, "b": 0.0, "c": -1.5}
    losses = {task: output.square().sum() for task, output in model(x).items()}
    expected = [
        *torch.autograd.grad(sum(losses.values()), private, retain_graph=True),
        *torch.autograd.grad(sum(weights[task] * loss for task, loss in losses.items()), shared),
    ]
    with gates(model) as opened:
        total = sum(output.square().sum() for output in model(x).values())
    opened.set(weights)
    torch.testing.assert_close(torch.autograd.grad(total, [*private, *shared]), tuple(expected), rtol=1e-11, atol=1e-12)


def test_the_cut_is_no_larger_than_needed() -> None:
    assert [tuple(part.shape) for part in build(1).encode(rows())] == [(7, 4), (2, 7, 5)]
    assert [tuple(part.shape) for part in build(2).encode(rows())] == [(7, 4), (5, 7, 5), (2, 7, 4)]
    assert [tuple(part.shape) for part in build(3).encode(rows())] == [(3, 7, 5), (5, 7, 4), (2, 7, 3)]
    some = build(3, n_own={"a": 1, "b": 0, "c": 1}).encode(rows())
    assert [tuple(part.shape) for part in some] == [(7, 4), (2, 7, 5), (4, 7, 5), (4, 7, 4), (2, 7, 3)]


def test_export_drops_other_tasks_at_the_last_level_only() -> None:
    model = build(3)
    path = model.path("b")[0].levels
    assert [level.n_own for level in path] == [[1, 1, 1], [1, 1, 1], [0, 1, 0]]
    kept = [[gate is not None for gate in level.gates] for level in path]
    assert kept == [[True, True, True], [False, True, False], [False, True, False]]
    assert model.describe()["gates"]["b"] == [{"weights": None, "entropy": None}] * 3
    assert len(model.describe()["shared_gates"]) == 2


def test_a_static_gate_is_pruned_at_the_last_level() -> None:
    torch.manual_seed(0)
    rule = DSelectKGate(k=1, reads_input=False)
    model = PLE([lambda: MLP(4, (5,)), lambda: MLP(5, (3,))], tasks_of("ab"), gate=rule).double().eval()
    with torch.no_grad():
        for level in model.levels:  # task a: expert 0, its own; task b: expert 1, the first shared one
            level.gates[0].bias.copy_(torch.tensor([-3.0, -3.0, 0.0]))
            level.gates[1].bias.copy_(torch.tensor([-3.0, 3.0, 0.0]))
    x = rows()
    for task, n_own in (("a", [1, 0]), ("b", [0, 0])):
        exported = model.export(task)
        assert torch.equal(exported(x), model(x)[task])
        assert exported[0].levels.level(1).n_own == n_own
        assert len(exported[0].levels.level(1).experts) == 1


def test_a_new_task_feeds_nothing() -> None:
    model, x = build(3), rows()
    larger = model.add_task(Task(name="d", kind=Regression())).double()
    assert [level.shared_gate.n_experts for level in larger.levels if level.shared_gate is not None] == [5, 5]
    for task, output in model(x).items():
        torch.testing.assert_close(larger(x)[task], output, rtol=1e-13, atol=1e-13)
    own = names_of(larger, larger.task_parameters("d"))
    assert {name.split(".")[0] for name in own if "experts" in name} == {"0", "1", "2"}
    check_partition(larger, x)
    again = larger.remove_task("a").add_task(Task(name="e", kind=Regression())).double()
    check_partition(again, x)
    assert again.tasks == ("b", "c", "d", "e")
    torch.testing.assert_close(again(x)["d"], larger(x)["d"], rtol=1e-13, atol=1e-13)


def test_what_a_removed_task_feeds_stays() -> None:
    model, x = build(3), rows()
    smaller = model.remove_task("b")
    assert smaller.levels.feeding == (0, 1, 2)
    assert [level.n_own for level in smaller.levels] == [[1, 1, 1], [1, 1, 1], [1, 0, 1]]
    assert [level.gates[1] is None for level in smaller.levels] == [False, True, True]
    for task, output in smaller(x).items():
        torch.testing.assert_close(output, model(x)[task], rtol=1e-13, atol=1e-13)
    for task in smaller.tasks:
        assert torch.equal(smaller.eval().export(task)(x), smaller(x)[task])


def test_gate_inputs_and_examples() -> None:
    class Convolution(nn.Sequential):
        def __init__(self, i: int, o: int) -> None:
            super().__init__(nn.Conv2d(i, o, 3, padding=1), nn.ReLU())

    heads = {name: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 1)) for name in "abc"}
    factories = [lambda: Convolution(3, 4), lambda: Convolution(4, 5)]
    images = torch.randn(2, 3, 6, 6)
    model = PLE(factories, tasks_of(), heads=heads, example=images)
    assert [level.gates[0].in_features for level in model.levels] == [3, 4]
    assert model(images)["c"].shape == (2, 1)
    corners = [lambda x: x[:, :2, 0, 0], None]
    model = PLE(factories, tasks_of(), heads=heads, example=images, gate_input=corners)
    assert [level.gates[0].in_features for level in model.levels] == [2, 4]
    assert model(images)["c"].shape == (2, 1)


def test_bad_levels() -> None:
    with pytest.raises(TaskError, match="at least one level"):
        PLE([], tasks_of())
    with pytest.raises(TaskError, match="gate_input has 1 entries, but there are 2 levels"):
        PLE([lambda: MLP(4, (5,)), lambda: MLP(5, (5,))], tasks_of(), gate_input=[None])
    with pytest.raises(TaskError, match="level 2 read is not known, since Sequential does not say its out_features"):
        PLE([lambda: _silent(MLP(4, (5,))), lambda: MLP(5, (5,))], tasks_of())


def _silent(encoder: MLP) -> nn.Module:
    """The same without ``out_features``."""
    wrapped = nn.Sequential(encoder)
    wrapped.in_features = encoder.in_features
    return wrapped
