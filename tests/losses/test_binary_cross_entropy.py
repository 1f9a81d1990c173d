"""BinaryCrossEntropy equals ``torch.nn.functional.binary_cross_entropy_with_logits`` on the labelled elements."""

from __future__ import annotations

import torch
import torch.nn.functional as functional

from taskloom.losses import BinaryCrossEntropy


def test_equals_torch_on_the_labelled_elements() -> None:
    generator = torch.Generator().manual_seed(0)
    prediction = torch.randn(50, 1, dtype=torch.float64, generator=generator) * 3
    target = torch.randint(0, 2, (50,), generator=generator)
    mask = torch.rand(50, generator=generator) < 0.5
    expected = functional.binary_cross_entropy_with_logits(prediction[mask, 0], target[mask].double())
    torch.testing.assert_close(BinaryCrossEntropy()(prediction, target, mask), expected, rtol=1e-14, atol=0)


def test_is_finite_for_any_logit() -> None:
    logits = torch.tensor([[1e4], [-1e4]], dtype=torch.float64, requires_grad=True)
    loss = BinaryCrossEntropy()(logits, torch.tensor([0, 1]), torch.ones(2, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 1e4
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
