"""Fully-adaptive feature sharing: affinities, groups, widening without a change, thin starts, training, errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import nn

import taskloom as tl
from taskloom.data.tensors import TaskTensors
from taskloom.errors import TaskError
from taskloom.nn import MLP, AdaptiveSharing, PartialSharing, check_partition, error_affinity
from taskloom.task import Binary, Regression, Task
from taskloom.testing import ModelLaws

TASKS = [Task(name=name, kind=Regression()) for name in "abcde"]


class TestAdaptiveSharing(ModelLaws):
    def make_model(self, tasks: Sequence[Task]) -> AdaptiveSharing:
        return AdaptiveSharing([lambda: MLP(self.n_features, (5,)), lambda: MLP(5, (4,))], tasks)

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        return 7 * 5 + 6 * 4 + sum(5 * task.kind.n_outputs for task in tasks)


def build(**settings) -> AdaptiveSharing:
    torch.manual_seed(0)
    return AdaptiveSharing([lambda: MLP(6, (5,)), lambda: MLP(5, (4,))], TASKS, **settings).double()


def planted() -> torch.Tensor:
    """Errors of 3 + 2 tasks that agree within their group, but for a tenth of the examples."""
    random = np.random.default_rng(0)
    hard = random.integers(0, 2, (400, 2))[:, [0, 0, 0, 1, 1]]
    flipped = random.random((400, 5)) < 0.1
    return torch.from_numpy(np.where(flipped, 1 - hard, hard).astype(float))


def test_planted_groups_are_found_for_a_middling_cost():
    cases = {
        0.1: ((0, 1, 2), (3, 4)),
        0.2: ((0, 1, 2), (3, 4)),
        0.01: tuple((k,) for k in range(5)),
        0.5: (tuple(range(5)),),
    }
    for unit_cost, expected in cases.items():
        model = build(unit_cost=unit_cost)
        model._affinity = error_affinity(planted())
        assert model.grouping(1) == expected


def test_single_tasks_are_not_cut_off_where_groups_agree_only_in_part():
    model = build(unit_cost=0.12)
    same = np.kron(np.eye(2), np.ones((3, 3)))[:5, :5]
    affinity = 0.5 + 0.22 * same
    np.fill_diagonal(affinity, 1.0)
    model._affinity = torch.from_numpy(affinity)
    assert model.grouping(1) == ((0, 1, 2), (3, 4))


def test_the_margin_of_a_regression_is_its_absolute_error():
    model = build()
    outputs, targets = torch.randn(7, 1), torch.randn(7)
    assert torch.equal(model._margins(TASKS[0], outputs, targets), (outputs[:, 0] - targets).abs())
    binary = Task(name="a", kind=Binary())
    expected = nn.functional.binary_cross_entropy_with_logits(outputs[:, 0], torch.ones(7), reduction="none")
    torch.testing.assert_close(model._margins(binary, outputs, torch.ones(7)), expected)


def test_pairs_without_labels_are_left_out():
    margins = planted()
    margins[:200, 0] = torch.nan
    margins[200:, 4] = torch.nan
    affinity = error_affinity(margins)
    assert affinity[0, 4] == 0.5
    assert affinity[0, 1] > 0.7
    assert torch.equal(affinity, affinity.T)


def test_widening_leaves_the_function_as_it_is():
    model = build().eval()
    inputs = torch.randn(4, 6, dtype=torch.float64)
    before = model(inputs)
    model._affinity = error_affinity(planted())
    model.widen(1)
    assert [len(stage) for stage in model.stages] == [1, 2]
    assert model.structure()[1] == {"a": 0, "b": 0, "c": 0, "d": 1, "e": 1}
    model.widen(0)
    assert [len(stage) for stage in model.stages] == [2, 2]
    for task, output in model(inputs).items():
        assert torch.equal(output, before[task])
    check_partition(model, inputs)
    assert len(model._origins) == 2  # weight and bias of the first stage's copy
    tree = model.derive().eval()
    assert type(tree) is PartialSharing
    for task, output in tree(inputs).items():
        assert torch.equal(output, before[task])


def test_it_trains_through_its_phases(tmp_path):
    torch.manual_seed(0)
    x = torch.randn(150, 6)
    y = torch.stack([x[:, 0], x[:, 0], x[:, 0], x[:, 1] * x[:, 2], x[:, 1] * x[:, 2]], 1)
    data = TaskTensors(
        tasks=tuple(TASKS),
        inputs=x,
        targets=y,
        mask=torch.ones_like(y, dtype=torch.bool),
        train=np.arange(120),
        validation=np.arange(120, 150),
    )
    schedule = tl.Schedule(max_epochs=2, batch_size=20)
    result = tl.fit(build(widen_epochs=2).float(), data, schedule=schedule, out=tmp_path)
    assert type(result.model) is PartialSharing
    assert result.history.epochs in (4, 6)


@pytest.mark.parametrize(
    "settings", [{"widen_epochs": 0}, {"separation": 0.0}, {"unit_cost": -1.0}, {"poolings": [1]}], ids=str
)
def test_bad_settings(settings):
    with pytest.raises(TaskError, match="widen_epochs must be 1 or more"):
        build(**settings)
