"""Task gradients of parameters sharded by FSDP2: two processes give what one process gives on all rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.engine.conftest import TwoHeads
from tests.engine.processes import on_two_ranks
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from taskloom.balance.base import chain
from taskloom.balance.mix.pcgrad import pcgrad
from taskloom.balance.reduce.sum import equal
from taskloom.balance.scale.fixed import fixed
from taskloom.balance.wrap.every import every
from taskloom.engine.combine import balance

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")

TASKS = ("a", "b", "c")
BALANCERS: dict[str, Any] = {
    "pcgrad": lambda: pcgrad(seed=1),
    "fixed, then pcgrad": lambda: chain(fixed([0.5, 2.0, 3.0]), pcgrad(order="ascending")),
    "equal mean": lambda: equal("mean"),
}
WRAPPINGS = ("whole", "layers", "layers kept gathered")


class Losses(nn.Module):
    """The forward pass that is wrapped."""

    def __init__(self, network: TwoHeads) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor, tasks: tuple[str, ...] = TASKS) -> dict[str, Tensor]:
        return self.network.losses(inputs, tasks)


def data(n_rows: int = 8) -> Tensor:
    return torch.randn(n_rows, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def sharded(wrapping: str = "layers", network: TwoHeads | None = None, **options: Any) -> Losses:
    from torch.distributed.fsdp import fully_shard

    model = Losses(network or TwoHeads())
    if wrapping != "whole":
        options["reshard_after_forward"] = wrapping == "layers"
        for part in (model.network.trunk[0], model.network.trunk[2], model.network.heads[1]):
            fully_shard(part, **options)
    fully_shard(model, **options)
    return model


def gradients(model: Losses) -> dict[str, Tensor | None]:
    """Whole gradients, by the names of the parameters; None where there is none."""
    found: dict[str, Tensor | None] = {}
    for name, parameter in model.network.named_parameters():
        gradient: Any = parameter.grad
        found[name] = None if gradient is None else gradient.full_tensor()
    return found


def mean_losses(network: TwoHeads, pieces: list[Tensor]) -> dict[str, Tensor]:
    """What ranks minimise together: the mean over ranks of their losses."""
    each = [network.losses(piece) for piece in pieces]
    return {task: torch.stack([losses[task] for losses in each]).mean() for task in network.tasks}


def assert_same(found: list[dict[str, Tensor | None]], network: TwoHeads, **tolerances: float) -> None:
    tolerances = tolerances or {"rtol": 1e-10, "atol": 1e-12}
    for rank in found:
        for name, gradient in network.gradients().items():
            if gradient is None:
                assert rank[name] is None, name
            else:
                torch.testing.assert_close(rank[name], gradient, msg=lambda text, n=name: f"{n}: {text}", **tolerances)


# -- against one process ----------------------------------------------------------------------------------------------


def _gradients_of_every_case(rank: int) -> dict[Any, Any]:
    found = {}
    for wrapping in WRAPPINGS:
        for name in BALANCERS:
            for heads in ("weighted", "unweighted"):
                model = sharded(wrapping)
                losses = model(data().chunk(2)[rank])
                loss = balance(losses, BALANCERS[name](), shared=model.network, head_gradient=heads)
                untouched = all(parameter.grad is None for parameter in model.parameters())
                loss.backward()
                found[wrapping, name, heads] = untouched, loss.item(), gradients(model)
    return found


def test_two_ranks_equal_one() -> None:
    found = on_two_ranks(_gradients_of_every_case)
    for wrapping, name, heads in found[0]:
        network = TwoHeads()
        losses = mean_losses(network, list(data().chunk(2)))
        loss = balance(losses, BALANCERS[name](), shared=network, head_gradient=heads)
        loss.backward()
        key = wrapping, name, heads
        assert [rank[key][0] for rank in found] == [True, True], "gradients were written before backward()"
        assert sum(rank[key][1] for rank in found) / 2 == pytest.approx(loss.item(), rel=1e-6), key
        assert_same([rank[key][2] for rank in found], network, rtol=1e-6, atol=1e-8)


# -- listing, keeping, accumulating -----------------------------------------------------------------------------------


def _listed(rank: int) -> dict[str, Any]:
    found = {}
    for when in ("before the forward pass", "after it", "the module"):
        model = sharded()
        trunk = model.network.trunk
        shared: Any = [*trunk.parameters()]
        losses = model(data().chunk(2)[rank])
        shared = {"before the forward pass": shared, "after it": [*trunk.parameters()], "the module": trunk}[when]
        balance(losses, pcgrad(seed=1), shared=shared).backward()
        found[when] = gradients(model)
    model = sharded()
    model(data().chunk(2)[rank])["a"].backward()
    before = gradients(model)
    losses = model(data().chunk(2)[rank])
    loss = balance(losses, pcgrad(seed=1), shared=model.network)
    found["kept"] = {"before": before, "while": gradients(model)}
    loss.backward()
    found["added"] = gradients(model)
    return found


def test_parameters_may_be_listed_at_any_time_and_gradients_add_up() -> None:
    found = on_two_ranks(_listed)
    network = TwoHeads()
    balance(mean_losses(network, list(data().chunk(2))), pcgrad(seed=1), shared=network).backward()
    for when in ("before the forward pass", "after it", "the module"):
        assert_same([rank[when] for rank in found], network)
    mean_losses(network, list(data().chunk(2)))["a"].backward()
    assert_same([rank["added"] for rank in found], network)
    for rank in found:
        for name, gradient in rank["kept"]["before"].items():
            other = rank["kept"]["while"][name]
            assert (other is None) == (gradient is None), name
            assert gradient is None or torch.equal(gradient, other), name


def _accumulated(rank: int) -> dict[Any, Any]:
    found = {}
    for synchronises in (True, False):
        model = sharded()
        for number, piece in enumerate(data().chunk(2)[rank].chunk(2)):
            if not synchronises:
                model.set_requires_gradient_sync(number == 1)  # type: ignore[operator]
                model.set_is_last_backward(number == 1)  # type: ignore[operator]
            loss = balance(model(piece), pcgrad(order="ascending"), shared=model.network)
            (1024 * loss / 2).backward()
        whole = gradients(model)
        norm: Any = nn.utils.clip_grad_norm_([one for one in model.parameters() if one.grad is not None], 0.1)
        found[synchronises] = whole, norm.full_tensor(), gradients(model)
    return found


def test_accumulation_scaling_and_clipping_work_as_on_any_loss() -> None:
    found = on_two_ranks(_accumulated)
    network = TwoHeads()
    halves = [half.chunk(2) for half in data().chunk(2)]
    for number in range(2):
        losses = mean_losses(network, [halves[rank][number] for rank in range(2)])
        (1024 * balance(losses, pcgrad(order="ascending"), shared=network) / 2).backward()
    for synchronises in (True, False):
        assert_same([rank[synchronises][0] for rank in found], network)
    norm = nn.utils.clip_grad_norm_([one for one in network.parameters() if one.grad is not None], 0.1)
    for synchronises in (True, False):
        for rank in found:
            torch.testing.assert_close(rank[synchronises][1], norm)
        assert_same([rank[synchronises][2] for rank in found], network, rtol=1e-6, atol=1e-9)


def _trained(rank: int) -> dict[str, Tensor]:
    model = sharded()
    balancer = every(2, pcgrad(seed=5))
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.05)
    for step in range(5):
        optimiser.zero_grad()
        losses = model(data()[4 * rank :][:4] + 0.1 * step)
        (balance(losses, balancer, shared=model.network) + 0.1 * losses["a"]).backward()  # another part of the graph
        optimiser.step()
    whole: Any = dict(model.network.named_parameters())
    return {name: parameter.full_tensor().detach() for name, parameter in whole.items()}


def test_training_takes_the_path_of_one_process() -> None:
    found = on_two_ranks(_trained)
    network, balancer = TwoHeads(), every(2, pcgrad(seed=5))
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.05)
    for step in range(5):
        optimiser.zero_grad()
        losses = mean_losses(network, list((data() + 0.1 * step).chunk(2)))
        (balance(losses, balancer, shared=network) + 0.1 * losses["a"]).backward()
        optimiser.step()
    for rank in found:
        for name, parameter in network.named_parameters():
            torch.testing.assert_close(rank[name], parameter.detach(), rtol=1e-8, atol=1e-10)


# -- other ways to shard ----------------------------------------------------------------------------------------------


def _other_ways(rank: int) -> dict[str, Any]:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import Replicate
    from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module

    found = {}
    pieces = data().chunk(2)
    for name, shape in (("copies", (2, 1)), ("copies of shards", (1, 2))):
        mesh = init_device_mesh("cpu", shape, mesh_dim_names=("copies", "shards"))
        model = sharded(mesh=mesh)
        balance(model(pieces[rank]), pcgrad(seed=1), shared=model.network).backward()
        found[name] = gradients(model)

    mesh = init_device_mesh("cpu", (1, 2), mesh_dim_names=("data", "tensor"))
    network = TwoHeads()
    parallelize_module(network.trunk, mesh["tensor"], {"2": ColwiseParallel(output_layouts=Replicate())})
    model = Losses(network)
    fully_shard(model, mesh=mesh["data"])
    balance(model(data()), pcgrad(seed=1), shared=network).backward()  # the same rows on both ranks
    found["tensor parallel"] = gradients(model)

    network = TwoHeads()
    model = Losses(network)
    fully_shard(model, ignored_params={network.trunk[2].weight})
    balance(model(pieces[rank]), pcgrad(seed=1), shared=network).backward()
    left_out = network.trunk[2].weight
    found["left out"] = {
        name: one.grad if one is left_out or one.grad is None else one.grad.full_tensor()  # type: ignore[union-attr]
        for name, one in network.named_parameters()
    }

    model = sharded(network=TwoHeads())
    trunk = model.network.trunk
    inner = trunk[2].forward
    trunk[2].forward = lambda z: checkpoint(inner, z, use_reentrant=False)
    balance(model(pieces[rank]), pcgrad(seed=1), shared=model.network).backward()
    found["checkpointed"] = gradients(model)
    return found


def test_other_ways_to_shard() -> None:
    found = on_two_ranks(_other_ways)
    network = TwoHeads()
    balance(mean_losses(network, list(data().chunk(2))), pcgrad(seed=1), shared=network).backward()
    for name in found[0]:
        assert_same([rank[name] for rank in found], network)
