from __future__ import annotations

import pytest
import torch
from torch import nn

from taskloom.errors import TaskError
from taskloom.nn import MLP
from taskloom.nn._stages import LOOP_UP_TO, SMALL, build_stages, stage_widths


class Unknown(nn.Module):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs.repeat(1, 2)


@pytest.mark.parametrize(
    ("stage", "width"),
    [
        (nn.Linear(3, 4), 4),
        (nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.GELU(), nn.Dropout()), 4),
        (nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.MaxPool2d(2)), 5),
        (nn.Sequential(nn.Sequential(nn.Conv1d(3, 6, 3)), nn.Identity()), 6),
        (MLP(3, (4, 7)), 7),
        (nn.Embedding(10, 8), 8),
        (nn.Sequential(nn.Conv2d(3, 5, 3), nn.Flatten()), None),
        (nn.Sequential(nn.Linear(3, 4), Unknown()), None),
        (nn.ReLU(), None),
    ],
)
def test_widths_as_far_as_the_layers_tell(stage: nn.Module, width: int | None) -> None:
    assert stage_widths([stage], channels=None, example=None, dimension=1) == [width]


def test_widths_of_a_dry_run_and_as_given() -> None:
    stages = [nn.Conv2d(3, 5, 3), nn.Flatten(), Unknown()]
    example = torch.zeros(2, 3, 4, 4)
    assert stage_widths(stages, channels=None, example=example, dimension=1) == [5, 20, 40]
    assert stage_widths([nn.Linear(3, 4)], channels=None, example=torch.zeros(2, 6, 3), dimension=-1) == [4]
    assert stage_widths(stages, channels=[5, 20, 40], example=None, dimension=1) == [5, 20, 40]
    with pytest.raises(TaskError, match="1 numbers, but the encoder has 3 stages"):
        stage_widths(stages, channels=[5], example=None, dimension=1)


def test_only_small_chains_are_batched_early() -> None:
    wide = SMALL // 8
    stages = build_stages([nn.Linear(4, 8), nn.Linear(8, wide), nn.Conv1d(3, 3, 1)], 3, same_start=False)
    assert [stage.loop_up_to for stage in stages] == [4, LOOP_UP_TO, LOOP_UP_TO]
