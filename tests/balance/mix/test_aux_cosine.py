"""Cosine gating: its closed forms, the guarantee for the main task, and its edges."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from taskloom._rng import torch_stream
from taskloom.balance.base import chain
from taskloom.balance.flow import Flow, Signals
from taskloom.balance.mix.aux_cosine import aux_cosine, keep_agreeing
from taskloom.balance.reduce.mean import mean
from taskloom.errors import BalanceError


def jacobian(n_tasks: int, size: int, seed: int = 0) -> Tensor:
    return torch.randn(n_tasks, size, generator=torch_stream(seed, "aux cosine"), dtype=torch.float64)


@pytest.mark.parametrize("main", [0, 2, -1, "task 1"])
def test_weights_are_the_positive_cosines(main: int | str) -> None:
    rows = jacobian(4, 5)
    position = 1 if isinstance(main, str) else main % 4
    cosines = rows @ rows[position] / rows.norm(dim=1) / rows[position].norm()
    cosines[position] = 1
    weighted, unweighted = aux_cosine(main), aux_cosine(main, "unweighted")
    torch.testing.assert_close(weighted.weights(rows @ rows.T), cosines.clamp(min=0), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(unweighted.weights(rows @ rows.T), (cosines >= 0).double(), rtol=0, atol=0)


@pytest.mark.parametrize("form", ["weighted", "unweighted"])
def test_the_main_loss_always_descends_as_fast_as_alone(form: str) -> None:
    for seed in range(20):
        rows = jacobian(5, 3, seed)
        balancer = aux_cosine(3, form)
        assert float(rows[3] @ balancer.direction(rows)) >= float(rows[3] @ rows[3]) * (1 - 1e-12)


@pytest.mark.parametrize("form", ["weighted", "unweighted"])
def test_zero_gradients_and_a_single_task(form: str) -> None:
    rows = jacobian(3, 4)
    rows[1] = 0
    assert float(aux_cosine(0, form).weights(rows @ rows.T)[1]) == 0
    assert aux_cosine(1, form).weights(rows @ rows.T).tolist() == [0.0, 1.0, 0.0]  # nothing agrees with a zero gradient
    assert aux_cosine(0, form).weights(torch.tensor([[4.0]])).tolist() == [1.0]
    assert aux_cosine(0, form).direction(torch.zeros(2, 3)).tolist() == [0.0] * 3


def test_orthogonal_and_opposite_helpers() -> None:
    rows = torch.tensor([[1.0, 0.0], [0.0, 3.0], [-2.0, 0.0]], dtype=torch.float64)
    assert aux_cosine(0).weights(rows @ rows.T).tolist() == [1.0, 0.0, 0.0]
    assert aux_cosine(0, "unweighted").weights(rows @ rows.T).tolist() == [1.0, 1.0, 0.0]


def test_steps_with_fewer_tasks() -> None:
    rows = jacobian(3, 4)
    balancer = aux_cosine("b")
    balancer.bind(["a", "b", "c"])
    gramian = rows[1:] @ rows[1:].T
    found = balancer.combine(torch.zeros(2).double(), gramian, tasks=["b", "c"]).weights
    torch.testing.assert_close(found, aux_cosine(0).weights(gramian))
    without = balancer.combine(torch.zeros(2).double(), gramian, tasks=["a", "c"])
    assert without.weights.tolist() == [0.0, 0.0]
    assert without.head_weights.tolist() == [1.0, 1.0]  # heads train all the same


def test_composes_and_names_bad_arguments() -> None:
    rows = jacobian(3, 4)
    torch.testing.assert_close(chain(keep_agreeing(0), mean()).direction(rows), aux_cosine(0).direction(rows) / 3)
    assert repr(aux_cosine("main")) == "chain(keep_agreeing('main'), sum_())"
    assert repr(keep_agreeing(1, "unweighted")) == "keep_agreeing(1, 'unweighted')"
    with pytest.raises(BalanceError, match="form must be"):
        aux_cosine(0, "soft")
    with pytest.raises(BalanceError, match="name or the position"):
        aux_cosine(True)
    with pytest.raises(BalanceError, match="there is no task 'mian'"):
        aux_cosine("mian").bind(["main", "helper"])
    with pytest.raises(BalanceError, match="main = 3, but there are 2 tasks"):
        aux_cosine(3).weights(torch.eye(2))
    with pytest.raises(BalanceError, match="bind"):
        keep_agreeing(0)(Flow.start(Signals(("a",), torch.ones(1), torch.ones(1, 1))))
    with pytest.raises(BalanceError, match="number of rows"):
        chain(mean(), keep_agreeing(0)).weights(torch.eye(2))
