from __future__ import annotations

import pytest
import torch
from torch import nn

from taskloom.errors import TaskError
from taskloom.nn import MLP, factory_of, stages_of
from taskloom.nn.adapters import build_copies


def test_factory_draws_anew_and_leaves_the_pattern_alone() -> None:
    pattern = MLP(3)
    before = [parameter.clone() for parameter in pattern.parameters()]
    first, second = factory_of(pattern)(), factory_of(pattern)()
    assert not torch.equal(first[0][0].weight, second[0][0].weight)
    assert all(torch.equal(one, other) for one, other in zip(before, pattern.parameters(), strict=True))


def test_pretrained_copies_are_equal() -> None:
    pattern = MLP(3)
    copied = factory_of(pattern, pretrained=True)()
    assert torch.equal(copied[0][0].weight, pattern[0][0].weight)
    assert copied[0][0].weight is not pattern[0][0].weight


def test_parameters_that_cannot_be_drawn_anew_are_named() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))
            self.linear = nn.Linear(3, 3)

    with pytest.warns(UserWarning, match=r"parameters \['scale'\] of Bare have no reset_parameters"):
        factory_of(Bare())


def test_a_factory_must_return_modules() -> None:
    with pytest.raises(TaskError, match=r"must return a torch\.nn\.Module, found int"):
        build_copies(lambda: 3, 2)  # type: ignore[arg-type, return-value]


def test_same_weights() -> None:
    first, second = build_copies(lambda: MLP(3), 2, same=True)
    assert all(torch.equal(one, other) for one, other in zip(first.parameters(), second.parameters(), strict=True))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.act, self.body, self.out = nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.out(self.body(self.act(self.stem(inputs))))


def test_stages_compose_to_the_encoder() -> None:
    net, sample = Net().train(), torch.randn(5, 3)
    stages = stages_of(net, cuts=["act", "body"], example=sample)
    assert [len(stage) for stage in stages] == [2, 1, 1]
    value = sample
    for stage in stages:
        value = stage(value)
    assert torch.equal(value, net(sample))
    assert net.training
    assert stages[0][0] is net.stem


def test_stages_of_a_sequential() -> None:
    assert len(stages_of(MLP(3, (4, 5, 6)))) == 3


def test_stages_that_do_not_compose() -> None:
    class Residual(Net):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            hidden = self.act(self.stem(inputs))
            return self.out(hidden + self.body(hidden))

    with pytest.raises(TaskError, match="the stages do not compose to the encoder"):
        stages_of(Residual(), cuts=["act"], example=torch.randn(5, 3))


@pytest.mark.parametrize(
    ("cuts", "example", "message"),
    [
        (None, None, "no nn.Sequential; name the children"),
        (["bdy"], None, "no child 'bdy'. Did you mean 'body'"),
        (["body", "stem"], None, "not in the order"),
        (["body"], None, "give example="),
    ],
)
def test_bad_cuts(cuts: list[str] | None, example: torch.Tensor | None, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        stages_of(Net(), cuts=cuts, example=example)
