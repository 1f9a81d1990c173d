"""AdaShare: laws, warm-up, curriculum, derivation, export, training through its phases, errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import nn

import taskloom as tl
from taskloom.data.tensors import TaskTensors
from taskloom.errors import ExportError, TaskError
from taskloom.nn import MLP, AdaShare, HardSharing, check_partition
from taskloom.nn.adashare import _ALL, SELECT, SKIP
from taskloom.task import Regression, Task
from taskloom.testing import ModelLaws

TASKS = [Task(name=name, kind=Regression()) for name in "abc"]


class Block(nn.Module):
    """A residual block of one layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width)
        self.out_features = width

    def forward(self, inputs):
        return inputs + torch.relu(self.layer(inputs))


def build(tasks=TASKS, **settings) -> AdaShare:
    torch.manual_seed(0)
    return AdaShare([Block(5) for _ in range(4)], tasks, stem=MLP(6, (5,)), **settings).double()


def prefer(model: AdaShare, table: Sequence[Sequence[int]]) -> AdaShare:
    """Make the choices of a table (1 runs, 0 skips) the probable ones."""
    with torch.no_grad():
        for index, row in enumerate(table):
            for depth, runs in enumerate(row):
                model.policy.logits[index, depth, SELECT if runs else SKIP] = 3.0
    return model


TABLE = [[1, 0, 1, 1], [1, 0, 0, 1], [1, 0, 1, 0]]


class TestSearched(ModelLaws):
    vectorises = False  # every forward pass draws a policy
    derives_before_export = True

    def make_model(self, tasks: Sequence[Task]) -> AdaShare:
        return AdaShare([Block(5) for _ in range(3)], tasks, stem=MLP(self.n_features, (5,)))

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        return 7 * 5 + 3 * 6 * 5 + 2 * 3 * len(tasks) + sum(6 * task.kind.n_outputs for task in tasks)


class TestFixed(ModelLaws):
    def make_model(self, tasks: Sequence[Task]) -> AdaShare:
        model = AdaShare([Block(5) for _ in range(3)], tasks, stem=MLP(self.n_features, (5,)))
        return model.with_structure([[True, k % 2 == 0, k == 1] for k in range(len(tasks))])


def test_in_the_warm_up_it_is_hard_sharing():
    model = build()
    model._enter(_ALL)
    hard = HardSharing(
        nn.Sequential(model.stem, *model.blocks), TASKS, heads=dict(zip("abc", model.heads, strict=True))
    )
    inputs = torch.randn(4, 6, dtype=torch.float64)
    for mode in (True, False):
        expected = hard.train(mode)(inputs)
        for task, output in model.train(mode)(inputs).items():
            assert torch.equal(output, expected[task])
    assert model.penalties() == {}
    assert {id(p) for p in model.shared_parameters()} == {id(p) for p in hard.shared_parameters()}


def test_only_free_blocks_learn_a_policy():
    model = build().train()
    model._enter(1, cycle=3)
    assert model.open_blocks == 1 + 3 // model.speed
    model.open_blocks = 2
    loss = sum(output.square().sum() for output in model(torch.randn(4, 6, dtype=torch.float64)).values())
    (loss + model.penalty()).backward()
    gradient = model.policy.logits.grad
    assert not gradient[:, :2].any()
    assert gradient[:, 2:].abs().min() > 0


def test_derived_and_exported_networks_run_what_was_chosen_with_an_unfinished_curriculum():
    model = prefer(build(), TABLE).eval()
    model.open_blocks = 3  # the first block was never free: it is run, whatever its logits say
    with torch.no_grad():
        model.policy.logits[:, 0, SKIP] = 9.0
    inputs = torch.randn(4, 6, dtype=torch.float64)
    expected = model(inputs)
    fixed = model.derive().eval()
    assert fixed.structure() == [[bool(runs) for runs in row] for row in TABLE]
    for mode in (True, False):
        for task, output in fixed.train(mode)(inputs).items():
            assert torch.equal(output, expected[task])
    for task, row in zip("abc", TABLE, strict=True):
        exported = fixed.export(task)
        assert torch.equal(exported(inputs), expected[task])
        assert sum(isinstance(part, Block) for part in exported.modules()) == sum(row)
    assert sum(isinstance(block, Block) for block in fixed.blocks) == 3  # nobody runs the second
    check_partition(fixed, inputs)
    assert list(fixed.structure_parameters()) == []
    with pytest.raises(ExportError, match=r"call derive\(\) first"):
        model.export("a")


def test_common_beginnings_are_computed_once():
    fixed = prefer(build(), TABLE).derive().eval()
    calls = []
    for depth, block in enumerate(fixed.blocks):
        block.register_forward_hook(lambda *_, depth=depth: calls.append(depth))
    fixed(torch.zeros(2, 6, dtype=torch.float64))
    assert calls.count(0) == 1
    assert calls.count(2) == 1  # a and c came the same way
    assert calls.count(3) == 2  # a behind block 2, b not


def test_a_task_that_skips_everything_gets_its_most_probable_block():
    model = prefer(build(), [[0] * 4, [1] * 4, [1] * 4])
    with torch.no_grad():
        model.policy.logits[0, 2, SELECT] = 2.5
    with pytest.warns(UserWarning, match="'a' has chosen 0 blocks"):
        fixed = model.derive()
    assert fixed.structure()[0] == [False, False, True, False]


def test_the_penalties_are_those_of_the_equations():
    model = prefer(build(sparsity=0.5, sharing=0.25, sparsity_form="log"), TABLE)
    p = model.policy.logits.softmax(-1)
    found = model.penalties()
    torch.testing.assert_close(found["sparsity"], -0.5 * p[..., SKIP].log().mean())
    pairs = [(0, 1), (0, 2), (1, 2)]
    sharing = sum((3 - d) / 4 * (p[i, d, 0] - p[j, d, 0]).abs() for i, j in pairs for d in range(4))
    torch.testing.assert_close(found["sharing"], 0.25 * sharing)
    gentle = build(sparsity=0.5).penalties()["sparsity"]
    torch.testing.assert_close(gentle, torch.tensor(0.25, dtype=torch.float64))
    alone = build(TASKS[:1])
    assert set(alone.penalties()) == {"sparsity"}


def test_policies_learn_at_their_own_rate():
    policy = next(phase for phase in build(learning_rate=0.3).phases() if phase.name == "policy 1")
    model = build()
    assert policy.optimiser(list(model.policy.parameters())).param_groups[0]["lr"] == 0.3


def test_the_default_weight_of_sharing_is_divided_among_the_pairs():
    five = [Task(name=name, kind=Regression()) for name in "abcde"]
    assert [build(tasks).sharing for tasks in (TASKS[:1], TASKS[:2], five)] == [0.05, 0.05, pytest.approx(0.005)]


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
    model = build(warmup_epochs=1, search_cycles=4).float()
    result = tl.fit(model, data, schedule=tl.Schedule(max_epochs=2, batch_size=20), out=tmp_path)
    assert result.history.epochs == 1 + 2 * 4 + 2
    trained = result.model
    assert trained.structure() is not None
    assert float(trained.policy.temperature) == pytest.approx(5 * 0.965**4)
    from taskloom.fit import load

    again = load(tmp_path, model).model
    assert again.structure() == trained.structure()
    for task, output in trained(x).items():
        assert torch.equal(again(x)[task], output)


def test_a_skip_must_change_the_shape_as_its_block_does():
    model = AdaShare([nn.Linear(6, 4)], TASKS[:1], example=torch.zeros(1, 6))
    with pytest.raises(TaskError, match=r"block 0 gives \(4,\) but its skip returns \(6,\)"):
        model.train()(torch.zeros(2, 6))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sparsity": -1.0}, "must be 0 or more"),
        ({"sparsity_form": "l1"}, "'log' or 'expected'"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"search_cycles": 0}, "search_cycles must be 1"),
        ({"min_blocks": 5}, r"min_blocks must lie in 0\.\.4"),
    ],
    ids=["sparsity", "form", "rate", "cycles", "blocks"],
)
def test_bad_settings(settings, message):
    with pytest.raises(TaskError, match=message):
        build(**settings)
    with pytest.raises(TaskError, match="at least one block"):
        AdaShare([], TASKS)
