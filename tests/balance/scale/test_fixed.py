"""Fixed weights."""

from __future__ import annotations

import pytest
import torch

from taskloom.balance.base import chain
from taskloom.balance.mix.pcgrad import pcgrad
from taskloom.balance.scale.fixed import fixed, scale_by
from taskloom.errors import BalanceError
from taskloom.task import Regression, Task


def test_weights_are_used_as_they_are() -> None:
    assert fixed([1.0, 2.5]).weights(None, torch.zeros(2, dtype=torch.float64)).tolist() == [1.0, 2.5]


def test_names_are_put_in_the_order_of_the_tasks() -> None:
    balancer = fixed({"b": 2.0, "a c/d": 1.0})
    balancer.bind([Task(name="a c/d", kind=Regression()), Task(name="b", kind=Regression())])
    assert balancer.combine(torch.zeros(2)).weights.tolist() == [1.0, 2.0]
    assert balancer.combine(torch.zeros(1), tasks=["b"]).weights.tolist() == [2.0]


def test_as_a_link_it_weighs_before_the_rest() -> None:
    gramian = torch.tensor([[1.0, -1.0], [-1.0, 4.0]], dtype=torch.float64)
    scaled = torch.diag(torch.tensor([2.0, 1.0], dtype=torch.float64))
    balancer = chain(scale_by([2.0, 1.0]), pcgrad())
    expected = pcgrad().weights(scaled @ gramian @ scaled) @ scaled
    torch.testing.assert_close(balancer.weights(gramian), expected)
    assert balancer.combine(torch.zeros(2).double(), gramian, draws=balancer.draw(2)).head_weights.tolist() == [2, 1]


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_weights_are_positive_numbers(bad: float) -> None:
    with pytest.raises(BalanceError, match="task 'b' has"):
        fixed({"a": 1.0, "b": bad})


def test_names_and_numbers_are_checked() -> None:
    with pytest.raises(BalanceError, match="found none"):
        fixed([])
    with pytest.raises(BalanceError, match=r"no task 'hieght'\. Did you mean 'height'"):
        fixed({"hieght": 1.0}).bind(["height"])
    with pytest.raises(BalanceError, match=r"no weight for the tasks \['b'\]"):
        fixed({"a": 1.0}).bind(["a", "b"])
    with pytest.raises(BalanceError, match="2 weights for 3 tasks"):
        fixed([1.0, 2.0]).bind(["a", "b", "c"])
    with pytest.raises(BalanceError, match="2 weights for 3 tasks"):
        fixed([1.0, 2.0]).weights(torch.eye(3))


def test_networks_trained_together_can_have_different_weights() -> None:
    names = dict(fixed([1.0, 2.0]).named_buffers())
    assert [tuple(value.shape) for value in names.values()] == [(2,)]
    assert not any("values" in key for key in fixed([1.0, 2.0]).state_dict())
