"""Normalisation: its three forms, what it leaves to heads, and values it is not defined for."""

from __future__ import annotations

import pytest
import torch

from taskloom._rng import torch_stream
from taskloom.balance.base import Need, chain
from taskloom.balance.mix.pcgrad import pcgrad
from taskloom.balance.reduce.sum import sum_
from taskloom.balance.scale.normalize import normalize
from taskloom.errors import BalanceError

ROWS = torch.randn(3, 5, generator=torch_stream(0, "normalize"), dtype=torch.float64)
LOSSES = torch.tensor([0.5, 2.0, 4.0], dtype=torch.float64)


def test_factors() -> None:
    norms = ROWS.norm(dim=1)
    for by, expected in (("l2", 1 / norms), ("loss", 1 / LOSSES), ("loss+", 1 / (norms * LOSSES))):
        torch.testing.assert_close(chain(normalize(by)).weights(ROWS @ ROWS.T, LOSSES), expected)


def test_needs_only_what_it_divides_by() -> None:
    assert normalize("l2").needs == Need.GRAMIAN
    assert normalize("loss").needs == Need.LOSSES
    assert normalize("loss+").needs == Need.LOSSES | Need.GRAMIAN


@pytest.mark.parametrize("by", ["l2", "loss", "loss+"])
def test_heads_keep_their_losses(by: str) -> None:
    found = chain(normalize(by), pcgrad()).combine(LOSSES, ROWS @ ROWS.T, draws=pcgrad().draw(3))
    assert found.head_weights.tolist() == [1.0] * 3


def test_the_method_that_follows_sees_unit_gradients() -> None:
    units = ROWS / ROWS.norm(dim=1, keepdim=True)
    found = chain(normalize("l2"), pcgrad(order="ascending")).direction(ROWS)
    torch.testing.assert_close(found, pcgrad(order="ascending").direction(units))


def test_zero_gradients_and_wrong_losses() -> None:
    rows = ROWS.clone()
    rows[1] = 0
    weights = chain(normalize("l2"), sum_()).weights(rows @ rows.T)
    assert float(weights[1]) == 0
    assert chain(normalize(), sum_()).weights(torch.zeros(2, 2)).tolist() == [0.0, 0.0]
    chain(normalize("l2")).weights(torch.eye(2), torch.tensor([0.0, -1.0]))  # does not look at losses
    for by in ("loss", "loss+"):
        with pytest.raises(BalanceError, match=r"\['task 0', 'task 2'\] are not positive"):
            chain(normalize(by)).weights(torch.eye(3), torch.tensor([0.0, 1.0, -1.0]))
    with pytest.raises(BalanceError, match="by must be"):
        normalize("l1")
    assert repr(normalize("loss+")) == "normalize('loss+')"
