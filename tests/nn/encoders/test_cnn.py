from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from taskloom.errors import TaskError
from taskloom.nn import CNN, HardSharing, dry_run
from taskloom.task import Task
from taskloom.testing import ModelLaws


def test_shapes() -> None:
    encoder = CNN(2, (4, 6, 8))
    assert encoder.out_features == 8
    assert dry_run(list(encoder), torch.zeros(3, 2, 17, 10)) == [(3, 4, 17, 10), (3, 6, 9, 5), (3, 8)]
    assert dry_run(list(CNN(2, (4, 6), pool=False)), torch.zeros(1, 2, 8, 8))[-1] == (1, 6, 4, 4)


def test_parameter_count() -> None:
    blocks = [(2, 4), (4, 4), (4, 6), (6, 6)]
    assert sum(p.numel() for p in CNN(2, (4, 6)).parameters()) == sum(9 * i * o + 2 * o for i, o in blocks)


def test_pairs_compose_to_the_features() -> None:
    torch.manual_seed(0)
    encoder = CNN(1, (4, 6), pool=False).double().eval()
    images = torch.randn(2, 1, 9, 9, dtype=torch.float64)
    features = images
    for body, last in encoder.pairs():
        features = last(body(features))
    assert torch.equal(features, encoder(images))


class TestInAModelThatVectorises(ModelLaws):
    """Without batch statistics, many networks are trained in one computation."""

    sizes = (1, 2)

    def make_model(self, tasks: Sequence[Task]) -> HardSharing:
        return HardSharing(CNN(1, (2, 4), norm=lambda channels: nn.GroupNorm(2, channels)), tasks)

    def make_inputs(self, n_rows: int, *, seed: int = 0) -> torch.Tensor:
        return super().make_inputs(n_rows * 6, seed=seed).reshape(n_rows, 1, 6, 6)


def test_bad_sizes() -> None:
    with pytest.raises(TaskError, match="CNN channels must be 1 or more"):
        CNN(1, (4, 0))
