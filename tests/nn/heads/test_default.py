from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from taskloom.errors import TaskError
from taskloom.nn.heads import build_head, build_heads, default_head, features_of
from taskloom.nn.parallel import Parallel
from taskloom.task import Binary, Kind, Multiclass, Regression, Task


@pytest.mark.parametrize(("kind", "n_outputs"), [(Regression(), 1), (Binary(), 1), (Multiclass(4), 4)])
def test_heads_by_kind(kind: Kind, n_outputs: int) -> None:
    assert default_head(kind, 7)(torch.zeros(2, 7)).shape == (2, n_outputs)


def test_a_new_kind_brings_its_head() -> None:
    @dataclass(frozen=True)
    class Positive(Kind):
        pass

    @default_head.register(Positive)
    def positive(kind: Positive, in_features: int) -> nn.Module:
        return nn.Sequential(nn.Linear(in_features, 1), nn.Softplus())

    heads = build_heads([Task(name="a", kind=Positive())], nn.Identity(), example=torch.zeros(1, 3))
    assert isinstance(heads[0], nn.Sequential)


def test_width_of_features() -> None:
    assert features_of(nn.Flatten(), example=torch.zeros(1, 2, 3)) == 6
    with pytest.raises(TaskError, match="does not say how wide"):
        features_of(nn.Flatten())

    class Pair(nn.Module):
        def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return (inputs, inputs)

    with pytest.raises(TaskError, match="returned a tuple"):
        features_of(Pair(), example=torch.zeros(1, 2))


def test_one_more_head() -> None:
    task = Task(name="new", kind=Multiclass(3))
    assert build_head(task, nn.Flatten(), others=Parallel([nn.Linear(5, 1)])).in_features == 5
    own = nn.Linear(5, 3)
    assert build_head(task, nn.Flatten(), others=Parallel([]), head=own) is own
    with pytest.raises(TaskError, match="does not say how wide"):
        build_head(task, nn.Flatten(), others=Parallel([nn.Sequential(nn.Linear(5, 1))]))
