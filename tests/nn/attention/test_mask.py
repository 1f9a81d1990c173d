from __future__ import annotations

import pytest
import torch
from torch import nn

from taskloom.errors import TaskError
from taskloom.nn import PositionMask
from taskloom.nn.attention._mask import are_alike, run_masks


def test_is_a_chain_of_convolutions() -> None:
    """Linear maps at every position are the 1x1 convolutions of the published mask."""
    torch.manual_seed(0)
    mask = PositionMask(6, 4, inner=3).double()
    convolutions = nn.Sequential(
        nn.Conv2d(6, 3, 1), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Sigmoid()
    ).double()
    for own, other in [(mask.first, convolutions[0]), (mask.second, convolutions[3])]:
        other.weight.data.copy_(own.weight[:, :, None, None])
        other.bias.data.copy_(own.bias)
    features = torch.randn(2, 6, 5, 4, dtype=torch.float64)
    for training in (True, False):
        found, expected = (module.train(training)(features) for module in (mask, convolutions))
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert sum(p.numel() for p in mask.parameters()) == sum(p.numel() for p in convolutions.parameters())


@pytest.mark.parametrize("norm", [nn.BatchNorm1d, nn.LayerNorm, nn.Identity, lambda c: nn.LayerNorm(c, bias=False)])
@pytest.mark.parametrize("has_own", [False, True], ids=["common", "own"])
def test_several_at_once(norm: type[nn.Module], has_own: bool) -> None:
    torch.manual_seed(0)
    masks = nn.ModuleList([PositionMask(5 if has_own else 3, 4, norm=norm, dimension=-1) for _ in range(3)]).double()
    common = torch.randn(7, 3, dtype=torch.float64)
    own = torch.randn(3, 7, 2, dtype=torch.float64) if has_own else None
    found = run_masks(list(masks), common, own)
    for k, mask in enumerate(masks):
        inputs = common if own is None else torch.cat([common, own[k]], dim=1)
        torch.testing.assert_close(found[k], mask(inputs), rtol=1e-12, atol=1e-12)


def test_only_alike_masks_are_computed_at_once() -> None:
    assert are_alike([PositionMask(3, 4), PositionMask(3, 4)])
    assert not are_alike([PositionMask(3, 4), PositionMask(3, 5)])
    assert not are_alike([PositionMask(3, 4), PositionMask(3, 4, inner=2)])
    assert not are_alike([PositionMask(3, 4), PositionMask(3, 4, norm=nn.LayerNorm)])
    assert not are_alike([PositionMask(3, 4), PositionMask(3, 4).eval()])
    assert not are_alike([PositionMask(3, 4), nn.Linear(3, 4)])


def test_open_start_needs_a_shift() -> None:
    with pytest.raises(TaskError, match="needs a normalisation with a shift, found Identity"):
        PositionMask(3, 4, norm=nn.Identity, open_init=2.0)
