from __future__ import annotations

import pytest
import torch
from torch import nn

from taskloom.errors import TaskError
from taskloom.nn import Attention, ImageAttention


@pytest.mark.parametrize(("size", "new"), [((8, 6), (4, 3)), ((9, 7), (5, 4)), ((9, 8), (3, 8)), ((5, 5), (1, 1))])
def test_smaller_by_max_pooling(size: tuple[int, int], new: tuple[int, int]) -> None:
    features = torch.randn(2, 3, *size)
    expected = nn.functional.adaptive_max_pool2d(features, new)
    assert torch.equal(ImageAttention().resize(features, torch.zeros(2, 1, *new)), expected)


def test_larger_by_interpolation() -> None:
    ramp = torch.arange(4.0).reshape(1, 1, 2, 2)
    assert ImageAttention().resize(ramp, torch.zeros(1, 7, 3, 5)).shape == (1, 1, 3, 5)
    larger = ImageAttention().resize(torch.ones(1, 2, 2, 2), torch.zeros(1, 1, 3, 5))
    torch.testing.assert_close(larger, torch.ones(1, 2, 3, 5))
    assert ImageAttention().resize(ramp, ramp) is ramp


def test_norms() -> None:
    assert isinstance(ImageAttention().norm(6)[0], nn.BatchNorm2d)
    group = ImageAttention(refine_norm="group").norm(48)[0]
    assert (group.num_groups, group.num_channels) == (16, 48)
    assert [ImageAttention(refine_norm=kind).norm_per_task for kind in ("shared", "per_task", "group")] == [
        False, True, False,
    ]  # fmt: skip


def test_the_base_says_what_is_missing() -> None:
    for call in (lambda: Attention().mask(1, 1), lambda: Attention().refine(1, 1), lambda: Attention().norm(1)):
        with pytest.raises(NotImplementedError):
            call()
    assert not Attention().norm_per_task


def test_bad_settings() -> None:
    with pytest.raises(TaskError, match="reduction must be 1 or more, found 0"):
        ImageAttention(reduction=0)
    with pytest.raises(TaskError, match="refine_norm must be"):
        ImageAttention(refine_norm="own")  # type: ignore[arg-type]
