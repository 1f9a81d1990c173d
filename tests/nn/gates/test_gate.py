from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from taskloom.errors import TaskError
from taskloom.nn import DSelectKGate, Gate, GateRule, SoftmaxGate, StaticGate, TopKGate
from taskloom.nn.gates.gate import weigh_together

RULES: dict[str, Callable[[], GateRule]] = {
    "softmax": SoftmaxGate,
    "temperature": lambda: SoftmaxGate(temperature=0.3),
    "static": StaticGate,
    "dselect": DSelectKGate,
    "static dselect": lambda: DSelectKGate(k=1, reads_input=False),
    "top k": lambda: TopKGate(noise=False),
}


def rows(n_rows: int = 5, *, seed: int = 0) -> Tensor:
    return torch.randn(n_rows, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def build(name: str, n_experts: int = 3, *, seed: int = 0) -> Gate:
    torch.manual_seed(seed)
    gate = Gate(4, n_experts, rule=RULES[name]()).double()
    with torch.no_grad():
        for parameter in gate.parameters():
            parameter.add_(torch.randn_like(parameter))
    return gate


@pytest.mark.parametrize("name", RULES)
def test_weights_are_shares(name: str) -> None:
    weights = build(name, 4)(rows())
    assert weights.shape == (5, 4)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(5, dtype=torch.float64))
    assert build(name, 4)(rows(1)).shape == (1, 4)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("is_same", [True, False], ids=["one input", "own inputs"])
def test_together_is_one_by_one(name: str, is_same: bool) -> None:
    gates = [build(name, seed=seed) for seed in range(4)]
    inputs = [rows()] * 4 if is_same else [rows(seed=seed) for seed in range(4)]
    found = weigh_together(gates, inputs)
    expected = torch.stack([gate(part) for gate, part in zip(gates, inputs, strict=True)])
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)
    parameters = [parameter for gate in gates for parameter in gate.parameters()]
    signs = torch.randn_like(expected)
    assert found is not None
    gradients = [torch.autograd.grad(one, parameters, signs) for one in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


def test_gates_of_different_form_are_not_weighed_together() -> None:
    first = build("softmax")
    assert weigh_together([first, build("softmax", 4)], [rows()] * 2) is None
    assert weigh_together([first, build("temperature")], [rows()] * 2) is None
    assert weigh_together([first, first], [rows(), rows(3)]) is None


@pytest.mark.parametrize("name", RULES)
def test_last_weights(name: str) -> None:
    gate, others = build(name), [build(name, seed=1), build(name, seed=2)]
    is_static = gate.weight is None
    assert is_static or gate.last_weights is None
    first, second = gate(rows()), gate(rows(3, seed=1))
    torch.testing.assert_close(gate.last_weights, second.mean(0))
    gate.collects = True
    everything = torch.cat([second, gate(rows())])
    torch.testing.assert_close(gate.last_weights, everything.mean(0))
    torch.testing.assert_close(first, everything[3:])
    torch.testing.assert_close(gate.last_entropy, -torch.xlogy(everything, everything).sum(1).mean())
    weigh_together(others, [rows()] * 2)
    torch.testing.assert_close(others[1].last_weights, others[1].eval()(rows()).mean(0))
    assert gate.last_weights is not None
    assert not gate.last_weights.requires_grad
    gate.forget()
    assert is_static or gate.last_weights is None
    gate.eval()(rows())
    assert is_static or gate.last_weights is None


@pytest.mark.parametrize("name", RULES)
def test_copies_leave_the_batch_behind(name: str) -> None:
    gate = build(name)
    expected = gate(rows())
    for other in (copy.deepcopy(gate), pickle.loads(pickle.dumps(gate))):
        assert other._seen == []
        assert torch.equal(other(rows()), expected)


def test_nothing_of_a_transform_is_kept() -> None:
    gate = build("dselect")
    parameters = {name: value.detach() for name, value in gate.named_parameters()}
    inputs = rows()

    def penalty(own: dict[str, Tensor]) -> Tensor:
        gate.forget()
        functional_call(gate, own, (inputs,))
        return functional_call(_Penalties(gate), {f"gate.{name}": value for name, value in own.items()}, ())

    single = grad(penalty)(parameters)
    stacked = {name: torch.stack([value, 2 * value]) for name, value in parameters.items()}
    together = vmap(grad(penalty))(stacked)
    torch.testing.assert_close({name: value[0] for name, value in together.items()}, single, rtol=1e-12, atol=1e-15)
    assert gate.penalties() == {}
    assert gate.last_weights is None


class _Penalties(torch.nn.Module):
    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.gate = gate

    def forward(self) -> Tensor:
        return torch.stack(list(self.gate.penalties().values())).sum()


def test_half_precision_scores_are_weighed_in_full() -> None:
    gate = Gate(4, 3, rule=SoftmaxGate())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        weights = gate(rows().bfloat16())
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights, gate(rows().bfloat16().float()), rtol=1e-6, atol=1e-6)
    assert gate.half()(rows().half()).dtype == torch.float32


def test_bad_gates() -> None:
    with pytest.raises(TaskError, match="1 or more experts and features, found 0 and 4"):
        Gate(4, 0, rule=SoftmaxGate())
    with pytest.raises(TaskError, match=r"k=3\) must choose from 2 experts; k lies in 2..2"):
        Gate(4, 2, rule=TopKGate(k=3))
