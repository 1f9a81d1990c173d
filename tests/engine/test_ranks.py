"""Two processes under DistributedDataParallel give the gradients of one process on all rows.

What is equal: every rank has the mean of its own rows as the loss of a task (0 for a task that it lacks), and the
gradients are those of one process whose losses are the means of these over the ranks. With as many labels on every
rank that is the mean over all labels; with uneven numbers it is not, for balanced and for plain losses alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from tests.engine.processes import on_two_ranks
from torch import Tensor, nn

from taskloom.balance.base import chain
from taskloom.balance.mix.pcgrad import pcgrad
from taskloom.balance.reduce.sum import equal
from taskloom.balance.scale.fixed import fixed
from taskloom.balance.scale.uncertainty import GAUSSIAN, uncertainty
from taskloom.engine.autograd import AutogradEngine
from taskloom.engine.combine import balance
from taskloom.engine.measure import measure
from taskloom.errors import BalanceError, EngineError

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")

TASKS = ("a", "b", "c")
Present = tuple[tuple[str, ...], tuple[str, ...]]  # the tasks that each rank has
EVERY: Present = (TASKS, TASKS)


class Network(nn.Module):
    """A trunk for all tasks, a shared layer that only b and c pass, and a parameter that nothing uses."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk, self.further = nn.Linear(3, 4), nn.Linear(4, 4)
        self.heads = nn.ModuleList(nn.Linear(4, 1) for _ in TASKS)
        self.unused = nn.Parameter(torch.ones(2))
        self.double()

    def shared_parameters(self) -> list[nn.Parameter]:
        shared = [*self.trunk.parameters(), *self.further.parameters(), self.unused]
        return [parameter for parameter in shared if parameter.requires_grad]

    def forward(self, inputs: Tensor, tasks: Sequence[str] = TASKS) -> dict[str, Tensor]:
        z = self.trunk(inputs).tanh()
        further = self.further(z).tanh() if {"b", "c"} & set(tasks) else None
        return {task: self.heads[TASKS.index(task)](z if task == "a" else further) for task in tasks}


def losses_of(outputs: Mapping[str, Tensor], inputs: Tensor, tasks: Sequence[str]) -> dict[str, Tensor]:
    """The mean over the labelled rows; b has a label at every third row."""
    found = {}
    for task in tasks:
        place = TASKS.index(task)
        rows = slice(None, None, 3 if task == "b" else 1)
        target = (-1.0) ** place * inputs.sum(1, keepdim=True) + place
        found[task] = (outputs[task] - target)[rows].square().mean()
    return found


def pieces() -> list[Tensor]:
    """Uneven: five rows and seven, two labels of b and three."""
    return list(torch.randn(12, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64).split([5, 7]))


def mean_losses(network: Network, rows: Sequence[Tensor], present: Present) -> dict[str, Tensor]:
    """What two ranks minimise: the mean over the ranks, 0 for a task that one lacks."""
    each = [losses_of(network(part), part, present[rank]) for rank, part in enumerate(rows)]
    named = [task for task in TASKS if any(task in losses for losses in each)]
    return {task: torch.stack([losses[task] for losses in each if task in losses]).sum() / 2 for task in named}


def gradients(network: nn.Module) -> dict[str, Tensor | None]:
    return {name: None if p.grad is None else p.grad.clone() for name, p in network.named_parameters()}


def assert_same(found: Sequence[Mapping[str, Tensor | None]], network: nn.Module, what: str = "") -> None:
    for rank in found:
        for name, expected in gradients(network).items():
            gradient = rank[name]
            if expected is None or gradient is None:
                assert gradient is expected is None, f"{what} {name}: {gradient} {expected}"
            else:
                torch.testing.assert_close(
                    gradient, expected, rtol=1e-10, atol=1e-12, msg=f"{what} {name}: {gradient} {expected}"
                )


BALANCERS: dict[str, Any] = {
    "pcgrad": lambda: pcgrad(seed=1),
    "fixed, then pcgrad": lambda: chain(fixed([0.5, 2.0, 3.0]), pcgrad(order="ascending")),
    "equal mean": lambda: equal("mean"),
}


def bound(name: str) -> Any:
    balancer = BALANCERS[name]()
    balancer.bind(TASKS)
    return balancer


# -- one step ---------------------------------------------------------------------------------------------------------

FIND = {"find_unused_parameters": True}
CASES: dict[str, tuple[Present, dict[str, Any]]] = {
    "all tasks": (EVERY, {}),
    "all tasks, views": (EVERY, {"gradient_as_bucket_view": True}),
    "unused parameter": (EVERY, FIND),
    "c missing on one": ((TASKS, ("a", "b")), FIND),
    "only a on one": ((TASKS, ("a",)), FIND),  # a shared layer is used on the other rank alone
    "only a on one, views": ((TASKS, ("a",)), {**FIND, "gradient_as_bucket_view": True}),
    "no task of one on the other": ((("a",), ("b", "c")), FIND),
    "c missing on both": ((("a", "b"), ("a",)), FIND),
}


def _wrapped(case: str) -> tuple[Network, nn.Module]:
    network = Network()
    if "unused" not in case:
        network.unused.requires_grad_(False)
    return network, nn.parallel.DistributedDataParallel(network, **CASES[case][1])


METHODS: list[tuple[str, Any]] = [
    ("pcgrad", "weighted"),
    ("pcgrad", "unweighted"),
    ("fixed, then pcgrad", "unweighted"),
    ("equal mean", "weighted"),
    ("equal mean", "unweighted"),  # weights without gradients, which are then taken in one pass
]


def _one_step(rank: int) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    rows = pieces()[rank]
    for case, (present, _) in CASES.items():
        for name, heads in METHODS:
            for everything in (False, True):  # the forward pass makes all outputs, or those with labels
                network, wrapped = _wrapped(case)
                balancer = bound(name)
                for _ in range(2):  # the second forward pass looks whether the first step was finished
                    network.zero_grad()
                    made = wrapped(rows, TASKS if everything else present[rank])
                    losses = losses_of(made, rows, present[rank])
                    balance(losses, balancer, shared=network, head_gradient=heads).backward()
                found[case, name, heads, everything] = gradients(network)
    return found


def test_one_step() -> None:
    found = on_two_ranks(_one_step)
    for case, (present, _) in CASES.items():
        for name, heads in METHODS:
            network = _unwrapped(case)
            balancer = bound(name)
            for _ in range(2):
                network.zero_grad()
                losses = mean_losses(network, pieces(), present)
                balance(losses, balancer, shared=network, head_gradient=heads).backward()
            for everything in (False, True):
                key = case, name, heads, everything
                assert_same([rank[key] for rank in found], network, str(key))


def _unwrapped(case: str) -> Network:
    network = Network()
    network.unused.requires_grad_("unused" in case)
    return network


# -- several steps ----------------------------------------------------------------------------------------------------


def _accumulated(rank: int) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for case in ("all tasks", "only a on one"):
        network, wrapped = _wrapped(case)
        balancer = bound("pcgrad")
        for number, rows in enumerate(pieces()[rank].chunk(2)):
            with wrapped.no_sync() if number == 0 else nullcontext():  # type: ignore[operator]
                losses = losses_of(wrapped(rows), rows, CASES[case][0][rank])
                (balance(losses, balancer, shared=network) / 2).backward()
        found[case] = gradients(network)
        learning = [parameter for parameter in network.parameters() if parameter.grad is not None]
        found[case, "norm"] = nn.utils.clip_grad_norm_(learning, 0.1)
        found[case, "clipped"] = gradients(network)
    return found


def test_accumulation_without_synchronisation_and_clipping() -> None:
    found = on_two_ranks(_accumulated)
    for case in ("all tasks", "only a on one"):
        network, balancer = _unwrapped(case), bound("pcgrad")
        chunks = [rows.chunk(2) for rows in pieces()]
        for number in range(2):
            losses = mean_losses(network, [chunk[number] for chunk in chunks], CASES[case][0])
            (balance(losses, balancer, shared=network) / 2).backward()
        assert_same([rank[case] for rank in found], network)
        norm = nn.utils.clip_grad_norm_([p for p in network.parameters() if p.grad is not None], 0.1)
        for rank in found:
            torch.testing.assert_close(rank[case, "norm"], norm)
        assert_same([rank[case, "clipped"] for rank in found], network)


def _trained(rank: int) -> dict[str, Any]:
    network = Network()
    wrapped = nn.parallel.DistributedDataParallel(network, **FIND)
    balancer = chain(uncertainty(GAUSSIAN), pcgrad(seed=3))
    balancer.bind(TASKS)
    optimiser = torch.optim.AdamW([*network.parameters(), *balancer.parameters()], lr=0.05)
    orders, rows = [], pieces()[rank]
    for step in range(6):
        present = TASKS if rank == 0 or step % 2 else ("a",)
        optimiser.zero_grad()
        orders.append(balancer.draw(len(TASKS), step=balancer.n_draws))
        losses = losses_of(wrapped(rows + 0.1 * step), rows, present)
        balance(losses, balancer, shared=network, verify="always").backward()
        optimiser.step()
    return {"network": network.state_dict(), "balancer": balancer.state_dict(), "orders": torch.stack(orders)}


def test_training_takes_the_path_of_one_process_and_ranks_never_part() -> None:
    """PCGrad visits the tasks in the same random order on all ranks; log-variances learn alike."""
    found = on_two_ranks(_trained)
    network = Network()
    balancer = chain(uncertainty(GAUSSIAN), pcgrad(seed=3))
    balancer.bind(TASKS)
    optimiser = torch.optim.AdamW([*network.parameters(), *balancer.parameters()], lr=0.05)
    for step in range(6):
        optimiser.zero_grad()
        each = []
        for rank, rows in enumerate(pieces()):
            present = TASKS if rank == 0 or step % 2 else ("a",)
            each.append(losses_of(network(rows + 0.1 * step), rows, present))
        losses = {task: torch.stack([one[task] for one in each if task in one]).sum() / 2 for task in TASKS}
        balance(losses, balancer, shared=network).backward()
        optimiser.step()
    assert torch.equal(found[0]["orders"], found[1]["orders"])
    assert len(found[0]["orders"].argsort(-1).unique(dim=0)) > 1
    for part, expected in (("network", network.state_dict()), ("balancer", balancer.state_dict())):
        for name, value in expected.items():
            assert torch.equal(found[0][part][name], found[1][part][name]), name
            torch.testing.assert_close(found[0][part][name], value, rtol=1e-9, atol=1e-11)


def _own_parameters(rank: int) -> Tensor:
    network, balancer = Network(), uncertainty(GAUSSIAN)
    balancer.bind(TASKS)
    rows = pieces()[rank]
    balance(losses_of(network(rows), rows, TASKS), balancer, shared=network).backward()  # nobody wraps the balancer
    return next(balancer.parameters()).grad  # type: ignore[return-value]


def test_parameters_of_a_balancer_that_nobody_wraps_learn_alike() -> None:
    found = on_two_ranks(_own_parameters)
    values = torch.stack(list(mean_losses(Network(), pieces(), EVERY).values())).detach()
    for gradient in found:
        torch.testing.assert_close(gradient, (0.5 - 0.5 * values).to(gradient))


# -- what is left out -------------------------------------------------------------------------------------------------


def _left_out(rank: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    rows = pieces()[rank]
    network, wrapped = _wrapped("unused parameter")
    balancer = bound("pcgrad")

    def losses(spoil: bool = False) -> dict[str, Tensor]:
        made = losses_of(wrapped(rows), rows, TASKS)
        if spoil and rank == 1:  # one rank alone finds out
            made["b"] = made["b"] * float("nan")
        return made

    try:
        balance(losses(spoil=True), balancer, shared=network)
    except BalanceError as error:
        found["raise"] = str(error)
    balance(losses(spoil=True), balancer, shared=network, on_nonfinite="skip").backward()
    found["skip"] = [None if one is None else float(one.abs().max()) for one in gradients(network).values()]
    network.zero_grad()
    balance(losses(spoil=True), balancer, shared=network, on_nonfinite="drop").backward()
    found["drop"] = gradients(network)

    network, wrapped = _wrapped("all tasks")
    balance(losses(spoil=True), balancer, shared=network, on_nonfinite="skip").backward()
    found["skip, every parameter used"] = [
        None if one is None else float(one.abs().max()) for one in gradients(network).values()
    ]

    network = Network().float()
    wrapped = nn.parallel.DistributedDataParallel(network, **FIND)
    rows = rows.float()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found["moved"] = []
    for _ in range(2):  # infinite gradients: the first step is left out, and the next one works
        optimiser.zero_grad()
        scaler.scale(balance(losses(), bound("pcgrad"), shared=network, scaler=scaler)).backward()
        scaler.step(optimiser)
        scaler.update(2.0**4)
        found["moved"].append(any(not torch.equal(before[n], value) for n, value in network.state_dict().items()))
    found["parameters"] = torch.cat([p.detach().reshape(-1) for p in network.parameters()])
    return found


def test_steps_that_are_left_out() -> None:
    ranks = on_two_ranks(_left_out)
    network = Network()
    losses = mean_losses(network, pieces(), (("a", "c"), ("a", "c")))
    balance(losses, bound("pcgrad"), shared=network).backward()
    for found in ranks:
        assert "losses of the tasks ['b'] are not finite" in found["raise"]
        assert set(found["skip"]) == {None}
        assert set(found["skip, every parameter used"]) <= {None, 0.0}  # the reducer writes its sum, which is zero
        assert_same([found["drop"]], network)
        assert found["moved"] == [False, True]
        assert torch.equal(found["parameters"], ranks[0]["parameters"])


def _refused(rank: int) -> list[str]:
    messages = []
    network = Network()
    network.unused.requires_grad_(False)
    wrapped = nn.parallel.DistributedDataParallel(network, static_graph=True)
    rows = pieces()[rank]
    for verify in ("first", "never"):
        try:
            balance(losses_of(wrapped(rows), rows, TASKS), pcgrad(), shared=network, verify=verify)
        except EngineError as error:
            messages.append(str(error))
    return messages


def test_a_static_graph_is_refused() -> None:
    for messages in on_two_ranks(_refused):
        assert len(messages) == 2
        assert all("static_graph=True" in message for message in messages)


# -- measuring --------------------------------------------------------------------------------------------------------


def _measured(rank: int) -> dict[str, Tensor]:
    network, rows = Network(), pieces()[rank]
    losses = losses_of(network(rows), rows, TASKS)
    engine = AutogradEngine()
    return {
        "gramian": measure(losses, shared=network).gramian,
        "rows": engine.rows([losses["a"], losses["b"] if rank else None, None], network.shared_parameters()).matrix(),
    }


def test_rows_are_means_over_ranks_before_products() -> None:
    found = on_two_ranks(_measured)
    network = Network()
    expected = measure(mean_losses(network, pieces(), EVERY), shared=network).gramian
    partly = mean_losses(network, pieces(), (("a",), ("a", "b")))
    rows = AutogradEngine().rows([partly["a"], partly["b"], None], network.shared_parameters()).matrix()
    for rank in found:
        torch.testing.assert_close(rank["gramian"], expected, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(rank["rows"], rows, rtol=1e-12, atol=1e-14)
