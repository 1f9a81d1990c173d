"""Policies: samples are distributions with the right frequencies, gradients pass, errors."""

from __future__ import annotations

import pytest
import torch

from taskloom.errors import TaskError
from taskloom.nn.policies import Policy


def test_hard_samples_follow_the_probabilities():
    torch.manual_seed(0)
    policy = Policy((4000,), 3, temperature=0.7)
    with torch.no_grad():
        policy.logits.copy_(torch.tensor([0.5, 0.3, 0.2]).log().expand(4000, 3))
    counts = policy.sample(hard=True).mean(0)
    torch.testing.assert_close(counts, torch.tensor([0.5, 0.3, 0.2]), rtol=0, atol=0.03)


def test_samples_are_distributions_with_gradients():
    torch.manual_seed(0)
    policy = Policy((5, 2), 3).double()
    for hard in (False, True):
        sample = policy.sample(hard=hard)
        torch.testing.assert_close(sample.sum(-1), torch.ones(5, 2, dtype=torch.float64))
        gradient = torch.autograd.grad((sample * torch.arange(3.0)).sum(), policy.logits)[0]
        assert gradient.abs().sum() > 0
        torch.testing.assert_close(gradient.sum(-1), torch.zeros(5, 2, dtype=torch.float64), rtol=0, atol=1e-12)


def test_low_temperatures_give_almost_hard_samples():
    policy = Policy((100,), 2, temperature=1e-3)
    assert policy.sample().max(-1).values.min() > 0.9


def test_choices_are_the_most_probable():
    policy = Policy((2,), 3)
    assert policy.choices().tolist() == [0, 0]
    with torch.no_grad():
        policy.logits[1, 2] = 1.0
    assert policy.choices().tolist() == [0, 2]


def test_half_precision_is_raised():
    assert Policy((2,), 2).half().sample().dtype == torch.float32


def test_bad_settings():
    with pytest.raises(TaskError, match="1 or more options"):
        Policy((2,), 0)
    with pytest.raises(TaskError, match="must be positive"):
        Policy((2,), 2, temperature=0.0)
