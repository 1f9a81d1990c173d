from __future__ import annotations

import pytest

import taskloom as tl
from taskloom.fit.batchable import reason_against_batching
from taskloom.fit.train import train
from taskloom.fit.training import Objective, Schedule, Training
from taskloom.nn import MLP, DSelectKGate, GateRule, MMoE, SoftmaxGate, StaticGate, TopKGate


def with_gate(tensors, gate: GateRule) -> Training:
    model = MMoE(lambda: MLP(6, (4,)), tensors.tasks, n_experts=3, gate=gate).double()
    return Training(model, tl.equal(), tensors, Objective.of(tensors), schedule=Schedule(max_epochs=2, batch_size=40))


@pytest.mark.parametrize(
    ("gate", "reason"),
    [
        (TopKGate(balance=0.0), "draws random numbers"),
        (SoftmaxGate(dropout=0.2), "draws random numbers"),
        (DSelectKGate(), "penalties of the model depend on the batch"),
        (TopKGate(noise=False), "penalties of the model depend on the batch"),
    ],
    ids=["noise", "dropout", "DSelect-k", "balance"],
)
def test_gates_that_go_to_the_trainer(multi_label, gate, reason):
    member = with_gate(multi_label, gate)
    assert reason in reason_against_batching(member)
    assert train([member])[0].history.epochs == 2


@pytest.mark.parametrize(
    "gate",
    [SoftmaxGate(temperature=0.5), StaticGate(), DSelectKGate(reads_input=False), TopKGate(noise=False, balance=0.0)],
    ids=["temperature", "static", "static DSelect-k", "top k"],
)
def test_gates_that_can_be_batched(multi_label, deviation, gate):
    members = [with_gate(multi_label, gate) for _ in range(2)]
    assert reason_against_batching(members[0]) is None
    together, alone = train(members), train(members, batched=False)
    for found, expected in zip(together, alone, strict=True):
        assert deviation(found, expected) < 1e-9
