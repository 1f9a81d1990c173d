"""blockwise(): a method on every block of the shared parameters, with a memory of its own for each."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.engine.conftest import TwoHeads
from torch import Tensor, nn

import taskloom as tl
from taskloom._rng import torch_stream
from taskloom.balance import Blocks
from taskloom.balance.base import Balancer, Need, chain
from taskloom.engine.combine import balance
from taskloom.errors import BalanceError

TASKS = ("a", "b", "c")
BLOCKS = Blocks(sizes=(2, 3, 1, 4), owners=(0, 1, 0, 2))
COLUMNS = ([0, 1, 5], [2, 3, 4], [6, 7, 8, 9])

METHODS: dict[str, Any] = {
    "pcgrad": lambda: tl.pcgrad(order="ascending"),
    "gradvac": lambda: tl.gradvac(0.3, order="ascending"),
    "mgda": tl.mgda,
    "nash_mtl": tl.nash_mtl,
    "upgrad": tl.upgrad,
    "mgda, losses": lambda: tl.mgda("loss+"),
    "weighted first": lambda: chain(tl.fixed([1.0, 2.0, 0.5]), tl.pcgrad(order="ascending")),
    "smoothed": lambda: tl.smoothed(0.5, tl.mgda()),
}


def rows(number: int) -> Tensor:
    return torch.randn(3, 10, generator=torch_stream(number, "blockwise"), dtype=torch.float64)


def bound(balancer: Balancer) -> Balancer:
    balancer.bind(TASKS)
    return balancer


@pytest.mark.parametrize("name", METHODS)
def test_it_is_the_method_on_every_block(name: str) -> None:
    """Over several steps, so that every block has a memory of its own."""
    whole = bound(tl.blockwise(BLOCKS, METHODS[name]()))
    alone = [bound(METHODS[name]()) for _ in COLUMNS]
    losses = torch.tensor([1.0, 3.0, 0.5], dtype=torch.float64)
    for number in range(4):
        jacobian = rows(number)
        found = whole.step(jacobian, losses)
        parts = [balancer.step(jacobian[:, columns], losses) for balancer, columns in zip(alone, COLUMNS, strict=True)]
        for columns, part in zip(COLUMNS, parts, strict=True):
            torch.testing.assert_close(found.direction[columns], part.direction, rtol=1e-12, atol=1e-14)
        shares = torch.tensor([0.3, 0.3, 0.4], dtype=torch.float64)
        torch.testing.assert_close(found.weights, shares @ torch.stack([part.weights for part in parts]))
    reference = METHODS[name]()
    assert whole.head_gradient == reference.head_gradient


def test_one_block_is_the_method_itself() -> None:
    for name, make in METHODS.items():
        one, itself = bound(tl.blockwise(Blocks((10,), (0,)), make())), bound(make())
        losses = torch.tensor([1.0, 3.0, 0.5], dtype=torch.float64)
        for number in range(3):
            expected = itself.direction(rows(number), losses)
            torch.testing.assert_close(one.direction(rows(number), losses), expected, msg=name)


def test_random_orders_are_those_of_the_step() -> None:
    """All blocks visit the tasks in one order, the same as the method alone would."""
    whole, alone = bound(tl.blockwise(BLOCKS, tl.pcgrad(seed=3))), bound(tl.pcgrad(seed=3))
    keys = whole.draw(3, step=0)
    assert keys.shape == (3, 3)
    jacobian = rows(1)
    expected = [alone.weights(jacobian[:, columns] @ jacobian[:, columns].T, draws=keys) for columns in COLUMNS]
    found = whole.direction(jacobian, draws=keys)
    for columns, weights in zip(COLUMNS, expected, strict=True):
        torch.testing.assert_close(found[columns], weights @ jacobian[:, columns])
    kept = whole.select_draws(keys, [0, 2])
    assert torch.equal(kept, keys[[0, 2]][:, [0, 2]])


@pytest.mark.parametrize("per_tensor", [False, True])
def test_layers_of_a_network(per_tensor: bool) -> None:
    network, inputs = TwoHeads(), torch.eye(3, dtype=torch.float64)
    blocks = Blocks.per_tensor(network) if per_tensor else Blocks.per_layer(network)
    balance(network.losses(inputs), tl.blockwise(blocks, tl.pcgrad(order="ascending")), shared=network).backward()
    parameters = network.shared_parameters()
    parts = [[0], [1], [2]] if per_tensor else [[0], [1, 2]]
    for part in parts:
        chosen = [parameters[place] for place in part]
        jacobian = torch.stack(
            [
                torch.cat([one.reshape(-1) for one in torch.autograd.grad(loss, chosen, retain_graph=True)])
                for loss in network.losses(inputs).values()
            ]
        )
        expected = tl.pcgrad(order="ascending").direction(jacobian)
        torch.testing.assert_close(torch.cat([one.grad.reshape(-1) for one in chosen]), expected)
    own = torch.autograd.grad(network.losses(inputs)["b"], network.heads[1].weight)[0]
    torch.testing.assert_close(network.heads[1].weight.grad, own)


def test_parameters_of_several_dtypes_keep_their_blocks() -> None:
    """Columns lie together by dtype, blocks do not."""
    first, second = nn.Linear(2, 3), nn.Linear(3, 2).double()
    third = nn.Linear(2, 1)
    shared = nn.ModuleList([first, second, third])

    def losses() -> dict[str, Tensor]:
        output = third(second(first(torch.ones(4, 2)).double()).float())
        return {"a": output.mean(), "b": -2 * output.square().mean()}

    balance(losses(), tl.blockwise(Blocks.per_layer(shared), tl.mgda()), shared=shared).backward()
    for layer in shared:
        jacobian = torch.stack(
            [
                torch.cat(
                    [
                        g.reshape(-1).double()
                        for g in torch.autograd.grad(loss, list(layer.parameters()), retain_graph=True)
                    ]
                )
                for loss in losses().values()
            ]
        )
        found = torch.cat([one.grad.reshape(-1).double() for one in layer.parameters()])
        torch.testing.assert_close(found, tl.mgda().direction(jacobian), rtol=1e-5, atol=1e-6)


def test_state_of_every_block_is_saved() -> None:
    whole = bound(tl.blockwise(BLOCKS, tl.gradvac(0.3, order="ascending")))
    for number in range(3):
        whole.direction(rows(number))
    other = bound(tl.blockwise(BLOCKS, tl.gradvac(0.3, order="ascending")))
    other.load_state_dict(whole.state_dict())
    assert torch.equal(other.direction(rows(5)), whole.direction(rows(5)))
    whole.reset()
    fresh = bound(tl.blockwise(BLOCKS, tl.gradvac(0.3, order="ascending")))
    assert torch.equal(whole.direction(rows(5)), fresh.direction(rows(5)))


def test_it_stands_in_chains() -> None:
    found = chain(tl.blockwise(BLOCKS, tl.mgda()), tl.clip(1e-3)).direction(rows(0))
    assert float(found.norm()) == pytest.approx(1e-3)
    doubled = bound(chain(tl.fixed([2.0, 2.0, 2.0]), tl.blockwise(BLOCKS, tl.pcgrad(order="ascending"))))
    once = tl.blockwise(BLOCKS, tl.pcgrad(order="ascending")).direction(rows(0))
    torch.testing.assert_close(doubled.direction(rows(0)), 2 * once)
    assert Need.ROWS in doubled.needs


def test_points_without_a_solution_are_noticed_in_any_block() -> None:
    jacobian = torch.ones(2, 10, dtype=torch.float64)
    jacobian[1, 3] = 4.0
    jacobian[1, [0, 1, 5]] = -1.0  # the first block is stationary
    balancer = tl.blockwise(BLOCKS, tl.nash_mtl())
    balancer.direction(jacobian)
    assert balancer.diagnostics.n_fallbacks == 1


def test_what_it_cannot_wrap_is_named() -> None:
    with pytest.raises(BalanceError, match=r"expected blocks such as Blocks\.per_layer\(encoder\), found 'layer'"):
        tl.blockwise("layer", tl.pcgrad())
    for balancer in (tl.equal(), tl.graddrop(), tl.gradnorm(), tl.auto_lambda(inner_lr=0.1)):
        with pytest.raises(BalanceError, match="does not decide by inner products"):
            tl.blockwise(BLOCKS, balancer)
    with pytest.raises(BalanceError, match="looks at features"):
        tl.blockwise(BLOCKS, tl.mgda_ub())
    with pytest.raises(BalanceError, match="parameters of its own, which there would be once per block"):
        bound(tl.blockwise(BLOCKS, chain(tl.imtl_l(), tl.pcgrad())))
    with pytest.raises(BalanceError, match=r"those of 4 parameters with 10 entries, found 3; make them of"):
        tl.blockwise(BLOCKS, tl.pcgrad()).direction(torch.eye(3))
    network, inputs = TwoHeads(), torch.eye(3, dtype=torch.float64)
    wrong = Blocks.per_tensor(network.heads)
    with pytest.raises(BalanceError, match=r"6 parameters with 15 entries, found 3 with 39"):
        balance(network.losses(inputs), tl.blockwise(wrong, tl.pcgrad()), shared=network)
    with pytest.raises(BalanceError, match="needs the task gradients themselves"):
        tl.blockwise(BLOCKS, tl.pcgrad()).weights(torch.eye(2))


def test_reads_as_a_recipe() -> None:
    assert repr(tl.blockwise(BLOCKS, tl.mgda())) == "chain(blockwise(3 blocks, chain(mgda())))"
