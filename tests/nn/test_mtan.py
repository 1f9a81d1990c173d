from __future__ import annotations

import warnings
from collections.abc import Sequence

import pytest
import torch
from torch import nn

from taskloom.errors import NoCommonFeature, TaskError
from taskloom.nn import (
    CNN,
    MLP,
    MTAN,
    DenseHead,
    HardSharing,
    ImageAttention,
    PooledHead,
    ResNet,
    RowAttention,
    SegNet,
    TransformerEncoder,
    UNet,
    batched_evaluation,
    gates,
)
from taskloom.task import Binary, Regression, Task
from taskloom.testing import ModelLaws

Pairs = list[tuple[nn.Module, nn.Module]]


def row_pairs(n_features: int) -> Pairs:
    """Without units that may be dead for all of a few rows."""

    def layer(into: int, out: int) -> nn.Module:
        return nn.Sequential(nn.Linear(into, out), nn.Tanh())

    return [(layer(n_features, 5), layer(5, 5)), (layer(5, 4), layer(4, 4)), (layer(4, 3), nn.Identity())]


def linear(into: int, out: int) -> int:
    return (into + 1) * out


def mask_count(into: int, inner: int, out: int) -> int:
    """C_in m + m + m C + C + 2 (m + C)."""
    return into * inner + inner + inner * out + out + 2 * (inner + out)


class TestRows(ModelLaws):
    private_refine = False
    n_refines = staticmethod(lambda n_tasks: 1)

    def make_model(self, tasks: Sequence[Task]) -> MTAN:
        return MTAN(
            row_pairs(self.n_features),
            tasks,
            private_refine=self.private_refine,
            example=torch.zeros(1, self.n_features),
        )

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        stages = linear(6, 5) + linear(5, 5) + linear(5, 4) + linear(4, 4) + linear(4, 3)
        refine = (5 * 4 + 2 * 4) + (4 * 3 + 2 * 3)
        masks = mask_count(5, 5, 5) + mask_count(8, 4, 4) + mask_count(6, 3, 3)
        heads = sum(linear(3, task.kind.n_outputs) for task in tasks)
        return stages + self.n_refines(len(tasks)) * refine + len(tasks) * masks + heads


class TestRowsWithPrivateRefine(TestRows):
    sizes = (1, 5)
    private_refine = True
    n_refines = staticmethod(lambda n_tasks: n_tasks)


class TestRowsWithOwnNorms(ModelLaws):
    sizes = (1, 3)

    def make_model(self, tasks: Sequence[Task]) -> MTAN:
        attention = RowAttention(refine_norm="per_task", open_init=2.0)
        return MTAN(row_pairs(self.n_features), tasks, attention=attention, channels=(5, 4, 3))


class TestTokens(ModelLaws):
    """Sequences of three tokens; the mean over them is what the heads read."""

    vectorises = False  # slow there: attention has no rule under vmap
    sizes = (1, 2, 3)

    def make_model(self, tasks: Sequence[Task]) -> MTAN:
        encoder = TransformerEncoder(4, heads=2, vocabulary=9, inner=5)
        heads = {task.name: Mean(4, task.kind.n_outputs) for task in tasks}
        return MTAN(encoder, tasks, heads=heads, example=self.make_inputs(2))

    def make_inputs(self, n_rows: int, *, seed: int = 0) -> torch.Tensor:
        return torch.randint(0, 9, (n_rows, 3), generator=torch.Generator().manual_seed(seed))


class Mean(nn.Module):
    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(into, out)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.linear(tokens.mean(1))


class ImageLaws(ModelLaws):
    """Images of 5 x 6 with one channel."""

    vectorises = False
    sizes = (1, 2, 3)

    def make_inputs(self, n_rows: int, *, seed: int = 0) -> torch.Tensor:
        return super().make_inputs(5 * n_rows, seed=seed).reshape(n_rows, 1, 5, 6)


class TestImages(ImageLaws):
    def make_model(self, tasks: Sequence[Task]) -> MTAN:
        return MTAN(CNN(1, (4, 6)), tasks, attention=ImageAttention(reduction=2), example=torch.zeros(1, 1, 5, 6))

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        stages = sum(9 * into * out + 2 * out for into, out in [(1, 4), (4, 4), (4, 6), (6, 6)])
        refine = 9 * 4 * 6 + 2 * 6
        masks = mask_count(4, 2, 4) + mask_count(12, 3, 6)
        return stages + refine + len(tasks) * masks + sum(linear(6, task.kind.n_outputs) for task in tasks)


class TestImagesWithPrivateRefine(ImageLaws):
    sizes = (1, 2)

    def make_model(self, tasks: Sequence[Task]) -> MTAN:
        return MTAN(CNN(1, (2, 3)), tasks, private_refine=True, example=torch.zeros(1, 1, 5, 6))


class TestImagesWithOwnNorms(ImageLaws):
    sizes = (1, 2)

    def make_model(self, tasks: Sequence[Task]) -> MTAN:
        attention = ImageAttention(refine_norm="per_task")
        return MTAN(CNN(1, (2, 3)), tasks, attention=attention, example=torch.zeros(1, 1, 5, 6))


class TestEncoderDecoder(ImageLaws):
    sizes = (1, 2)

    def make_model(self, tasks: Sequence[Task]) -> MTAN:
        attention = ImageAttention(refine_norm="group")
        return MTAN(UNet(1, (2, 3, 2)), tasks, attention=attention, example=torch.zeros(1, 1, 5, 6))


def tasks_of(n_tasks: int) -> list[Task]:
    return [Task(name=f"t{k}", kind=Regression()) for k in range(n_tasks)]


def images(n_rows: int = 3, height: int = 9, width: int = 7) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n_rows, 2, height, width, dtype=torch.float64, generator=generator)


class Ones(nn.Module):
    """A mask that is 1 everywhere, for any number of input channels."""

    def __init__(self, channels: int, dimension: int) -> None:
        super().__init__()
        self.channels, self.dimension = channels, dimension

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(features.narrow(self.dimension, 0, self.channels))


class OpenImages(ImageAttention):
    def mask(self, in_channels: int, channels: int) -> nn.Module:
        return Ones(channels, 1)


class OpenRows(RowAttention):
    def mask(self, in_channels: int, channels: int) -> nn.Module:
        return Ones(channels, -1)


@pytest.mark.parametrize("size", [(8, 8), (9, 7)], ids=["even", "odd"])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("build", [CNN, UNet, SegNet], ids=["cnn", "unet", "segnet"])
def test_masks_of_one_are_hard_sharing(build: type[CNN | UNet | SegNet], size: tuple[int, int], training: bool) -> None:
    torch.manual_seed(0)
    encoder = build(2, (3, 4)).double()
    model = MTAN(encoder, tasks_of(3), attention=OpenImages(), example=images(1, *size)).double()
    features = nn.Sequential(*(part for pair in encoder.pairs() for part in pair))
    hard = HardSharing(features, tasks_of(3), heads={f"t{k}": model.heads[k] for k in range(3)})
    found, expected = model.train(training)(images(3, *size)), hard.train(training)(images(3, *size))
    for task in expected:
        torch.testing.assert_close(found[task], expected[task], rtol=0, atol=1e-14)


def test_masks_of_one_are_hard_sharing_on_vectors() -> None:
    torch.manual_seed(0)
    pairs = [(part.double(), last.double()) for part, last in row_pairs(6)]
    inputs = torch.randn(4, 6, dtype=torch.float64)
    model = MTAN(pairs, tasks_of(2), attention=OpenRows(), example=inputs).double()
    encoder = nn.Sequential(*(part for pair in pairs for part in pair))
    hard = HardSharing(encoder, tasks_of(2), heads={f"t{k}": model.heads[k] for k in range(2)})
    assert all(torch.equal(model(inputs)[task], output) for task, output in hard(inputs).items())


def written_out(model: MTAN, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    """The equations, task by task."""
    found = {}
    for index, task in enumerate(model.tasks):
        state, features = inputs, None
        for level in model.levels:
            u = level.body(state)
            state = level.last(u)
            p = state
            joined = u
            if features is not None:
                refined = level.norms[0](level.refines[0](features))
                joined = torch.cat([u, model.attention.resize(refined, u)], dim=model.attention.dimension)
            features = level.masks[index](joined) * p
        found[task] = model.heads[index](features)
    return found


@pytest.mark.parametrize("n_tasks", [1, 2, 5])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize(
    "attention", [ImageAttention(), ImageAttention(refine_norm="group", reduction=3)], ids=["b", "g"]
)
def test_computed_together_as_written(attention: ImageAttention, training: bool, n_tasks: int) -> None:
    """Outputs and gradients of the batched computation are those of the equations, task by task."""
    torch.manual_seed(0)
    encoder = CNN(2, (3, 4, 5), norm=lambda channels: nn.GroupNorm(1, channels))
    model = MTAN(encoder, tasks_of(n_tasks), attention=attention, example=images(1).float()).double()
    model.train()(images(8))  # statistics that are not those of the start
    model.train(training)
    with batched_evaluation():
        found = model(images())
    expected = written_out(model, images())
    parameters = list(model.parameters())
    gradients = [
        torch.autograd.grad(sum((k + 1) * outputs[task].square().sum() for k, task in enumerate(outputs)), parameters)
        for outputs in (found, expected)
    ]
    for task in expected:
        torch.testing.assert_close(found[task], expected[task], rtol=1e-12, atol=1e-12)
    for one, other in zip(*gradients):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_statistics_are_those_of_one_task_after_the_other() -> None:
    """Batch normalisation in the masks and behind refine sees the batches of the tasks in order."""
    torch.manual_seed(0)
    model = MTAN(CNN(2, (3, 4)), tasks_of(3), example=images(1).float()).double()
    model.train()(images())
    reference = MTAN(CNN(2, (3, 4)), tasks_of(3), example=images(1).float()).double()
    reference.load_state_dict(model.state_dict())
    for parts in (model, reference):
        for part in parts.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.reset_running_stats()
    model(images())
    reference({task: images().clone() for task in reference.tasks})
    own, other = ({name: value for name, value in m.named_buffers() if ".last" not in name} for m in (model, reference))
    names = [name for name in own if "masks" in name or "norms" in name]
    assert names
    for name in names:
        torch.testing.assert_close(own[name], other[name], rtol=1e-12, atol=1e-12)
    assert int(model.levels[1].norms[0][0].num_batches_tracked) == 3


@pytest.mark.parametrize(("size", "sizes"), [((9, 7), (5, 4)), ((8, 8), (4, 4)), ((5, 12), (3, 6))])
def test_odd_sizes(size: tuple[int, int], sizes: tuple[int, int]) -> None:
    model = MTAN(CNN(2, (3, 4)), tasks_of(2), example=images(1, *size).float()).double()
    assert model(images(2, *size))["t0"].shape == (2, 1)
    assert [mask.shape[2:] for mask in model.attention_masks(images(2, *size))["t1"]] == [size, sizes]


def test_cut_gradients_are_parameter_gradients() -> None:
    """Test 21: with private refinements, gradients at (u, p) of all stages carried back are those of the stages."""
    torch.manual_seed(0)
    model = MTAN(CNN(2, (3, 4)), tasks_of(3), private_refine=True, example=images(1).float()).double().train()
    shared = list(model.shared_parameters())
    weights = {"t0": 0.3, "t1": 2.0, "t2": -1.0}
    direct = sum(weights[task] * output.square().sum() for task, output in model(images()).items())
    expected = torch.autograd.grad(direct, shared)
    cut = model.encode(images())
    assert len(cut) == 4
    leaves = [part.detach().requires_grad_() for part in cut]
    at_cut = [torch.zeros_like(leaf) for leaf in leaves]
    for task, output in model.decode(leaves).items():
        rows = torch.autograd.grad(output.square().sum(), leaves, retain_graph=True)
        for gradient, row in zip(at_cut, rows):
            gradient += weights[task] * row
    for one, other in zip(torch.autograd.grad(cut, shared, at_cut), expected):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_gates_weigh_the_stages_alone() -> None:
    torch.manual_seed(0)
    model = MTAN(CNN(2, (3, 4)), tasks_of(2), private_refine=True, example=images(1).float()).double()
    weights = {"t0": 0.25, "t1": 4.0}
    shared, own = list(model.shared_parameters()), [*model.task_parameters("t0"), *model.task_parameters("t1")]
    total = sum(weights[task] * output.sum() for task, output in model(images()).items())
    expected = torch.autograd.grad(total, shared)
    plain = torch.autograd.grad(sum(output.sum() for output in model(images()).values()), own)
    with gates(model) as opened:
        outputs = model(images())
    opened.set(weights)
    found = torch.autograd.grad(sum(output.sum() for output in outputs.values()), [*shared, *own])
    for one, other in zip(found, [*expected, *plain]):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_no_cut_with_a_shared_refine() -> None:
    model = MTAN(CNN(2, (3, 4)), tasks_of(2), example=images(1).float())
    assert not model.has_cut
    with pytest.raises(NoCommonFeature, match="private_refine=True"):
        model.encode(images())


@pytest.mark.parametrize("private", [False, True], ids=["shared", "private"])
def test_groups(private: bool) -> None:
    model = MTAN(CNN(2, (3, 4)), tasks_of(3), private_refine=private, example=images(1).float())
    refine = 9 * 3 * 4 + 2 * 4
    stages = sum(parameter.numel() for parameter in CNN(2, (3, 4)).parameters())
    found = model.describe()
    assert found["shared"] == stages + (0 if private else refine)
    assert found["task"]["t1"] == mask_count(3, 3, 3) + mask_count(8, 4, 4) + 5 + (refine if private else 0)
    assert found["masks"] == mask_count(3, 3, 3) + mask_count(8, 4, 4)
    assert found["refine"] == refine * (3 if private else 1)


def test_removing_a_task_drops_its_masks() -> None:
    model = MTAN(CNN(2, (3, 4)), tasks_of(3), private_refine=True, example=images(1).float()).double().eval()
    smaller = model.remove_task("t1")
    assert torch.equal(smaller(images())["t2"], model(images())["t2"])
    assert smaller.describe()["total"] == model.describe()["total"] - model.describe()["task"]["t1"]


def test_open_start() -> None:
    torch.manual_seed(0)
    attention = ImageAttention(open_init=2.0)
    model = MTAN(CNN(2, (3, 4)), tasks_of(2), attention=attention, example=images(1).float()).double()
    masks = model.attention_masks(images(16))
    assert all(0.8 < float(mask.detach().mean()) < 0.9 for found in masks.values() for mask in found)
    model.reset_weights()
    assert float(model.levels[0].masks[1].second_norm.bias.detach().min()) == 2.0


def test_dense_heads_on_an_encoder_decoder() -> None:
    heads: dict[str, nn.Module] = {"t0": DenseHead(3, 5), "t1": DenseHead(3, 1, size=(4, 4))}
    model = MTAN(SegNet(2, (3, 4)), tasks_of(2), heads=heads, example=images(1).float())
    outputs = model(images().float())
    assert [tuple(output.shape) for output in outputs.values()] == [(3, 5, 9, 7), (3, 1, 4, 4)]


def test_resnet() -> None:
    encoder = ResNet((2, 2, 2, 2), width=2)
    model = MTAN(encoder, tasks_of(2), attention=ImageAttention(reduction=4), example=torch.zeros(1, 3, 32, 32))
    assert model.channels == (2, 4, 8, 16)
    assert isinstance(model.heads[0], PooledHead)
    assert model(torch.zeros(2, 3, 32, 32))["t0"].shape == (2, 1)


def test_single_modules_are_bodies() -> None:
    with pytest.warns(UserWarning, match="stage [01] is one module"):
        model = MTAN([MLP(4, (5,)), MLP(5, (3,))], tasks_of(2), example=torch.zeros(1, 4))
    assert model(torch.zeros(2, 4))["t0"].shape == (2, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MTAN([(MLP(4, (5,)), nn.Identity())], tasks_of(2), example=torch.zeros(1, 4))


def test_bad_stages() -> None:
    with pytest.raises(TaskError, match="at least one stage"):
        MTAN([], tasks_of(2), example=torch.zeros(1, 4))
    with pytest.raises(TaskError, match=r"Linear has no method pairs\(\)"):
        MTAN(nn.Linear(4, 3), tasks_of(2), example=torch.zeros(1, 4))  # type: ignore[arg-type]
    with pytest.raises(TaskError, match=r"stage 1: its body gives \(1, 4\) and its last block \(1, 3\)"):
        MTAN([(MLP(4, (5,)), MLP(5, (5,))), (MLP(5, (4,)), MLP(4, (3,)))], tasks_of(2), example=torch.zeros(1, 4))
    with pytest.raises(TaskError, match="give example="):
        MTAN(CNN(), tasks_of(2))
    with pytest.raises(TaskError, match="channels has 2 numbers, but there are 3 stages"):
        MTAN(CNN(), tasks_of(2), channels=(16, 32), attention=ImageAttention())
    with pytest.raises(TaskError, match=r"channels is \[4, 5\], but the stages give \[4, 6\]"):
        MTAN(CNN(1, (4, 6)), tasks_of(2), channels=(4, 5), example=torch.zeros(1, 1, 8, 8))
    with pytest.raises(TaskError, match="stage 0 returned a dict"):
        MTAN([(Mapping(), nn.Identity())], tasks_of(2), channels=(4,), attention=RowAttention())(torch.zeros(2, 4))
    with pytest.raises(TaskError, match=r"heads \['x'\] do not match tasks"):
        MTAN(CNN(), tasks_of(2), heads={"x": nn.Identity()}, example=torch.zeros(1, 3, 8, 8))


class Mapping(nn.Module):
    def forward(self, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"x": inputs}


def test_masks_are_between_zero_and_one_and_differ_by_task() -> None:
    torch.manual_seed(0)
    tasks = [Task(name="a", kind=Regression()), Task(name="b", kind=Binary())]
    model = MTAN(CNN(2, (3, 4)), tasks, example=images(1).float()).double()
    masks = model.attention_masks({"a": images(2), "b": images(4)})
    assert [mask.shape for mask in masks["b"]] == [(4, 3, 9, 7), (4, 4, 5, 4)]
    assert all(bool((mask > 0).all() and (mask < 1).all()) for found in masks.values() for mask in found)
    same = model.attention_masks(images(2))
    assert not torch.allclose(same["a"][0], same["b"][0])


@pytest.mark.parametrize("build", [CNN, None], ids=["images", "rows"])
def test_lower_precision(build: type[CNN] | None) -> None:
    torch.manual_seed(0)
    inputs = images().float() if build else torch.randn(4, 6)
    model = MTAN(build(2, (3, 4)) if build else row_pairs(6), tasks_of(5), example=inputs).train()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model(inputs)
        sum(output.float().square().sum() for output in outputs.values()).backward()
    assert {output.dtype for output in outputs.values()} == {torch.bfloat16}
    assert all(parameter.grad is not None for parameter in model.parameters())
