"""Branched networks: affinities of representations, trees under a budget, training in two phases."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import taskloom as tl
from taskloom.data.tensors import TaskTensors
from taskloom.errors import ExportError, TaskError
from taskloom.nn import MLP, BranchedNetworks, PartialSharing, feature_affinity, tree_from_affinity
from taskloom.task import Regression, Task
from taskloom.testing import ModelLaws

TASKS = [Task(name=name, kind=Regression()) for name in "abcd"]


class TestBranchedNetworks(ModelLaws):
    derives_before_export = True

    def make_model(self, tasks: Sequence[Task]) -> BranchedNetworks:
        return BranchedNetworks([lambda: MLP(self.n_features, (5,)), lambda: MLP(5, (4,))], tasks)

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        return len(tasks) * (7 * 5 + 6 * 4) + sum(5 * task.kind.n_outputs for task in tasks)

    def test_export(self) -> None:
        """The derived tree is another network with weights of its own: it is exported as partial sharing is."""
        tree = self.build().derive()
        assert isinstance(tree, PartialSharing)
        inputs = self.make_inputs(3)
        for task, output in tree.eval()(inputs).items():
            assert torch.equal(tree.export(task)(inputs), output)


def test_affinities_are_spearman_correlations_of_dissimilarities():
    torch.manual_seed(0)
    one, other = torch.randn(12, 7), torch.randn(12, 3, 2)
    found = feature_affinity([[one, other]])[0]
    upper = np.triu_indices(12, 1)
    first, second = (1 - np.corrcoef(x.flatten(1).double().numpy())[upper] for x in (one, other))
    assert found[0, 1].item() == pytest.approx(spearmanr(first, second).statistic, abs=1e-10)
    assert torch.equal(found.diagonal(), torch.ones(2, dtype=torch.float64))
    scaled = feature_affinity([[one, 5 * other + 0.0]])[0]
    torch.testing.assert_close(scaled, found, rtol=0, atol=1e-10)


def planted(n_tasks: int = 6) -> np.ndarray:
    """Two groups, more alike at the first stage than at the last."""
    group = np.arange(n_tasks) % 2
    same = group[:, None] == group
    return np.stack([np.where(same, 1.0, low) for low in (0.95, 0.5, 0.2)])


def test_planted_groups_are_found_where_the_budget_allows_them():
    groups = ((0, 2, 4), (1, 3, 5))
    everyone = (tuple(range(6)),)
    assert tree_from_affinity(planted(), budget=3) == [everyone] * 3
    assert tree_from_affinity(planted(), budget=4) == [everyone, everyone, groups]
    assert tree_from_affinity(planted(), budget=5) == [everyone, groups, groups]
    assert tree_from_affinity(planted(), budget=100)[2] == groups  # further splits win nothing
    many = tree_from_affinity(planted(10), budget=4)
    assert many[2] == ((0, 2, 4, 6, 8), (1, 3, 5, 7, 9))


def test_single_tasks_are_not_cut_off_where_groups_agree_only_in_part():
    """A mean over groups would be smaller for ((0,), (1, 2, 3, 4, 5)): the single task, half of the mean, loses 0."""
    group = np.arange(6) % 2
    affinity = np.where(group[:, None] == group, 0.5, 0.1)
    np.fill_diagonal(affinity, 1.0)
    assert tree_from_affinity(affinity[None], budget=2) == [((0, 2, 4), (1, 3, 5))]


def test_sizes_count():
    assert tree_from_affinity(planted(), budget=13, sizes=[1, 1, 10])[2] == (tuple(range(6)),)
    with pytest.raises(TaskError, match="needs 12"):
        tree_from_affinity(planted(), budget=11, sizes=[1, 1, 10])
    with pytest.raises(TaskError, match="sizes has 2 numbers"):
        tree_from_affinity(planted(), budget=11, sizes=[1, 1])


def test_it_trains_through_its_phases():
    torch.manual_seed(0)
    x = torch.randn(150, 6)
    y = torch.stack([x[:, 0], x[:, 0] + 0.1 * x[:, 1], x[:, 2] * x[:, 3], x[:, 2] * x[:, 3] + 0.1 * x[:, 4]], 1)
    data = TaskTensors(
        tasks=tuple(TASKS),
        inputs=x,
        targets=y,
        mask=torch.ones_like(y, dtype=torch.bool),
        train=np.arange(120),
        validation=np.arange(120, 150),
    )
    model = BranchedNetworks([lambda: MLP(6, (8,)), lambda: MLP(8, (8,))], TASKS, single_epochs=2, n_inputs=50)
    result = tl.fit(model, data, schedule=tl.Schedule(max_epochs=2, batch_size=20))
    assert type(result.model) is PartialSharing
    assert result.history.epochs == 4
    assert 2 <= sum(len(set(row.values())) for row in result.model.structure()) < 8
    with pytest.raises(ExportError, match=r"call derive\(\) first"):
        model.export("a")


def test_bad_input():
    with pytest.raises(TaskError, match="budget must be 1"):
        BranchedNetworks([lambda: MLP(6, (5,))], TASKS, budget=0.5)
    with pytest.raises(TaskError, match=r"features of \[2\] inputs"):
        feature_affinity([[torch.zeros(2, 3), torch.zeros(2, 3)]])
    with pytest.raises(TaskError, match=r"features of \[4, 5\] inputs"):
        feature_affinity([[torch.zeros(4, 3), torch.zeros(5, 3)]])
