"""LoRA per task: laws, start at the backbone, merging, convolutions, split layers, common prefix, errors."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from taskloom.errors import TaskError
from taskloom.nn import MLP, LoRA
from taskloom.nn._low_rank import AdaptedLayer
from taskloom.task import Regression, Task
from taskloom.testing import ModelLaws

TASKS = [Task(name=name, kind=Regression()) for name in "abc"]


class TestLoRA(ModelLaws):
    merges_on_export = True

    def make_model(self, tasks: Sequence[Task]) -> LoRA:
        return LoRA(MLP(self.n_features, (5, 4)), tasks, rank=2, shared_rank=3, alpha=4.0)

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        size = self.n_features + 5 + 5 + 4
        backbone = (self.n_features + 1) * 5 + 6 * 4
        return backbone + (3 + 2 * len(tasks)) * size + sum(5 * task.kind.n_outputs for task in tasks)


class TestLoRAWithoutCommonPart(ModelLaws):
    merges_on_export = True

    def make_model(self, tasks: Sequence[Task]) -> LoRA:
        return LoRA(MLP(self.n_features, (5, 4)), tasks, targets=("1.*",), rank=1)


def disturbed(model: LoRA) -> LoRA:
    model = model.double()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def test_at_the_start_the_model_is_the_backbone():
    torch.manual_seed(0)
    backbone = MLP(6, (5, 4))
    inputs = torch.randn(3, 6)
    expected = backbone(inputs)
    model = LoRA(backbone, TASKS, rank=2, shared_rank=1)
    for features in model.features(inputs).values():
        assert torch.equal(features, expected)
    assert not any(p.requires_grad for layer in model.layers() for p in layer.base.parameters())


def convolutional() -> nn.Module:
    first, second = nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.Conv2d(4, 5, 3, dilation=2, padding=1)
    encoder = nn.Sequential(first, nn.ReLU(), second, nn.Flatten(), nn.Linear(20, 3))
    encoder.out_features = 3
    return encoder


@pytest.mark.parametrize(
    "make", [lambda: MLP(6, (5, 4)), convolutional, lambda: nn.Linear(6, 4)], ids=["mlp", "cnn", "one layer"]
)
def test_merged_networks_are_plain_and_equal(make):
    torch.manual_seed(0)
    model = disturbed(LoRA(make(), TASKS, rank={"a": 1, "b": 3, "c": 0}, shared_rank=2, alpha=0.5)).eval()
    inputs = torch.randn(3, 2, 8, 8) if make is convolutional else torch.randn(3, 6)
    for task, output in model(inputs.double()).items():
        plain = model.export(task)
        assert not any(isinstance(part, AdaptedLayer) for part in plain.modules())
        torch.testing.assert_close(plain(inputs.double()), output, rtol=0, atol=1e-12)
        size = sum(p.numel() for p in make().parameters()) + sum(p.numel() for p in model.heads[0].parameters())
        assert sum(p.numel() for p in plain.parameters()) == size


def test_slices_of_a_layer_get_updates_of_their_own():
    torch.manual_seed(0)
    model = disturbed(LoRA(nn.Linear(6, 9), TASKS, rank=2, split={"*": (3, 3, 3)}, example=torch.zeros(1, 6))).eval()
    (layer,) = model.layers()
    assert sum(p.numel() for p in layer.own[0].parameters()) == 2 * (3 * 6 + 9)
    inputs = torch.randn(4, 6, dtype=torch.float64)
    torch.testing.assert_close(model.export("b")(inputs), model(inputs)["b"], rtol=0, atol=1e-12)


def test_what_comes_before_the_first_own_update_is_computed_once():
    encoder = MLP(6, (5, 4, 3))
    calls = []
    for place, stage in enumerate(encoder):
        stage.register_forward_hook(lambda *_, place=place: calls.append(place))
    model = LoRA(encoder, TASKS, targets=("2.*",))
    model(torch.zeros(2, 6))
    assert calls == [0, 1, 2, 2, 2]


def test_parts_of_the_backbone_may_learn():
    model = LoRA(MLP(6, (5, 4)), TASKS, rank=1, unfreeze=("1.*bias",))
    assert [tuple(parameter.shape) for parameter in model.shared_parameters()] == [(4,)]


def test_a_transformer_layer_calls_its_adapted_layers_in_evaluation():
    torch.manual_seed(0)
    block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
    model = LoRA(block, TASKS, targets=("linear*",), heads={name: nn.Linear(8, 1) for name in "abc"}).eval()
    inputs = torch.randn(2, 3, 8)
    with torch.no_grad():
        before = model(inputs)["a"]
        for layer in model.layers():
            nn.init.ones_(layer.own[0].up[0].weight)
        assert not torch.allclose(model(inputs)["a"], before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"targets": ("query",)}, r"no layer matches targets=\['query'\].*'0\.0'"),
        ({"rank": {"a": 1}}, "one rank per task"),
        ({"rank": -1}, "rank of task 'a' must be 0"),
        ({"shared_rank": -2}, "shared_rank must be 0"),
        ({"split": {"*": (1, 1)}}, "adds up to 2, but the layer has 5 outputs"),
    ],
    ids=["targets", "ranks", "negative", "shared", "split"],
)
def test_bad_settings(settings, message):
    with pytest.raises(TaskError, match=message):
        LoRA(MLP(6, (5, 4)), TASKS, **settings)


def test_tied_weights_are_refused():
    encoder = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    encoder[2].weight = encoder[0].weight
    with pytest.raises(TaskError, match="used in several places"):
        LoRA(encoder, TASKS, example=torch.zeros(1, 4))
