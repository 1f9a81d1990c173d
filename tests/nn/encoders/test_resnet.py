from __future__ import annotations

import pytest
import torch
from torch import nn

from taskloom.errors import TaskError
from taskloom.nn import ResNet, dry_run, resnet18, resnet34, resnet50, stages_of

BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}
FACTORIES = {"resnet18": resnet18, "resnet34": resnet34, "resnet50": resnet50}
WITH_CLASSIFIER = {"resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032}
KEYS_WITH_CLASSIFIER = {"resnet18": 122, "resnet34": 218, "resnet50": 320}


def usual_layout(name: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of an ImageNet checkpoint without ``fc``, written from its layout."""
    found: dict[str, tuple[int, ...]] = {}

    def convolution(key: str, out: int, into: int, size: int) -> None:
        found[f"{key}.weight"] = (out, into, size, size)

    def norm(key: str, channels: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            found[f"{key}.{part}"] = (channels,)
        found[f"{key}.num_batches_tracked"] = ()

    convolution("conv1", 64, 3, 7)
    norm("bn1", 64)
    has_bottlenecks, into = name == "resnet50", 64
    for layer, count in enumerate(BLOCKS[name], start=1):
        inner = 64 * 2 ** (layer - 1)
        out = 4 * inner if has_bottlenecks else inner
        shapes = [(inner, into, 1), (inner, inner, 3), (out, inner, 1)] if has_bottlenecks else []
        shapes = shapes or [(inner, into, 3), (inner, inner, 3)]
        for block in range(count):
            prefix = f"layer{layer}.{block}"
            for number, (o, i, size) in enumerate(shapes, start=1):
                convolution(f"{prefix}.conv{number}", o, out if block and number == 1 else i, size)
                norm(f"{prefix}.bn{number}", o)
            if block == 0 and (layer > 1 or has_bottlenecks):
                convolution(f"{prefix}.downsample.0", out, into, 1)
                norm(f"{prefix}.downsample.1", out)
        into = out
    return found


@pytest.mark.parametrize("name", sorted(BLOCKS))
@pytest.mark.parametrize("output_stride", [32, 8])
def test_names_and_shapes_are_those_of_checkpoints(name: str, output_stride: int) -> None:
    with torch.device("meta"):
        encoder = FACTORIES[name](output_stride=output_stride)
    found = {key: tuple(value.shape) for key, value in encoder.state_dict().items()}
    assert found == usual_layout(name)
    assert len(found) + 2 == KEYS_WITH_CLASSIFIER[name]


@pytest.mark.parametrize("name", sorted(BLOCKS))
def test_parameter_count(name: str) -> None:
    with torch.device("meta"):
        encoder = FACTORIES[name]()
    classifier = (encoder.out_features + 1) * 1000
    assert sum(p.numel() for p in encoder.parameters()) + classifier == WITH_CLASSIFIER[name]


@pytest.mark.parametrize("bottleneck", [False, True])
@pytest.mark.parametrize(
    ("output_stride", "sizes"), [(32, (16, 8, 4, 2)), (16, (16, 8, 4, 4)), (8, (16, 8, 8, 8))], ids=["32", "16", "8"]
)
def test_output_strides(bottleneck: bool, output_stride: int, sizes: tuple[int, ...]) -> None:
    encoder = ResNet((1, 2, 2, 2), bottleneck=bottleneck, width=2, output_stride=output_stride, pool=False)
    channels = [(4 if bottleneck else 1) * width for width in (2, 4, 8, 16)]
    expected = [(1, channel, size, size) for channel, size in zip(channels, sizes)]
    assert dry_run(encoder.stages(), torch.zeros(1, 3, 64, 64)) == expected
    assert encoder.out_features == channels[-1]


@pytest.mark.parametrize(
    ("output_stride", "dilations"),
    [
        (32, [[1, 1], [1, 1], [1, 1], [1, 1]]),
        (16, [[1, 1], [1, 1], [1, 1], [1, 2]]),
        (8, [[1, 1], [1, 1], [1, 2], [2, 4]]),
    ],
    ids=["32", "16", "8"],
)
def test_dilations(output_stride: int, dilations: list[list[int]]) -> None:
    """The first block of a layer that keeps its size has the dilation of the layer before, as in checkpoints."""
    encoder = ResNet((2, 2, 2, 2), bottleneck=True, width=1, output_stride=output_stride)
    layers = [getattr(encoder, f"layer{number}") for number in range(1, 5)]
    assert [[block.conv2.dilation[0] for block in layer] for layer in layers] == dilations


@pytest.mark.parametrize("output_stride", [16, 8])
@pytest.mark.parametrize("bottleneck", [False, True])
def test_a_dilated_network_sees_what_the_plain_one_sees(output_stride: int, bottleneck: bool) -> None:
    """With the same weights, the plain features are those of the dilated network at every second or fourth position."""
    torch.manual_seed(0)
    plain = ResNet((1, 1, 2, 2), bottleneck=bottleneck, width=2, pool=False).double().eval()
    dilated = ResNet((1, 1, 2, 2), bottleneck=bottleneck, width=2, pool=False, output_stride=output_stride)
    dilated = dilated.double().eval()
    dilated.load_state_dict(plain.state_dict())
    images = torch.randn(1, 3, 64, 96, dtype=torch.float64)
    step = 32 // output_stride
    torch.testing.assert_close(dilated(images)[..., ::step, ::step], plain(images), rtol=1e-12, atol=1e-12)


def test_stages_and_pairs_compose_to_the_encoder() -> None:
    torch.manual_seed(0)
    encoder = ResNet((2, 1, 2, 1), width=2, pool=False).double().eval()
    images = torch.randn(2, 3, 33, 40, dtype=torch.float64)
    expected = encoder(images)
    by_stage = by_pair = by_cut = images
    for stage in encoder.stages():
        by_stage = stage(by_stage)
    for body, last in encoder.pairs():
        by_pair = last(body(by_pair))
    for stage in stages_of(encoder, cuts=["layer1", "layer2", "layer3"], example=images):
        by_cut = stage(by_cut)
    assert torch.equal(by_stage, expected)
    assert torch.equal(by_pair, expected)
    assert torch.equal(by_cut, expected)
    assert [isinstance(last, nn.Identity) for _, last in encoder.pairs()] == [False, True, False, True]


def test_pooling_is_the_mean() -> None:
    torch.manual_seed(0)
    encoder = ResNet((1, 1, 1, 1), width=2).double().eval()
    images = torch.randn(2, 3, 64, 32, dtype=torch.float64)
    features = nn.Sequential(*encoder.stages()[:-1], encoder.layer4)(images)
    torch.testing.assert_close(encoder(images), features.mean((2, 3)), rtol=1e-14, atol=1e-14)


def test_reset_draws_new_weights() -> None:
    torch.manual_seed(0)
    encoder = ResNet((1, 1, 1, 1), width=8)
    before = encoder.conv1.weight.detach().clone()
    encoder.reset_parameters()
    assert not torch.equal(encoder.conv1.weight, before)
    fan_out = 8 * 49
    assert 0.8 < float(encoder.conv1.weight.detach().std()) / (2 / fan_out) ** 0.5 < 1.2


def test_bad_sizes() -> None:
    with pytest.raises(TaskError, match="four layers"):
        ResNet((1, 1, 1))
    with pytest.raises(TaskError, match="output_stride must be 8, 16 or 32, found 4"):
        resnet18(output_stride=4)
    with pytest.raises(TaskError, match="ResNet channels must be 1 or more"):
        ResNet((1, 1, 1, 1), width=0)
