"""U-Net and SegNet."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from taskloom.errors import TaskError
from taskloom.nn import SegNet, UNet, dry_run

BOTH = pytest.mark.parametrize("build", [UNet, SegNet])


@BOTH
@pytest.mark.parametrize("size", [(16, 16), (17, 12), (4, 5)], ids=["even", "odd", "small"])
def test_sizes(build: type[UNet | SegNet], size: tuple[int, int]) -> None:
    encoder = build(2, (3, 4, 5))
    shapes = dry_run(list(encoder), torch.zeros(2, 2, *size))
    sizes = [size, (size[0] // 2, size[1] // 2), (size[0] // 4, size[1] // 4)]
    assert shapes == [(2, channels, *sizes[level]) for channels, level in zip((3, 4, 5, 4, 3), (0, 1, 2, 1, 0))]
    assert encoder(torch.zeros(2, 2, *size)).shape == (2, 3, *size)
    assert encoder.out_features == 3


@BOTH
def test_pairs_compose_to_the_encoder(build: type[UNet | SegNet]) -> None:
    torch.manual_seed(0)
    encoder = build(2, (3, 4, 5)).double().eval()
    images = torch.randn(2, 2, 9, 10, dtype=torch.float64)
    state = images
    for body, last in encoder.pairs():
        state = last(body(state))
    assert torch.equal(state, encoder(images))
    assert len(encoder.pairs()) == 5


def count(blocks: list[tuple[int, int]]) -> int:
    return sum(9 * into * out + 2 * out for into, out in blocks)


def test_parameter_counts() -> None:
    down = [(2, 3), (3, 3), (3, 4), (4, 4), (4, 5), (5, 5)]
    assert sum(p.numel() for p in UNet(2, (3, 4, 5)).parameters()) == count([*down, (9, 4), (4, 4), (7, 3), (3, 3)])
    up = [(5, 4), (4, 4), (4, 4), (4, 3), (3, 3), (3, 3)]
    assert sum(p.numel() for p in SegNet(2, (3, 4, 5)).parameters()) == count(down + up)


def test_segnet_puts_maxima_back() -> None:
    network = SegNet(1, (1, 1), norm=lambda channels: nn.Identity())
    down, up = network[1][0][0], network[2][0][1]
    image = torch.tensor([[[[1.0, 5.0, 0.0], [2.0, 3.0, 0.0], [9.0, 9.0, 9.0]]]])
    smaller = down(image)
    assert smaller[0].tolist() == [[[[5.0]]]]
    assert up(smaller)[0].tolist() == [[[0.0, 5.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]


def test_unet_uses_every_level() -> None:
    torch.manual_seed(0)
    network = UNet(1, (2, 3, 4))
    network(torch.randn(2, 1, 8, 8)).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in network.parameters())


@BOTH
def test_bad_channels(build: type[UNet | SegNet]) -> None:
    with pytest.raises(TaskError, match=f"{build.__name__} channels must be 1 or more"):
        build(1, (4, 0))
