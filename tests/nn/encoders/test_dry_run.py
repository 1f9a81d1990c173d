from __future__ import annotations

import pytest
import torch
from torch import nn

from taskloom.errors import TaskError
from taskloom.nn import dry_run


def test_mode_and_statistics_stay() -> None:
    stage = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout()).train()
    stage[1].eval()
    assert dry_run([stage], torch.ones(4, 3)) == [(4, 3)]
    assert [stage.training, stage[0].training, stage[1].training] == [True, True, False]
    assert torch.equal(stage[0].running_mean, torch.zeros(3))


def test_tuples_give_their_first_item() -> None:
    class Pair(nn.Module):
        def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return inputs[:, :1], inputs

    assert dry_run([Pair()], torch.zeros(4, 3)) == [(4, 1)]


def test_no_tensor() -> None:
    class Mapping(nn.Module):
        def forward(self, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"x": inputs}

    with pytest.raises(TaskError, match="stage 1 returned a dict"):
        dry_run([nn.Identity(), Mapping()], torch.zeros(4, 3))
