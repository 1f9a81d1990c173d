"""A balancer at the features passes on what the balancer inside is told, and asks for no more than it."""

from __future__ import annotations

import torch

import taskloom as tl
from taskloom.balance.scale.dwa import loss_trends


def test_only_what_compares_losses_looks_at_a_batch_twice():
    assert not tl.mgda_ub().observes
    assert not tl.at_features(tl.pcgrad()).observes
    assert tl.famo().observes


def test_epochs_end_inside():
    gramian, losses = torch.eye(2, dtype=torch.float64), torch.tensor([1.0, 2.0], dtype=torch.float64)
    plain = tl.chain(loss_trends(), tl.mgda())
    inside = tl.at_features(tl.chain(loss_trends(), tl.mgda()))
    for balancer in (plain, inside):
        balancer.bind(["a", "b"])
        for epoch in range(2):
            balancer.weights(gramian, losses * torch.tensor([1.0, 0.5**epoch]))
            balancer.end_epoch()
    found, expected = inside.weights(gramian, losses), plain.weights(gramian, losses)
    assert torch.equal(found, expected)
    assert found[0] != found[1]  # the tasks fell by different factors, which only a balancer told of the epochs knows
