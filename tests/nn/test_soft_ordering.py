"""Soft layer ordering: laws, the equation, special cases, errors."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from taskloom.errors import TaskError
from taskloom.nn import MLP, HardSharing, SoftOrdering
from taskloom.task import Regression, Task
from taskloom.testing import ModelLaws

TASKS = [Task(name=name, kind=Regression()) for name in "abc"]


class TestSoftOrdering(ModelLaws):
    def make_model(self, tasks: Sequence[Task]) -> SoftOrdering:
        return SoftOrdering(lambda: nn.Linear(5, 5), tasks, stem=MLP(self.n_features, (5,)), n_layers=2)

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        return 7 * 5 + 2 * 6 * 5 + len(tasks) * 4 + sum(6 * task.kind.n_outputs for task in tasks)


def build(**settings) -> SoftOrdering:
    torch.manual_seed(0)
    return SoftOrdering(lambda: nn.Linear(6, 6), TASKS, **{"n_layers": 3, **settings}).double()


def test_the_equation():
    model = build(activation=nn.Tanh()).eval()
    with torch.no_grad():
        model.scores[1].values.normal_()
    inputs = torch.randn(4, 6, dtype=torch.float64)
    hidden, shares = inputs, model.mixture("b")
    for depth in range(3):
        hidden = torch.tanh(sum(shares[depth, j] * layer(hidden) for j, layer in enumerate(model.layers)))
    torch.testing.assert_close(model(inputs)["b"], model.heads[1](hidden), rtol=0, atol=1e-12)


def test_certain_scores_in_one_order_are_hard_sharing():
    model = build().eval()
    with torch.no_grad():
        for scores in model.scores:
            scores.values.copy_(1e4 * torch.eye(3))
    stages = [stage for layer in model.layers for stage in (layer, nn.ReLU())]
    hard = HardSharing(nn.Sequential(*stages), TASKS, heads=dict(zip("abc", model.heads, strict=True))).eval()
    inputs = torch.randn(4, 6, dtype=torch.float64)
    for task, output in model(inputs).items():
        torch.testing.assert_close(output, hard(inputs)[task], rtol=0, atol=1e-12)


def test_convolutions_are_layers_too():
    model = SoftOrdering(
        lambda: nn.Conv2d(3, 3, 3, padding=1),
        TASKS,
        heads={name: nn.Sequential(nn.Flatten(), nn.Linear(48, 1)) for name in "abc"},
    )
    assert model(torch.zeros(2, 3, 4, 4))["a"].shape == (2, 1)


def test_bad_input():
    with pytest.raises(TaskError, match="n_layers must be 1 or more"):
        build(n_layers=0)
    model = SoftOrdering(lambda: nn.Linear(4, 3), TASKS)
    with pytest.raises(TaskError, match=r"of shape \(4,\) into \(3,\); layers must keep the shape"):
        model(torch.zeros(1, 4))


def test_scores_learn_faster_than_layers_and_do_not_decay():
    model = build(score_lr_factor=20.0)
    usual, own = model.param_groups(1e-3, weight_decay=0.1)
    assert (usual["lr"], usual["weight_decay"]) == (1e-3, 0.1)
    assert (own["lr"], own["weight_decay"]) == (pytest.approx(2e-2), 0.0)
    assert [id(p) for p in own["params"]] == [id(scores.values) for scores in model.scores]
    with pytest.raises(TaskError, match="score_lr_factor must be positive"):
        build(score_lr_factor=0.0)
