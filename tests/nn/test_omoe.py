from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn import MLP, DSelectKGate, HardSharing, MMoE, OMoE
from taskloom.task import Regression, Task
from taskloom.testing import ModelLaws


class TestOMoE(ModelLaws):
    def make_model(self, tasks: Sequence[Task]) -> OMoE:
        return OMoE(lambda: MLP(self.n_features, (5, 4)), tasks, n_experts=3)

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        return 3 * (7 * 5 + 6 * 4) + 3 * 6 + sum(5 * task.kind.n_outputs for task in tasks)


class TestOMoEWithDSelectK(ModelLaws):
    def make_model(self, tasks: Sequence[Task]) -> OMoE:
        return OMoE(lambda: MLP(self.n_features, (4,)), tasks, n_experts=3, gate=DSelectKGate(entropy=0.1))


def tasks_of(names: str = "abc") -> list[Task]:
    return [Task(name=name, kind=Regression()) for name in names]


def build(n_experts: int = 3, **settings: object) -> OMoE:
    torch.manual_seed(0)
    return OMoE(lambda: MLP(4, (5, 3)), tasks_of(), n_experts=n_experts, **settings).double()


def rows(n_rows: int = 7) -> Tensor:
    return torch.randn(n_rows, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_it_is_mmoe_with_equal_gates() -> None:
    model, x = build(), rows()
    mmoe = MMoE(lambda: MLP(4, (5, 3)), tasks_of(), n_experts=3).double()
    ours, theirs = model.encoder.level, mmoe.levels.level(0)
    theirs.experts.load_state_dict(ours.experts.state_dict())
    mmoe.heads.load_state_dict(model.heads.state_dict())
    for gate in theirs.gates:
        gate.load_state_dict(ours.shared_gate.state_dict())
    for task, output in model(x).items():
        torch.testing.assert_close(mmoe(x)[task], output, rtol=1e-13, atol=1e-13)


def test_one_expert_is_hard_sharing() -> None:
    model, x = build(1), rows()
    hard = HardSharing(model.encoder.level.experts[0], tasks_of(), heads=dict(zip("abc", model.heads, strict=True)))
    for task, output in hard(x).items():
        assert torch.equal(model(x)[task], output)
    assert model.describe()["total"] == hard.describe()["total"]


def test_the_gate_is_shared() -> None:
    model = build()
    shared = {id(parameter) for parameter in model.shared_parameters()}
    assert id(model.encoder.level.shared_gate.weight) in shared
    model(rows())
    (found,) = model.describe()["shared_gates"]
    torch.testing.assert_close(sum(found["weights"]), 1.0)
    assert 0 < found["entropy"] <= torch.tensor(3.0).log().item()


def test_penalties_are_of_all_rows_of_one_forward() -> None:
    model = build(gate=DSelectKGate(entropy=0.1)).train()
    assert model.penalties() == {}
    x = rows(6)
    model(x)
    expected = model.penalty()
    model({"a": x[:2], "b": x[2:3], "c": x[3:]})
    torch.testing.assert_close(model.penalty(), expected, rtol=1e-12, atol=1e-14)
    model.encoder.eval()  # one batch after the other
    model.encoder.level.shared_gate.train()
    model({"a": x[:2], "b": x[2:3], "c": x[3:]})
    torch.testing.assert_close(model.penalty(), expected, rtol=1e-12, atol=1e-14)
    model.eval()(x)
    assert model.penalties() == {}


def test_a_decided_static_gate_is_pruned() -> None:
    model, x = build(4, gate=DSelectKGate(k=1, reads_input=False)).eval(), rows()
    with torch.no_grad():
        model.encoder.level.shared_gate.bias.copy_(torch.tensor([3.0, -3.0, 0.0]))
    exported = model.export("b")
    assert torch.equal(exported(x), model(x)["b"])
    assert sum(parameter.numel() for parameter in exported.parameters()) == 5 * 5 + 6 * 3 + 4
    assert not isinstance(exported[0].level.shared_gate, nn.Module)


def test_bad_numbers() -> None:
    with pytest.raises(TaskError, match="n_experts must be 1 or more, found 0"):
        build(0)
