"""Descriptions of trained networks: parts and who shares them, costs, learned structures, all as JSON."""

from __future__ import annotations

import json

import pytest
import torch

import taskloom as tl
from taskloom.nn import MLP, HardSharing, Independent, MMoE, PartialSharing, RelationshipNetwork, SharingGraph
from taskloom.study.description import describe_network, part_in_words, shared_parts

TASKS = [tl.Task(name=name, kind=tl.Regression()) for name in ("a b", "c", "d/e")]
INPUTS = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))


def test_the_parts_of_a_tree():
    table = [dict.fromkeys(("a b", "c", "d/e"), 0), {"a b": 0, "c": 0, "d/e": 1}]
    model = PartialSharing([lambda: MLP(4, (5,)), lambda: MLP(5, (3,))], TASKS, table=table)
    parts = [(part["name"], part["tasks"]) for part in shared_parts(model, INPUTS)]
    assert parts == [
        ("stage 1", ["a b", "c", "d/e"]),
        ("stage 2.1", ["a b", "c"]),
        ("stage 2.2", ["d/e"]),
        ("head of a b", ["a b"]),
        ("head of c", ["c"]),
        ("head of d/e", ["d/e"]),
    ]
    assert sum(part["parameters"] for part in shared_parts(model, INPUTS)) == model.describe()["total"]


def test_joint_costs_count_what_is_shared_once():
    described = describe_network(HardSharing(MLP(4, (5,)), TASKS), INPUTS)
    assert described["macs"] == {"joint": 20 + 15, "tasks": dict.fromkeys(("a b", "c", "d/e"), 25), "not_counted": []}
    apart = describe_network(Independent(lambda: MLP(4, (5,)), TASKS), INPUTS)
    assert apart["macs"]["joint"] == sum(apart["macs"]["tasks"].values()) == 75
    assert apart["parameters"]["shared"] == 0


@pytest.mark.parametrize(
    ("make", "learned"),
    [
        (lambda: MMoE(lambda: MLP(4, (5,)), TASKS, n_experts=2), "gates"),
        (lambda: RelationshipNetwork(MLP(4, (5,)), TASKS, tower=lambda: MLP(5, (3,))), "task_correlation"),
        (lambda: SharingGraph([lambda: MLP(4, (5,)), lambda: MLP(5, (3,))], TASKS), "edges"),
    ],
    ids=["experts", "relationship", "graph"],
)
def test_learned_structures_are_plain_data(make, learned):
    torch.manual_seed(0)
    described = describe_network(make(), INPUTS)
    assert learned in described["learned"]
    assert json.loads(json.dumps(described)) == described


def test_gates_are_described_on_the_rows_given():
    """A network that was read from a file has seen no rows yet."""
    torch.manual_seed(0)
    model = MMoE(lambda: MLP(4, (5,)), TASKS, n_experts=3).eval()
    gates = describe_network(model, INPUTS)["learned"]["gates"]
    for task, (weights,) in model.gate_weights(INPUTS).items():
        assert gates[task][0]["weights"] == pytest.approx(weights.mean(0).tolist(), abs=1e-6)
    assert model.describe()["gates"]["c"][0]["weights"] is None  # the network itself is left alone


def test_many_tasks_are_counted_only():
    tasks = [tl.Task(name=f"task {k}", kind=tl.Regression()) for k in range(30)]
    described = describe_network(HardSharing(MLP(4, (5,)), tasks), INPUTS)
    assert described["parts"] is None
    assert described["learned"] == {}
    assert described["macs"]["joint"] == 20 + 30 * 5


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("levels.levels.0.experts.2", "level 1, expert 3"),
        ("levels.levels.1.shared_gate", "level 2, shared gate"),
        ("heads.1", "head of b"),
        ("heads.9", "head 10"),
        ("branches.0.1.weight", "branch 1.2, weight"),
        ("0.weight", "part 1, weight"),
        ("encoder", "encoder"),
    ],
)
def test_parts_are_called_by_words(path, words):
    assert part_in_words(path, ("a", "b")) == words
