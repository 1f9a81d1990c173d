"""SquaredError equals ``torch.nn.functional.mse_loss`` on the labelled elements."""

from __future__ import annotations

import torch
import torch.nn.functional as functional

from taskloom.losses import SquaredError


def test_equals_torch_on_the_labelled_elements() -> None:
    generator = torch.Generator().manual_seed(0)
    prediction = torch.randn(50, 1, dtype=torch.float64, generator=generator) * 3
    target = torch.randn(50, dtype=torch.float64, generator=generator)
    mask = torch.rand(50, generator=generator) < 0.5
    expected = functional.mse_loss(prediction[mask, 0], target[mask])
    torch.testing.assert_close(SquaredError()(prediction, target, mask), expected, rtol=1e-14, atol=0)
