"""What balance() measures beside the Gramian: independent batches, the last layer; and steps that are not finite."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import taskloom as tl
from taskloom.balance.base import Link, Need, Reduce, chain
from taskloom.balance.flow import Flow
from taskloom.engine.combine import balance
from taskloom.errors import BalanceError, EngineError


class FromCross(Link):
    """Weights that show the products of two batches."""

    needs = Need.CROSS
    reduces = True
    n_batches = 2
    head_gradient = "weighted"

    def forward(self, flow: Flow) -> Flow:
        self.seen = flow.cross()
        return flow.becomes(mix=(self.seen.sum(1) @ flow.mix).unsqueeze(0))


class FromThree(FromCross):
    n_batches = 3
    head_gradient = "unweighted"


class FromLastLayer(Link):
    """Weights that show the gradient norms on the last layer."""

    needs = Need.LAST_LAYER
    reduces = True
    head_gradient = "weighted"

    def forward(self, flow: Flow) -> Flow:
        return flow.becomes(mix=flow.last_layer().diagonal().sqrt().unsqueeze(0) @ flow.mix)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4)).double()
        self.heads = nn.ModuleList([nn.Linear(4, 1).double() for _ in range(2)])

    def losses(self, seed: int) -> dict[str, Tensor]:
        x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        z = self.trunk(x)
        return {
            name: (head(z) - k).square().mean() for k, (name, head) in enumerate(zip("ab", self.heads, strict=True))
        }

    def jacobian(self, seed: int) -> Tensor:
        rows = []
        for loss in self.losses(seed).values():
            gradients = torch.autograd.grad(loss, list(self.trunk.parameters()), retain_graph=True)
            rows.append(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        return torch.stack(rows)

    def gradient(self) -> Tensor:
        return torch.cat([parameter.grad.reshape(-1) for parameter in self.trunk.parameters()])


def test_two_batches_are_compared_and_their_mean_is_learned():
    net = Net()
    first, second = net.jacobian(1), net.jacobian(2)
    link = FromCross()
    balance(net.losses(1), chain(link), shared=net.trunk, independent=[net.losses(2)]).backward()
    torch.testing.assert_close(link.seen, first @ second.T)
    weights = link.seen.sum(1)
    torch.testing.assert_close(net.gradient(), weights @ (first + second) / 2)
    found = chain(FromCross()).step(first, others=[second])
    torch.testing.assert_close(found.direction, net.gradient())


def test_the_third_batch_is_learned_and_heads_keep_their_own_gradients():
    net = Net()
    jacobians = [net.jacobian(seed) for seed in (1, 2, 3)]
    balancer = chain(FromThree())
    balance(net.losses(1), balancer, shared=net.trunk, independent=[net.losses(2), net.losses(3)]).backward()
    expected = chain(FromThree()).step(jacobians[0], others=jacobians[1:]).direction
    torch.testing.assert_close(net.gradient(), expected)
    own = torch.autograd.grad(net.losses(3)["b"], net.heads[1].weight)[0]
    torch.testing.assert_close(net.heads[1].weight.grad, own)


def test_too_few_batches_and_other_tasks():
    net = Net()
    with pytest.raises(BalanceError, match="looks at 2 independent batches"):
        balance(net.losses(1), chain(FromCross()), shared=net.trunk)
    with pytest.raises(EngineError, match=r"independent\[0\] has losses of the tasks \['a'\]"):
        balance(net.losses(1), chain(FromCross()), shared=net.trunk, independent=[{"a": net.losses(2)["a"]}])
    with pytest.raises(BalanceError, match="compares independent batches"):
        chain(FromCross()).combine(torch.ones(2))
    with pytest.raises(BalanceError, match="looks at 2 independent batches"):
        chain(FromCross()).step(torch.ones(2, 3))


@pytest.mark.parametrize("given", [False, True])
def test_the_last_layer_is_the_last_shared_matrix_unless_given(given):
    net = Net()
    layer = net.trunk[0] if given else net.trunk[2].weight
    wanted = list(layer.parameters()) if given else [layer]
    norms = torch.stack(
        [
            torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, wanted, retain_graph=True)]).norm()
            for loss in net.losses(1).values()
        ]
    )
    jacobian = net.jacobian(1)
    balance(
        net.losses(1), chain(FromLastLayer()), shared=net.trunk, last_layer=net.trunk[0] if given else None
    ).backward()
    torch.testing.assert_close(net.gradient(), norms @ jacobian)


class WeightsOfNorms(Reduce):
    def weights(self, gramian: Tensor) -> Tensor:
        return gramian.diagonal()


def test_drop_goes_on_without_the_task_that_is_not_finite():
    net = Net()
    losses = net.losses(1)
    losses["c"] = losses["a"] * torch.nan
    with torch.no_grad():
        zero = torch.zeros((), dtype=torch.float64)
    losses["d"] = (net.trunk[0].weight.sum() * zero).sqrt()  # finite value, gradient NaN
    balance(losses, chain(WeightsOfNorms()), shared=net.trunk, on_nonfinite="drop").backward()
    jacobian = net.jacobian(1)
    torch.testing.assert_close(net.gradient(), (jacobian * jacobian).sum(1) @ jacobian)


def test_drop_of_every_task_is_a_skipped_step():
    net = Net()
    balancer = chain(WeightsOfNorms())
    losses = {name: loss * torch.inf for name, loss in net.losses(1).items()}
    balance(losses, balancer, shared=net.trunk, on_nonfinite="drop").backward()
    assert balancer.n_skipped == 1
    assert net.trunk[0].weight.grad is None


@pytest.mark.parametrize("scale", [1.0, 2.0**10])
def test_a_scaler_changes_nothing_but_the_scale(scale):
    net = Net()
    jacobian = net.jacobian(1)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    scaler.scale(balance(net.losses(1), tl.pcgrad(), shared=net.trunk, scaler=scaler)).backward()
    torch.testing.assert_close(net.gradient() / scale, tl.pcgrad().direction(jacobian))


def test_overflow_reaches_the_scaler():
    net = Net()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    before = [parameter.clone() for parameter in net.trunk.parameters()]
    losses = {name: loss * 1e305 for name, loss in net.losses(1).items()}
    balancer = tl.pcgrad()
    scaler.scale(balance(losses, balancer, shared=net.trunk, scaler=scaler)).backward()
    scaler.step(optimiser)
    scaler.update()
    assert scaler.get_scale() == 2.0**15
    assert balancer.n_steps == 0
    for parameter, old in zip(net.trunk.parameters(), before, strict=True):
        assert torch.equal(parameter, old)
