"""Gradients that a network gets by these methods: shared part and heads of a small network with two heads."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from taskloom._rng import initial_weights, torch_stream
from taskloom.balance.adapters.torchjd import from_torchjd
from taskloom.balance.base import Balancer, chain
from taskloom.balance.mix.aux_cosine import aux_cosine
from taskloom.balance.mix.gradvac import gradvac
from taskloom.balance.reduce.aligned_mtl import aligned_mtl
from taskloom.balance.reduce.config import config
from taskloom.balance.reduce.imtl_g import imtl_g
from taskloom.balance.reduce.krum import krum
from taskloom.balance.reduce.modo import modo
from taskloom.balance.reduce.sdmgrad import sdmgrad
from taskloom.balance.rows.db_mtl import db_mtl
from taskloom.balance.rows.excess_mtl import excess_mtl
from taskloom.balance.rows.graddrop import graddrop
from taskloom.balance.rows.moco import moco
from taskloom.balance.rows.trimmed_mean import trimmed_mean
from taskloom.balance.scale.auto_lambda import auto_lambda
from taskloom.balance.scale.gradnorm import gradnorm
from taskloom.balance.scale.normalize import normalize
from taskloom.engine.combine import balance

NAMES = ("a", "b")
UNWEIGHTED: dict[str, Callable[[], Balancer]] = {
    "aligned_mtl": aligned_mtl,
    "aux_cosine": lambda: aux_cosine("a"),
    "config": config,
    "gradvac": lambda: gradvac(0.5),
    "graddrop": lambda: graddrop(seed=3),
    "imtl_g": imtl_g,
    "krum": krum,
    "moco": moco,
    "sdmgrad": sdmgrad,
    "sdmgrad_stochastic": lambda: sdmgrad(mode="stochastic"),
    "torchjd": lambda: chain(from_torchjd(lambda rows: rows.amax(0))),
    "trimmed_mean": trimmed_mean,
}
WEIGHTED: dict[str, Callable[[], Balancer]] = {
    "auto_lambda": lambda: auto_lambda("a", inner_lr=0.1),
    "excess_mtl": lambda: excess_mtl(1.0),
    "gradnorm": gradnorm,
    "modo": lambda: modo(0.1),
    "normalize": lambda: chain(normalize("loss+")),
}


class Network(nn.Module):
    """A shared layer and two heads."""

    def __init__(self) -> None:
        super().__init__()
        with initial_weights(0, "network"):
            self.shared = nn.Linear(3, 4)
            self.heads = nn.ModuleList([nn.Linear(4, 1), nn.Linear(4, 2)])
        self.double()

    def losses(self, batch: int) -> dict[str, Tensor]:
        x = torch.randn(6, 3, generator=torch_stream(batch, "network batch"), dtype=torch.float64)
        features = self.shared(x).tanh()
        return {name: (head(features) - 1).square().mean() for name, head in zip(NAMES, self.heads, strict=True)}

    def jacobian(self, batch: int) -> Tensor:
        rows = []
        for loss in self.losses(batch).values():
            found = torch.autograd.grad(loss, list(self.shared.parameters()), retain_graph=True)
            rows.append(torch.cat([one.flatten() for one in found]))
        return torch.stack(rows)

    def head_gradients(self, batches: list[int]) -> list[Tensor]:
        """Of each head, its own loss; the mean over batches."""
        found = []
        for name, head in zip(NAMES, self.heads, strict=True):
            loss = torch.stack([self.losses(batch)[name] for batch in batches]).mean()
            found.append(torch.cat([one.flatten() for one in torch.autograd.grad(loss, list(head.parameters()))]))
        return found

    def gradient_of(self, part: nn.Module) -> Tensor:
        return torch.cat([parameter.grad.flatten() for parameter in part.parameters() if parameter.grad is not None])


def bound(make: Callable[[], Balancer]) -> Balancer:
    balancer = make()
    balancer.bind(NAMES)
    return balancer.double()


@pytest.mark.parametrize("name", sorted(UNWEIGHTED | WEIGHTED))
def test_network_gets_the_direction_and_heads_their_gradient(name: str) -> None:
    make = (UNWEIGHTED | WEIGHTED)[name]
    network, by_balance, by_step = Network(), bound(make), bound(make)
    n_batches = by_balance.n_batches
    for step in range(3):
        batches = [10 * step + number for number in range(n_batches)]
        first, *others = (network.losses(batch) for batch in batches)
        network.zero_grad()
        by_balance.zero_grad()
        loss = balance(first, by_balance, shared=network.shared, independent=others, last_layer=network.shared)
        loss.backward()
        jacobian, *more = (network.jacobian(batch) for batch in batches)
        values = torch.stack([loss.detach() for loss in first.values()])
        expected = by_step.step(jacobian, values, others=more)
        torch.testing.assert_close(network.gradient_of(network.shared), expected.direction, rtol=1e-9, atol=1e-12)
        made_of = batches if n_batches == 2 else batches[-1:]
        made_of = batches[:1] if by_balance.learns_from_first else made_of
        for head, own, weight in zip(network.heads, network.head_gradients(made_of), expected.weights, strict=True):
            factor = float(weight) if name in WEIGHTED else 1.0
            torch.testing.assert_close(network.gradient_of(head), factor * own, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("beta", [0.0, 0.9])
def test_db_mtl_gives_heads_the_gradient_of_the_logarithm(beta: float) -> None:
    network, balancer = Network(), bound(lambda: db_mtl(beta))
    losses = network.losses(0)
    balance(losses, balancer, shared=network.shared).backward()
    for head, own, loss in zip(network.heads, network.head_gradients([0]), losses.values(), strict=True):
        expected = own / (loss.detach() + 1e-8)
        torch.testing.assert_close(network.gradient_of(head), expected, rtol=1e-9, atol=1e-12)


def test_own_parameters_get_their_gradients_in_the_same_backward_pass() -> None:
    network = Network()
    for make, n_others in ((gradnorm, 0), (lambda: auto_lambda("a", inner_lr=0.1), 1)):
        balancer = bound(make)
        others = [network.losses(number + 1) for number in range(n_others)]
        loss = balance(network.losses(0), balancer, shared=network.shared, independent=others)
        loss.backward()
        (own,) = balancer.parameters()
        assert own.grad is not None
        assert float(own.grad.abs().sum()) > 0
