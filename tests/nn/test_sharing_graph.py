"""The learned sharing graph: laws, pruning, ownership, training through its phases, errors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch

import taskloom as tl
from taskloom.data.tensors import TaskTensors
from taskloom.errors import TaskError
from taskloom.nn import MLP, SharingGraph, check_partition
from taskloom.task import Regression, Task
from taskloom.testing import ModelLaws

TASKS = [Task(name=name, kind=Regression()) for name in "abc"]


class TestSharingGraph(ModelLaws):
    def make_model(self, tasks: Sequence[Task]) -> SharingGraph:
        stages = [lambda: MLP(self.n_features, (5,)), lambda: MLP(5, (4,))]
        return SharingGraph(stages, tasks, widths=[2, 3])

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        return 2 * 7 * 5 + 3 * 6 * 4 + 2 * 3 + 3 * len(tasks) + sum(5 * task.kind.n_outputs for task in tasks)


def build(**settings) -> SharingGraph:
    torch.manual_seed(0)
    stages = [lambda: MLP(6, (5,)), lambda: MLP(5, (4,))]
    return SharingGraph(stages, TASKS, **{"widths": [2, 3], **settings}).double()


def decided(model: SharingGraph) -> SharingGraph:
    """a and b read node 0, c reads node 2; both read node 0 of the first depth, c's also node 1."""
    with torch.no_grad():
        for row, parent in zip(model.edges[1], (0, 0, 2), strict=True):
            row.scores[parent] = 8.0
        model.edges[0][0].scores[0] = 8.0
        model.edges[0][2].scores.copy_(torch.tensor([0.3, 0.1]))
    return model


def test_weak_edges_and_unreached_nodes_go():
    model = decided(build())
    pruned = model.derive().eval()
    assert pruned.structure() == [[[0], [0, 1], [0, 1]], [[0], [0], [2]]]
    assert sum(p.numel() for p in pruned.nodes[1][1].parameters()) == 0
    inputs = torch.randn(4, 6, dtype=torch.float64)
    for task, output in pruned(inputs).items():
        torch.testing.assert_close(output, model.eval()(inputs)[task], rtol=0, atol=2e-2)
        assert torch.equal(pruned.export(task)(inputs), output)
    check_partition(pruned, inputs)
    own = {id(parameter) for parameter in pruned.task_parameters("c")}
    assert {id(parameter) for parameter in pruned.nodes[1][2].parameters()} <= own
    assert pruned.penalties() == {}
    calls = []
    for node in (*pruned.nodes[0], *pruned.nodes[1]):
        node.register_forward_hook(lambda module, *_: calls.append(module))
    pruned(inputs, ["a", "b"])
    assert len(calls) == 2


def test_the_penalty_is_the_mean_entropy():
    assert build(strength=1.0).penalty().item() == pytest.approx((3 * math.log(2) + 3 * math.log(3)) / 6)
    assert build(widths=[1, 1]).penalties() == {}


def test_edges_learn_faster_than_nodes_and_do_not_decay():
    model = build(edge_lr_factor=20.0)
    usual, own = model.param_groups(1e-3, weight_decay=0.1)
    assert (usual["lr"], usual["weight_decay"]) == (1e-3, 0.1)
    assert (own["lr"], own["weight_decay"]) == (pytest.approx(2e-2), 0.0)
    assert {id(p) for p in own["params"]} == {id(row.scores) for level in model.edges for row in level}


def test_it_trains_through_its_phases():
    torch.manual_seed(0)
    x = torch.randn(120, 6)
    y = torch.stack([x[:, 0], x[:, 0], x[:, 1] * x[:, 2]], 1)
    data = TaskTensors(
        tasks=tuple(TASKS),
        inputs=x,
        targets=y,
        mask=torch.ones_like(y, dtype=torch.bool),
        train=np.arange(90),
        validation=np.arange(90, 120),
    )
    result = tl.fit(build(search_epochs=2).float(), data, schedule=tl.Schedule(max_epochs=2, batch_size=20))
    assert result.history.epochs == 4
    assert result.model.is_pruned


@pytest.mark.parametrize(
    "settings", [{"strength": -1.0}, {"tolerance": 1.0}, {"search_epochs": 0}, {"edge_lr_factor": 0.0}], ids=str
)
def test_bad_settings(settings):
    with pytest.raises(TaskError, match="found"):
        build(**settings)
