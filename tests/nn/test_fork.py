"""Forks and gates."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from taskloom.errors import EngineError
from taskloom.nn.fork import fork, gates


def test_a_fork_is_nothing_unless_asked_for() -> None:
    z = torch.ones(2, requires_grad=True)
    assert fork(z, "a") is z
    with gates():
        assert fork(z, "a") is not z
        assert fork("text", "a") == "text"
    assert fork(z, "a") is z


def test_gates_are_read_at_backward_time() -> None:
    z = torch.ones(3, requires_grad=True)
    gate = torch.tensor(2.0)
    with gates() as opened:
        total = (fork(z, "a") * 1.0).sum() + (fork(z, "b") * 10.0).sum()
    opened.set({"a": gate})
    gate.fill_(5.0)
    total.backward()
    assert z.grad is not None
    assert z.grad.tolist() == [15.0] * 3
    assert opened.tasks == ("a", "b")


def test_weights_can_be_given_at_the_start() -> None:
    z = torch.ones((), requires_grad=True)
    with gates(weights={"a": 3.0}):
        (fork(z, "a") + fork(z, "b")).backward()
    assert z.grad is not None
    assert z.grad.item() == 4.0


def test_models_without_a_cut_are_refused() -> None:
    class NoCut(nn.Module):
        has_cut = False

    with pytest.raises(EngineError, match="NoCut has no cut"), gates(NoCut()):
        pass


def test_unknown_tasks_are_named() -> None:
    with gates() as opened:
        fork(torch.ones(1), "height")
    with pytest.raises(EngineError, match=r"'hieght'\. Did you mean 'height'"):
        opened.set({"hieght": 1.0})


def test_forks_run_under_vmap_and_grad() -> None:
    def loss(weight: Tensor) -> Tensor:
        return fork(weight.square(), "a").sum()

    with gates():
        found = vmap(grad(loss))(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert found.tolist() == [[2.0, 4.0], [6.0, 8.0]]
