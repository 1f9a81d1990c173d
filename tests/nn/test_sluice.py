from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn import MLP, CrossStitch, Sluice, SubspaceOrthogonality, check_partition
from taskloom.task import Regression, Task
from taskloom.testing import ModelLaws


class TestSluice(ModelLaws):
    sizes = (1, 2, 3)

    def make_model(self, tasks: Sequence[Task]) -> Sluice:
        return Sluice(MLP(self.n_features, (4, 4)), tasks)

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        n_tasks, heads = len(tasks), sum(5 * task.kind.n_outputs for task in tasks)
        return n_tasks * (7 * 4 + 5 * 4) + 2 * (2 * n_tasks) ** 2 + 2 * n_tasks + heads


class TestSluiceWithProjections(ModelLaws):
    sizes = (1, 3)

    def make_model(self, tasks: Sequence[Task]) -> Sluice:
        penalty = SubspaceOrthogonality(0.3, normalise=True)
        return Sluice(
            MLP(self.n_features, (6, 3, 9)), tasks, after=[0, 1], subspaces=3, project=True, orthogonality=penalty
        )

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        n_tasks, heads = len(tasks), sum(10 * task.kind.n_outputs for task in tasks)
        encoder, projections = 7 * 6 + 7 * 3 + 4 * 9, (6 + 3) * 9
        return n_tasks * (encoder + projections + 3) + 2 * (3 * n_tasks) ** 2 + heads


class TestSluiceOfOneLayerAndSubspace(ModelLaws):
    """The mixture of layers is fixed to 1, and there is nothing to be orthogonal."""

    sizes = (1, 2)

    def make_model(self, tasks: Sequence[Task]) -> Sluice:
        return Sluice([nn.Linear(self.n_features, 4)], tasks, subspaces=1)


def tasks_of(names: str) -> list[Task]:
    return [Task(name=name, kind=Regression()) for name in names]


def inputs_of(n_rows: int = 6) -> Tensor:
    return torch.randn(n_rows, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def build(names: str = "abc", **settings: Any) -> Sluice:
    torch.manual_seed(0)
    return Sluice(MLP(4, (6, 6, 6)), tasks_of(names), **settings).double()


def set_betas(model: Sluice, rows: Sequence[Sequence[float]]) -> None:
    with torch.no_grad():
        for readout, row in zip(model.readouts, rows, strict=True):
            readout.beta.copy_(torch.tensor(row))


# -------------------------------------------------------------------------------------------- special cases (test 4)


@pytest.mark.parametrize("subspaces", [1, 2, 3])
def test_equal_blocks_and_the_last_layer_are_cross_stitch(subspaces: int) -> None:
    weight = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    alpha, last = torch.kron(weight, torch.eye(subspaces, dtype=torch.float64)), torch.tensor([0.0, 0.0, 1.0])
    model, inputs = build(subspaces=subspaces, alpha=alpha, beta=last), inputs_of()
    stages = iter([module for stage in model.stages for module in stage])
    stitched = CrossStitch(
        [lambda: next(stages)] * 3, tasks_of("abc"), after=[0, 1, 2], heads=dict(zip("abc", model.heads, strict=True))
    ).double()
    with torch.no_grad():
        for unit, other in zip(stitched.units, model.units, strict=True):
            unit.rows[0].copy_(weight)
            other.rows[0].copy_(alpha)  # in float64
    for mode in (True, False):
        found, expected = model.train(mode)(inputs), stitched.train(mode)(inputs)
        for task in "abc":
            torch.testing.assert_close(found[task], expected[task], rtol=0, atol=1e-12)


@pytest.mark.parametrize("chosen", range(3))
def test_one_network_and_a_layer_each_is_layered_supervision(chosen: int) -> None:
    selects = torch.kron(torch.eye(3)[chosen].expand(3, 3), torch.eye(2))
    model, inputs = build(alpha=selects), inputs_of()
    set_betas(model, [[0, 1, 0], [1, 0, 0], [0, 0, 1]])
    hidden, layers = inputs, []
    for stage in model.stages:
        hidden = stage[chosen](hidden)
        layers.append(hidden)
    for task, depth in {"a": 1, "b": 0, "c": 2}.items():
        expected = model.heads["abc".index(task)](layers[depth])
        torch.testing.assert_close(model(inputs)[task], expected, rtol=0, atol=1e-12)


def test_export_stops_at_the_last_layer_that_counts() -> None:
    model, inputs = build(alpha=torch.eye(6)).eval(), inputs_of()
    set_betas(model, [[0.5, 0.5, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    expected = model(inputs)
    for task in "abc":
        assert torch.equal(model.export(task)(inputs), expected[task])
    assert [len(model.export(task).steps) for task in "abc"] == [2, 3, 3]
    assert model.export("a").readout.beta.shape == (2,)


# -------------------------------------------------------------------------------------------- partition


@pytest.mark.parametrize("after", [(0,), (1,), (0, 2)], ids=str)
def test_partition(after: tuple[int, ...]) -> None:
    model = build(after=after)
    check_partition(model, inputs_of(), samples=3)
    shared = {id(parameter) for parameter in model.shared_parameters()}
    for task, readout in zip("abc", model.readouts, strict=True):
        assert any(readout.beta is parameter for parameter in model.task_parameters(task))
    assert all((id(p) in shared) == (k <= after[-1]) for k, s in enumerate(model.stages) for p in s.parameters())


def test_a_layer_that_is_shut_out_is_not_reached() -> None:
    model = build("ab", after=[0], alpha=torch.eye(4))
    model.units.requires_grad_(False)
    model.readouts.requires_grad_(False)
    set_betas(model, [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    reached = {id(p) for task in "ab" for p in model.task_parameters(task)}
    assert not any(id(p) in reached for stage in list(model.stages)[1:] for p in stage[0].parameters())
    assert list(model.shared_parameters()) == []


# -------------------------------------------------------------------------------------------- starting values


def test_alphas_at_the_start() -> None:
    balanced = build("ab", alpha="balanced").units[0].weight
    torch.testing.assert_close(balanced, torch.full((4, 4), 0.25).double())
    own = build("ab").units[0].weight
    expected = torch.tensor(
        [[0.9, 0.0, 0.05, 0.05], [0.0, 0.9, 0.05, 0.05], [0.05, 0.05, 0.9, 0.0], [0.05, 0.05, 0.0, 0.9]]
    )
    torch.testing.assert_close(own, expected.double(), rtol=1e-6, atol=1e-7)
    imbalanced = build("ab", alpha="imbalanced").units[0].weight
    torch.testing.assert_close(imbalanced.diagonal(), torch.full((4,), 0.9).double(), rtol=1e-6, atol=0)
    for kind in ("own", "balanced", "imbalanced"):
        for names in ("a", "ab", "abc"):
            weight = build(names, alpha=kind).units[0].weight
            torch.testing.assert_close(weight.sum(1), torch.ones(len(weight)).double(), rtol=1e-6, atol=0)


def test_betas_at_the_start() -> None:
    for kind, expected in (("balanced", [1 / 3] * 3), ("imbalanced", [0.05, 0.05, 0.9])):
        for readout in build(beta=kind).readouts:
            assert readout.beta.tolist() == pytest.approx(expected)
    alone = Sluice([nn.Linear(4, 4)], tasks_of("ab")).readouts[0].beta
    assert alone.tolist() == [1.0]
    assert not alone.requires_grad


def test_new_tasks_start_from_the_first_weights() -> None:
    model = build("ab")
    set_betas(model, [[1.0, 2.0, 3.0]] * 2)
    larger = model.add_task(Task(name="c", kind=Regression()))
    assert larger.readouts[0].beta.tolist() == [1.0, 2.0, 3.0]
    assert larger.readouts[2].beta.tolist() == pytest.approx([0.05, 0.05, 0.9])
    alone = Sluice([nn.Linear(4, 4)], tasks_of("a")).add_task(Task(name="c", kind=Regression()))
    assert not alone.readouts[1].beta.requires_grad


# -------------------------------------------------------------------------------------------- the penalty


def by_the_formula(weights: Sequence[Tensor], subspaces: int, *, normalise: bool) -> Tensor:
    total = torch.zeros(())
    for weight in weights:
        blocks = weight.flatten(1).chunk(subspaces)
        for s, one in enumerate(blocks):
            for other in blocks[s + 1 :]:
                term = (one.T @ other).square().sum()
                total = total + (term / (one.square().sum() * other.square().sum()) if normalise else term)
    return total


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("subspaces", [2, 3])
@pytest.mark.parametrize("n_in", [2, 8])  # the smaller of two products is computed
def test_the_penalty(subspaces: int, n_in: int, normalise: bool) -> None:
    torch.manual_seed(0)
    penalty = SubspaceOrthogonality(0.25, normalise=normalise)
    stages = [nn.Linear(n_in, 12), nn.Sequential(nn.ReLU(), nn.Linear(12, 12))]
    model = Sluice(stages, tasks_of("ab"), subspaces=subspaces, orthogonality=penalty).double()
    weights = [module.weight for stage in model.stages for part in stage for module in part.modules()
               if isinstance(module, nn.Linear)]  # fmt: skip
    assert len(weights) == 4
    expected = 0.25 * by_the_formula(weights, subspaces, normalise=normalise)
    found = model.penalties()["orthogonality"]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    gradients = [torch.autograd.grad(value, weights) for value in (found, expected)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-13)


def test_the_penalty_of_convolutions_and_of_chosen_weights() -> None:
    stages = [nn.Conv2d(2, 4, 3, padding=1), nn.Sequential(nn.Conv2d(4, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())]
    heads = {task: nn.Linear(4, 1) for task in "ab"}
    model = Sluice(stages[:1], tasks_of("ab"), orthogonality=SubspaceOrthogonality(1.0), heads=heads)
    expected = by_the_formula([module.weight for module in model.stages[0]], 2, normalise=False)
    torch.testing.assert_close(model.penalty(), expected)

    def first(stage: nn.Module) -> Tensor:
        return next(stage.parameters())

    chosen = Sluice(stages[:1], tasks_of("ab"), orthogonality=SubspaceOrthogonality(2.0, weights=first), heads=heads)
    assert bool(chosen.penalty() > 0)
    assert build("a").penalty() > 0  # subspaces are compared within a task, so one task is enough
    assert build(orthogonality=None).penalties() == {}
    assert build(subspaces=1).penalties() == {}


def test_a_weight_of_zeros_has_a_finite_penalty() -> None:
    model = build(orthogonality=SubspaceOrthogonality(1.0, normalise=True))
    with torch.no_grad():
        model.stages[0][0][0].weight.zero_()
    model.penalty().backward()
    assert all(p.grad is None or bool(torch.isfinite(p.grad).all()) for p in model.parameters())


# -------------------------------------------------------------------------------------------- the rest


def test_images() -> None:
    stages = [nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)]
    heads = {task: nn.Conv2d(6, 1, 1) for task in "ab"}
    model = Sluice(stages, tasks_of("ab"), project=True, heads=heads)
    images = torch.randn(3, 2, 5, 4)
    trained = model(images)
    assert trained["b"].shape == (3, 1, 5, 4)
    torch.testing.assert_close(model.eval()(images)["b"], trained["b"])


def test_mixing_weights_in_words() -> None:
    found = build("ab").describe()
    assert found["layers"] == {task: pytest.approx([0.05, 0.05, 0.9]) for task in "ab"}
    assert found["mixing"][2][0] == pytest.approx([0.9, 0.05])
    mixing = build("ab").param_groups(0.1)[1]
    assert sum(parameter.numel() for parameter in mixing["params"]) == 3 * 16 + 2 * 3
    assert mixing["weight_decay"] == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"subspaces": 4}, "does not divide into 4 subspaces"),
        ({"subspaces": 4, "orthogonality": None}, None),
        ({"subspaces": 0}, "subspaces must be 1 or more, found 0"),
        ({"alpha": "even"}, "'own', 'balanced', 'imbalanced' or a matrix, found 'even'"),
        ({"alpha": torch.eye(3)}, r"a matrix \(6, 6\), found \(3, 3\)"),
        ({"beta": "even"}, "'balanced', 'imbalanced' or a tensor, found 'even'"),
        ({"beta": torch.ones(2)}, "one weight for each of 3 stages"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str | None) -> None:
    if message is None:  # only the forward pass knows
        with pytest.raises(TaskError, match="6 channels do not divide into 4 subspaces"):
            build(**settings)(inputs_of())
        return
    with pytest.raises(TaskError, match=message):
        build(**settings)


def test_layers_that_cannot_be_added() -> None:
    with pytest.raises(TaskError, match=r"\[5, 4\] channels wide.*project=True"):
        Sluice(MLP(4, (5, 4)), tasks_of("ab"), subspaces=1)
    stages = [nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3)]
    model = Sluice(stages, tasks_of("ab"), heads={task: nn.Identity() for task in "ab"})
    with pytest.raises(TaskError, match=r"shapes differ: .*'stage 0': \(3, 4, 4, 4\), 'stage 1': \(3, 4, 2, 2\)"):
        model(torch.zeros(3, 2, 6, 6))
    with pytest.raises(TaskError, match="no linear layer and no convolution"):
        Sluice([nn.Linear(4, 4), nn.ReLU()], tasks_of("ab"), heads={task: nn.Identity() for task in "ab"})
    with pytest.raises(TaskError, match="0 or more, found -1"):
        SubspaceOrthogonality(-1)
