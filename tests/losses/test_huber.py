"""Huber equals ``torch.nn.functional.huber_loss`` on the labelled elements."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as functional

from taskloom.errors import DataError
from taskloom.losses import Huber


def test_equals_torch_on_the_labelled_elements() -> None:
    generator = torch.Generator().manual_seed(0)
    prediction = torch.randn(50, 1, dtype=torch.float64, generator=generator) * 3
    target = torch.randn(50, dtype=torch.float64, generator=generator)
    mask = torch.rand(50, generator=generator) < 0.5
    expected = functional.huber_loss(prediction[mask, 0], target[mask])
    torch.testing.assert_close(Huber()(prediction, target, mask), expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("delta", [0.1, 2.5])
def test_delta_is_where_the_loss_turns_linear(delta: float) -> None:
    prediction, target = torch.tensor([[0.05], [7.0]], dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    loss = Huber(delta)(prediction, target, torch.ones(2, dtype=torch.bool))
    torch.testing.assert_close(loss, functional.huber_loss(prediction[:, 0], target, delta=delta))


@pytest.mark.parametrize("delta", [0.0, -1.0, float("nan")])
def test_delta_must_be_positive(delta: float) -> None:
    with pytest.raises(DataError, match="delta"):
        Huber(delta)
