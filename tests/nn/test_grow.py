"""New parts beside frozen ones: they learn, and so do their statistics."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from taskloom.nn import CGC, CrossStitch, Independent, PartialSharing
from taskloom.nn._grow import freeze_module, fresh_copy, thaw_norms
from taskloom.task import Regression, Task

TASKS = [Task(name=name, kind=Regression()) for name in "ab"]
NEW = Task(name="c", kind=Regression())


def block() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5, momentum=0.3), nn.ReLU())


def test_a_copy_of_a_frozen_module_is_not_frozen():
    module = block()
    freeze_module(module)
    freeze_module(module)  # of a model that grows a second time
    assert module[1].momentum == 0.0
    fresh = fresh_copy(module)
    assert fresh[1].momentum == 0.3
    assert all(parameter.requires_grad for parameter in fresh.parameters())
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert module[1].momentum == 0.0
    assert thaw_norms(module)[1].momentum == 0.3


def independent(**settings):
    return Independent(block, TASKS, example=torch.zeros(2, 4))


def partial(**settings):
    table = [{"a": 0, "b": 0}, {"a": 0, "b": 1}]
    tail = lambda: nn.Sequential(nn.Linear(5, 5), nn.BatchNorm1d(5, momentum=0.3))  # noqa: E731
    return PartialSharing([block, tail], TASKS, table=table, example=torch.zeros(2, 5))


@pytest.mark.parametrize(
    "make",
    [
        independent,
        partial,
        lambda: CrossStitch([block(), nn.Linear(5, 3)], TASKS),
        lambda: CGC(block, TASKS, example=torch.zeros(2, 4)),
    ],
    ids=["independent", "partial", "cross-stitch", "cgc"],
)
def test_the_second_new_task_learns_its_statistics_too(make):
    model = make().add_task(NEW, freeze="old").add_task(Task(name="d", kind=Regression()), freeze="old").train()
    learning = [
        part
        for part in model.modules()
        if isinstance(part, nn.BatchNorm1d) and any(parameter.requires_grad for parameter in part.parameters())
    ]
    assert learning
    assert all(part.momentum == 0.3 for part in learning)
    before = [part.running_mean.clone() for part in learning]
    model(torch.randn(20, 4))
    assert all(not torch.equal(part.running_mean, mean) for part, mean in zip(learning, before, strict=True))
