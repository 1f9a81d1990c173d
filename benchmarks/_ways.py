"""The ways to make a step that are compared: the plain sum, this library, TorchJD, and one backward pass per task."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from _workloads import Work
from cvxpy.error import SolverError
from torch import Tensor
from torchjd import aggregation
from torchjd.autogram import Engine
from torchjd.autojac import jac_to_grad, mtl_backward

import taskloom as tl
from taskloom.balance.base import Balancer

__all__ = [
    "METHODS",
    "REFUSALS",
    "Method",
    "Setting",
    "Way",
    "by_k_passes",
    "by_taskloom",
    "by_torchjd",
    "decide",
    "equal",
]

REFUSALS = (ArithmeticError, NotImplementedError, RuntimeError, SolverError, ValueError)
"""What TorchJD raises where it does not support a network or a method, or its solver fails."""


@dataclass(frozen=True)
class Method:
    """One method, here and there.

    Args:
        ours: makes a balancer.
        theirs: makes TorchJD's aggregator for a number of tasks.
    """

    ours: Callable[[], Balancer]
    theirs: Callable[[int], aggregation.Aggregator]


# the same equations on both sides: without the factor that official code puts on CAGrad's direction
METHODS: dict[str, Method] = {
    "mgda": Method(tl.mgda, lambda n_tasks: aggregation.MGDA()),
    "pcgrad": Method(tl.pcgrad, lambda n_tasks: aggregation.PCGrad()),
    "cagrad": Method(lambda: tl.cagrad(0.4, rescale=0), lambda n_tasks: aggregation.CAGrad(c=0.4)),
    "nash_mtl": Method(tl.nash_mtl, lambda n_tasks: aggregation.NashMTL(n_tasks=n_tasks)),
    "upgrad": Method(tl.upgrad, lambda n_tasks: aggregation.UPGrad()),
    "imtl_g": Method(tl.imtl_g, lambda n_tasks: aggregation.IMTLG()),
    "aligned_mtl": Method(tl.aligned_mtl, lambda n_tasks: aggregation.AlignedMTL()),
}


@dataclass
class Way:
    """Steps of one kind on a workload.

    Args:
        work: the workload.
        backward: a forward pass, and whatever then leaves a gradient in every parameter.
    """

    work: Work
    backward: Callable[[], None]

    def __post_init__(self) -> None:
        self.optimiser = torch.optim.SGD(self.work.model.parameters(), lr=1e-4)

    def step(self) -> None:
        """A whole step of training."""
        self.backward()
        self.optimiser.step()
        self.optimiser.zero_grad()

    def gradient(self) -> list[Tensor | None]:
        """What a step would follow in the shared parameters, without following it."""
        self.backward()
        found = [one.grad for one in self.work.shared.parameters()]
        self.optimiser.zero_grad()
        return found


def equal(work: Work) -> Way:
    """The gradient of the sum of the losses."""

    def backward() -> None:
        torch.stack(list(work.losses().values())).sum().backward()

    return Way(work, backward)


def by_taskloom(work: Work, method: Method) -> Way:
    """``tl.balance`` as it comes."""
    balancer = method.ours()

    def backward() -> None:
        tl.balance(work.losses(), balancer, shared=work.shared).backward()

    return Way(work, backward)


def decide(balancer: Balancer, losses: Tensor, gramian: Tensor) -> Tensor:
    """The weights of the next step of a balancer, (K,)."""
    step, balancer.n_steps = balancer.n_steps, balancer.n_steps + 1
    found = balancer.combine(losses, gramian, draws=balancer.draw(len(losses)), step=step)
    return found.weights.detach()


def by_k_passes(work: Work, method: Method) -> Way:
    """One backward pass through everything per task, gradients laid end to end in a row each.

    That is what most libraries of balancing methods do (LibMTL among them), written anew and with one copy per gradient
    fewer. Weights come from this library, so that only the way to the gradients differs.
    """
    balancer = method.ours()
    parameters = list(work.shared.parameters())
    sizes = [parameter.numel() for parameter in parameters]

    def backward() -> None:
        losses = list(work.losses().values())
        rows = parameters[0].new_empty(len(losses), sum(sizes))
        for task, loss in enumerate(losses):
            loss.backward(retain_graph=task + 1 < len(losses))  # heads keep the gradient of their own loss
            gradients = [one.new_zeros(one.numel()) if one.grad is None else one.grad.view(-1) for one in parameters]
            torch.cat(gradients, out=rows[task])
            for parameter in parameters:
                parameter.grad = None
        weights = decide(balancer, torch.stack(losses).detach(), rows @ rows.T)
        direction = weights.to(rows) @ rows
        for parameter, piece in zip(parameters, direction.split(sizes), strict=True):
            parameter.grad = piece.view_as(parameter)

    return Way(work, backward)


@dataclass(frozen=True)
class Setting:
    """How TorchJD is asked.

    Args:
        engine: "autojac" (``mtl_backward`` and ``jac_to_grad``) or "autogram" (its engine for Gramians).
        chunk: how many tasks are differentiated at once; None: all of them.
        optimise: add up the Gramians of the parameters instead of laying the gradients end to end.
    """

    engine: str = "autojac"
    chunk: int | None = None
    optimise: bool = False

    def __str__(self) -> str:
        if self.engine == "autogram":
            return "autogram"
        return f"autojac, {self.chunk or 'all'} at once{', summed Gramians' if self.optimise else ''}"


def by_torchjd(work: Work, aggregator: aggregation.Aggregator, setting: Setting) -> Way:
    """TorchJD with one of its settings.

    Raises:
        ValueError: a setting that the method does not have.
    """
    if setting.engine == "autogram":
        return _by_autogram(work, aggregator)
    shared = list(work.shared.parameters())
    heads = [list(head.parameters()) for head in work.model.heads]
    options: dict[str, Any] = {"optimize_gramian_computation": True} if setting.optimise else {}

    def backward() -> None:
        found = work.forward()
        mtl_backward(
            list(found.losses.values()),
            features=found.features,
            tasks_params=heads,
            shared_params=shared,
            parallel_chunk_size=setting.chunk,
        )
        with contextlib.redirect_stdout(io.StringIO()):  # one of its solvers talks
            jac_to_grad(shared, aggregator, **options)

    return Way(work, backward)


def _by_autogram(work: Work, aggregator: aggregation.Aggregator) -> Way:
    weighting = getattr(aggregator, "gramian_weighting", None)
    if weighting is None:
        raise ValueError(f"{aggregator} looks at more than the Gramian")
    own = work.copy()  # its hooks would slow down everybody else
    engine = Engine(own.shared, batch_dim=None)  # a loss is a mean over rows: one entry per task, none per row

    def backward() -> None:
        losses = torch.stack(list(own.losses().values()))
        losses.backward(weighting(engine.compute_gramian(losses)))  # heads get weighted gradients

    return Way(own, backward)
