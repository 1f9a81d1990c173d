from __future__ import annotations

import copy
import json
import math
import pickle
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

import taskloom as tl
from taskloom.errors import ExportError, TaskError
from taskloom.nn import MLP, MMoE, ModSquad, MultiTaskModel, TopKGate, check_partition
from taskloom.task import Regression, Task
from taskloom.testing import ModelLaws


class TestModSquad(ModelLaws):
    def make_model(self, tasks: Sequence[Task]) -> ModSquad:
        blocks = [lambda: MLP(self.n_features, (5,)), lambda: MLP(5, (4,))]
        return ModSquad(blocks, tasks, n_experts=3, mutual_information=0.3)

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        experts, gates = 3 * (7 * 5 + 6 * 4), len(tasks) * 3 * (6 + 5)
        return experts + gates + sum(5 * task.kind.n_outputs for task in tasks)


class TestDerivedModSquad(ModelLaws):
    """Tasks keep two experts each, so that some experts belong to one task alone."""

    def make_model(self, tasks: Sequence[Task]) -> MultiTaskModel:
        blocks = [lambda: MLP(self.n_features, (5,)), lambda: MLP(5, (4,))]
        model = ModSquad(blocks, tasks, n_experts=4, keep=2)
        return model.with_structure(
            [[sorted({k % 4, (k + depth + 1) % 4}) for k in range(len(tasks))] for depth in (0, 1)]
        )

    def build(self, n_tasks: int = 3, *, seed: int = 0) -> MultiTaskModel:
        """Experts were dropped before the noise, so that all that is left is disturbed."""
        return super().build(n_tasks, seed=seed)


class TestModSquadOfOneBlock(ModelLaws):
    def make_model(self, tasks: Sequence[Task]) -> ModSquad:
        return ModSquad([lambda: MLP(self.n_features, (4,))], tasks, n_experts=5, k=3)


def tasks_of(names: str = "abc") -> list[Task]:
    return [Task(name=name, kind=Regression()) for name in names]


def build(names: str = "abc", **settings: object) -> ModSquad:
    torch.manual_seed(0)
    settings = {"n_experts": 4, **settings}
    return ModSquad([lambda: MLP(4, (5,)), lambda: MLP(5, (3,))], tasks_of(names), **settings).double()


def rows(n_rows: int = 7, *, seed: int = 1) -> Tensor:
    return torch.randn(n_rows, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("is_training", [True, False])
def test_equations(is_training: bool) -> None:
    model, x = build().train(is_training), rows()
    for index, (task, output) in enumerate(model(x).items()):
        state = x
        for block in model.blocks:
            scores = state @ block.gates[index].weight.T
            best = scores.topk(2, 1)
            weights = torch.zeros_like(scores).scatter(1, best.indices, best.values.softmax(1))
            state = sum(weights[:, [e]] * expert(state) for e, expert in enumerate(block.experts))
        torch.testing.assert_close(output, model.heads[index](state), rtol=1e-13, atol=1e-13)
        assert task == model.tasks[index]


def test_one_block_is_sparse_mmoe() -> None:
    torch.manual_seed(0)
    model, x = ModSquad([lambda: MLP(4, (3,))], tasks_of(), n_experts=3).double(), rows()
    mmoe = MMoE(lambda: MLP(4, (3,)), tasks_of(), n_experts=3, gate=TopKGate(noise=False)).double()
    level = mmoe.levels.level(0)
    level.experts.load_state_dict(model.blocks[0].experts.state_dict())
    level.gates.load_state_dict(model.blocks[0].gates.state_dict())
    mmoe.heads.load_state_dict(model.heads.state_dict())
    for task, output in model(x).items():
        torch.testing.assert_close(mmoe(x)[task], output, rtol=1e-14, atol=1e-14)


def information_by_hand(probabilities: Sequence[Sequence[float]]) -> float:
    n = len(probabilities)
    marginal = [sum(column) / n for column in zip(*probabilities, strict=True)]
    return sum(
        p / n * math.log(p / n / (m / n)) for row in probabilities for p, m in zip(row, marginal, strict=True) if p
    )


def test_mutual_information_by_hand() -> None:
    model, x = build(mutual_information=0.7).train(), rows()
    assert model.penalties() == {}
    model(x)
    expected, states = 0.0, [x] * 3
    for block in model.blocks:
        found = [
            (state @ gate.weight.T).softmax(1).mean(0).tolist() for state, gate in zip(states, block.gates, strict=True)
        ]
        expected += information_by_hand(found)
        states = block.run(states, range(3))
    model(x)
    assert model.penalties()["mutual_information"].item() == pytest.approx(-0.7 * expected, rel=1e-10)


def test_bounds_of_the_information() -> None:
    model = build(mutual_information=1.0, n_experts=3).train()
    with torch.no_grad():
        for block in model.blocks:
            for gate in block.gates:
                gate.weight.zero_()
    model(rows())
    assert model.penalty().item() == pytest.approx(0.0, abs=1e-12)
    block = model.blocks[0]
    block.usage.copy_(torch.eye(3))
    block.probabilities = lambda: dict(enumerate(torch.eye(3, dtype=torch.float64)))  # type: ignore[method-assign]
    assert block.mutual_information(0.9).item() == pytest.approx(math.log(3), rel=1e-9)


def test_running_means() -> None:
    model = build(momentum=0.8).train()
    model(rows(seed=1))
    first = torch.stack(list(model.blocks[0].probabilities().values())).detach()
    model.update_usage()
    torch.testing.assert_close(model.blocks[0].usage, first)
    model(rows(seed=2))
    second = torch.stack(list(model.blocks[0].probabilities().values())).detach()
    mixed = 0.8 * first + 0.2 * second
    assert model.blocks[0].mutual_information(0.8).item() == pytest.approx(
        information_by_hand(mixed.tolist()), rel=1e-9
    )
    model.update_usage()
    torch.testing.assert_close(model.blocks[0].usage, mixed)
    model({"b": rows(seed=3)})
    assert model.penalties() == {}  # nothing to compare one task with
    model.update_usage()
    torch.testing.assert_close(model.blocks[0].usage[[0, 2]], mixed[[0, 2]])
    assert not torch.allclose(model.blocks[0].usage[1], mixed[1])


def test_the_penalty_drives_tasks_apart() -> None:
    model, x = build(mutual_information=1.0, n_experts=3, momentum=0.0).train(), rows(20).abs() + 1
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(150):
        model(x)
        optimiser.zero_grad()
        model.penalty().backward()
        optimiser.step()
    model(x)
    assert model.penalty().item() < -1.9 * math.log(3)  # two blocks, at most log 3 each


def trained(**settings: object) -> ModSquad:
    model = build(keep=2, **settings).train()
    for seed in range(3):
        model(rows(seed=seed))
        model.update_usage()
    return model


def test_derived_tasks_keep_what_they_use_most() -> None:
    model, x = trained(), rows()
    small = model.derive()
    usage = [block.usage for block in model.blocks]
    structure = small.structure()
    assert structure == [[sorted(row.topk(2).indices.tolist()) for row in one] for one in usage]
    assert json.loads(json.dumps(structure)) == structure
    assert model.structure() is None
    assert small.derive() is small
    assert small.penalties() == {}
    check_partition(small, x)
    state = x
    for block, own in zip(model.blocks, [one[1] for one in structure], strict=True):
        weights = (state @ block.gates[1].weight.T)[:, own].softmax(1)
        state = sum(weights[:, [i]] * block.experts[e](state) for i, e in enumerate(own))
    torch.testing.assert_close(small(x)["b"], model.heads[1](state), rtol=1e-13, atol=1e-13)
    again = build(keep=2).with_structure(structure)
    again.load_state_dict(small.state_dict())
    assert torch.equal(again.eval()(x)["c"], small.eval()(x)["c"])


def test_an_exported_task_holds_its_experts_alone() -> None:
    small, x = trained().derive().eval(), rows()
    for task in "abc":
        exported = small.export(task)
        assert torch.equal(exported(x), small(x)[task])
        assert [len(block.level.experts) for block in exported[:-1]] == [2, 2]


def test_what_is_open_is_not_exported() -> None:
    with pytest.raises(ExportError, match=r"call derive\(\) first"):
        trained().export("a")


def test_experts_of_one_task_are_its_own() -> None:
    model = build().with_structure([[[0, 1], [1, 2], [1, 3]], [[0, 1], [0, 1], [2]]])
    own = {id(parameter) for parameter in model.task_parameters("c")}
    assert id(model.blocks[0].experts[3][0][0].weight) in own
    assert id(model.blocks[1].experts[2][0][0].weight) in own
    assert model.blocks[1].gate(2) is None
    assert len(model.blocks[1].experts) == 3
    check_partition(model, rows())
    smaller = model.remove_task("c")
    assert [len(block.experts) for block in smaller.blocks] == [3, 2]
    assert smaller.structure() == [[[0, 1], [1, 2]], [[0, 1], [0, 1]]]
    larger = smaller.add_task(Task(name="d", kind=Regression())).double()
    assert larger.structure() == [[[0, 1], [1, 2], [0, 1, 2]], [[0, 1], [0, 1], [0, 1]]]
    check_partition(larger, rows())


def test_phases_and_copies() -> None:
    model = trained()
    train, fine_tune = model.phases()
    assert (train.name, train.derives, fine_tune.name) == ("train", True, "fine-tune")
    before = model.blocks[0].usage.clone()
    model(rows(seed=9))
    assert train.on_step is not None
    train.on_step(0, 1)
    assert not torch.equal(model.blocks[0].usage, before)
    assert [phase.name for phase in model.derive().phases()] == ["train"]
    (alone,) = build().phases()
    assert not alone.derives
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.penalties() == {}
        assert torch.equal(other.blocks[0].usage, model.blocks[0].usage)


def test_fit_trains_derives_and_goes_on() -> None:
    x = rows(80).float().numpy()
    targets = {"a": x[:, 0] * x[:, 3], "b": x[:, 1] * x[:, 2], "c": x.sum(1)}
    data = tl.MultiTaskData.from_arrays(x, targets, tasks_of())
    result = tl.fit(build(keep=2).float(), data, schedule=tl.Schedule(max_epochs=2, batch_size=20))
    assert isinstance(result.skeleton, ModSquad)
    assert [len(own) for own in result.skeleton.structure()[0]] == [2, 2, 2]


def test_noise() -> None:
    torch.manual_seed(0)
    model, x = build(noise=True), rows()
    assert not torch.equal(model(x)["a"], model(x)["a"])
    assert torch.equal(model.eval()(x)["a"], model(x)["a"])
    small = model.with_structure([[[0, 1, 2]] * 3, [[1, 2]] * 3])
    assert small.blocks[0].gate(0).weight.shape == (6, 4)
    torch.testing.assert_close(small.blocks[1].gate(0).weight, model.blocks[1].gate(0).weight[[1, 2, 5, 6]])


def test_bad_numbers() -> None:
    with pytest.raises(TaskError, match="n_experts must be 2 or more, found 1"):
        build(n_experts=1)
    with pytest.raises(TaskError, match=r"k=5\) must choose from 4 experts"):
        build(k=5)
    with pytest.raises(TaskError, match=r"keep must lie in 1..4 .the number of experts., found 5"):
        build(keep=5)
    with pytest.raises(TaskError, match="mutual_information must be 0 or more"):
        build(mutual_information=-1.0)
    with pytest.raises(TaskError, match=r"momentum must lie in \[0, 1\)"):
        build(momentum=1.0)
    with pytest.raises(TaskError, match="not known which experts task 'a' uses; call update_usage"):
        build(keep=2).derive()
