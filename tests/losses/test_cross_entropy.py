"""CrossEntropy equals ``torch.nn.functional.cross_entropy`` on the labelled elements."""

from __future__ import annotations

import torch
import torch.nn.functional as functional

from taskloom.losses import BinaryCrossEntropy, CrossEntropy


def test_equals_torch_on_the_labelled_elements() -> None:
    generator = torch.Generator().manual_seed(0)
    prediction = torch.randn(50, 5, dtype=torch.float64, generator=generator) * 3
    target = torch.randint(0, 5, (50,), generator=generator)
    mask = torch.rand(50, generator=generator) < 0.5
    expected = functional.cross_entropy(prediction[mask], target[mask])
    torch.testing.assert_close(CrossEntropy()(prediction, target, mask), expected, rtol=1e-14, atol=0)


def test_two_classes_agree_with_the_binary_loss() -> None:
    logits = torch.tensor([[0.3, -1.2], [2.0, 2.5]], dtype=torch.float64)
    target, mask = torch.tensor([1, 0]), torch.ones(2, dtype=torch.bool)
    binary = BinaryCrossEntropy()((logits[:, 1] - logits[:, 0]).unsqueeze(-1), target, mask)
    torch.testing.assert_close(CrossEntropy()(logits, target, mask), binary)
