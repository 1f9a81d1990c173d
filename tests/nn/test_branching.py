"""Learning to branch: laws, special cases, derivation into a tree, training through its phases, errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

import taskloom as tl
from taskloom.data.tensors import TaskTensors
from taskloom.errors import ExportError, TaskError
from taskloom.nn import MLP, HardSharing, LearningToBranch, PartialSharing
from taskloom.task import Regression, Task
from taskloom.testing import ModelLaws

TASKS = [Task(name=name, kind=Regression()) for name in "abc"]


def stages(n_features: int = 6):
    return [lambda: MLP(n_features, (5,)), lambda: MLP(5, (4,)), lambda: MLP(4, (3,))]


class TestLearningToBranch(ModelLaws):
    vectorises = False  # every forward pass draws parents
    derives_before_export = True

    def make_model(self, tasks: Sequence[Task]) -> LearningToBranch:
        return LearningToBranch(stages(self.n_features)[:2], tasks, widths=[1, min(2, len(tasks))])

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        n = min(2, len(tasks))
        return 7 * 5 + n * 6 * 4 + n + len(tasks) * n + sum(5 * task.kind.n_outputs for task in tasks)


def build(**settings) -> LearningToBranch:
    torch.manual_seed(0)
    return LearningToBranch(stages(), TASKS, **settings).double()


def test_one_node_everywhere_is_hard_sharing():
    model = build(widths=[1, 1, 1])
    encoder = torch.nn.Sequential(*(nodes[0] for nodes in model.nodes))
    hard = HardSharing(encoder, TASKS, heads=dict(zip("abc", model.heads, strict=True)))
    inputs = torch.randn(4, 6, dtype=torch.float64)
    for mode in (True, False):
        for task, output in model.train(mode)(inputs).items():
            assert torch.equal(output, hard(inputs)[task])


def test_the_tree_computes_what_the_network_does_in_evaluation():
    model = build(widths=[2, 3, 3]).eval()
    with torch.no_grad():
        for policy in model.policies:
            policy.logits.normal_()
    inputs = torch.randn(4, 6, dtype=torch.float64)
    expected = model(inputs)
    assert all(torch.equal(model(inputs)[task], output) for task, output in expected.items())
    tree = model.derive()
    assert isinstance(tree, PartialSharing)
    for task, output in tree.eval()(inputs).items():
        assert torch.equal(output, expected[task])
        assert torch.equal(tree.export(task)(inputs), output)
    with pytest.raises(ExportError, match=r"call derive\(\) first"):
        model.export("a")
    again = model.with_structure(tree.structure())
    assert {n: v.shape for n, v in again.state_dict().items()} == {n: v.shape for n, v in tree.state_dict().items()}


def test_equal_nodes_make_the_choice_irrelevant():
    model = build(widths=[2, 2, 3]).train()
    with torch.no_grad():
        for nodes in model.nodes:
            for node in nodes[1:]:
                node.load_state_dict(nodes[0].state_dict())
    inputs = torch.randn(4, 6, dtype=torch.float64)
    first = model(inputs)["a"]
    for _ in range(3):
        torch.testing.assert_close(model(inputs)["a"], first, rtol=0, atol=1e-12)
    model._warm_up(True)
    torch.testing.assert_close(model(inputs)["a"], first, rtol=0, atol=1e-12)  # the mean, not the sum


def test_identical_copies_are_warned_of_once():
    def layer():
        torch.manual_seed(0)
        return MLP(6, (6,))

    with pytest.warns(UserWarning, match="nodes of depth 1 are identical copies") as caught:
        LearningToBranch([layer] * 3, TASKS, widths=[1, 2, 3])
    assert len(caught) == 1


def test_choices_get_gradients_and_single_ones_none():
    model = build(widths=[1, 2, 3]).train()
    loss = sum(output.square().sum() for output in model(torch.randn(8, 6, dtype=torch.float64)).values())
    loss.backward()
    assert model.policies[0].logits.grad is None or not model.policies[0].logits.grad.any()
    assert model.policies[2].logits.grad.any()


@pytest.mark.parametrize("hard", [False, True])
def test_samples_are_soft_or_one_hot(hard):
    model = build(hard=hard).train()
    shares = torch.stack([share for _, share in model.mixtures()[-1][0]])
    assert shares.sum().item() == pytest.approx(1.0)
    assert (shares.max().item() == pytest.approx(1.0, abs=1e-12)) is hard


def test_choices_learn_at_their_own_rate_while_the_temperature_falls():
    model = build(learning_rate=0.3, temperature=(4.0, 1.0), search_epochs=6)
    search, _ = model.phases()
    usual, own = model.param_groups(1e-3, weight_decay=0.1)
    assert (usual["lr"], usual["weight_decay"], own["lr"], own["weight_decay"]) == (1e-3, 0.1, 0.3, 0.0)
    assert [id(p) for p in own["params"]] == [id(p) for p in model.structure_parameters()]
    assert search.train == ("shared", "task", "structure")
    found = []
    for step in range(4):
        search.on_step(step, 4)
        found.append(float(model.policies[0].temperature))
    assert found == pytest.approx([4 / 2**0.5, 2.0, 2**0.5, 1.0])


def test_it_trains_through_its_phases(tmp_path):
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
    model = build(warmup_epochs=1, search_epochs=3).float()
    result = tl.fit(model, data, schedule=tl.Schedule(max_epochs=2, batch_size=20), out=tmp_path)
    assert result.history.epochs == 1 + 3 + 2
    assert isinstance(result.model, PartialSharing)
    from taskloom.fit import load

    again = load(tmp_path, model).model
    assert again.structure() == result.model.structure()
    for task, output in result.model(x).items():
        assert torch.equal(again(x)[task], output)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widths": [1, 2]}, "one number of 1 or more for each of the 3 stages"),
        ({"widths": [1, 0, 1]}, "one number of 1 or more"),
        ({"search_epochs": 0}, "search_epochs 1 or more"),
        ({"warmup_epochs": -1}, "warmup_epochs must be 0 or more"),
        ({"learning_rate": 0.0}, "learning_rate positive"),
        ({"temperature": (1.0, 2.0)}, "must fall and stay positive"),
    ],
    ids=["short", "zero", "search", "warm-up", "rate", "temperature"],
)
def test_bad_settings(settings, message):
    with pytest.raises(TaskError, match=message):
        build(**settings)
    with pytest.raises(TaskError, match="at least one stage"):
        LearningToBranch([], TASKS)
