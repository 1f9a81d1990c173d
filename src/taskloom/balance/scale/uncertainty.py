"""Uncertainty weighting: every task learns the variance of its noise, and noisy tasks count less.

    L = sum_k kappa_k exp(-s_k) l_k + rho_k s_k,    s_k = log sigma_k^2 trained with the model

``(kappa, rho)`` follow from the negative log likelihood that the loss stands for: (1/2, 1/2) for a Gaussian and a mean
squared error, (1, 1/2) for a tempered softmax and a cross entropy, (1, 1) for a Laplace and a mean absolute error. At
rest ``kappa exp(-s) = rho / l``: whatever the kind, the method tends to the sum of the logarithms of the losses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from taskloom.balance.base import Balancer, Scale, chain
from taskloom.balance.flow import Flow, task_names
from taskloom.errors import BalanceError
from taskloom.losses import AbsoluteError
from taskloom.task import Binary, Kind, Multiclass, Regression, Task

__all__ = [
    "GAUSSIAN",
    "LAPLACE",
    "SOFTMAX",
    "Likelihood",
    "LogVariances",
    "likelihood_of",
    "log_variances",
    "uncertainty",
]


@dataclass(frozen=True, slots=True)
class Likelihood:
    """The two numbers by which a loss becomes a negative log likelihood: ``factor exp(-s) l + slope s``.

    Args:
        factor: kappa, on the loss.
        slope: rho, on the log-variance.

    Example:
        >>> GAUSSIAN
        Likelihood(factor=0.5, slope=0.5)
    """

    factor: float
    slope: float


GAUSSIAN = Likelihood(factor=0.5, slope=0.5)
SOFTMAX = Likelihood(factor=1.0, slope=0.5)
LAPLACE = Likelihood(factor=1.0, slope=1.0)

Likelihoods = Likelihood | Mapping[str, Likelihood] | Sequence[Likelihood]


@singledispatch
def likelihood_of(kind: Kind) -> Likelihood:
    """Likelihood of a kind of task. A new kind joins with ``likelihood_of.register(MyKind, lambda kind: GAUSSIAN)``.

    Raises:
        BalanceError: none is registered for this kind.

    Example:
        >>> likelihood_of(Regression()), likelihood_of(Binary())
        (Likelihood(factor=0.5, slope=0.5), Likelihood(factor=1.0, slope=0.5))
    """
    raise BalanceError(
        f"uncertainty(): no likelihood is known for the kind {kind!r}; pass likelihoods=, or register one with "
        f"likelihood_of.register({type(kind).__name__}, lambda kind: GAUSSIAN)"
    )


@likelihood_of.register
def _(kind: Regression) -> Likelihood:
    return GAUSSIAN


@likelihood_of.register(Binary)
@likelihood_of.register(Multiclass)
def _(kind: Kind) -> Likelihood:
    return SOFTMAX


class _Hold(torch.autograd.Function):
    """Clamp that lets a value outside come back: it drops only the gradients that push further out."""

    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, low: float, high: float) -> Tensor:
        return value.clamp(low, high)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float, float], output: Tensor) -> None:
        value, ctx.low, ctx.high = inputs
        ctx.save_for_backward(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (value,) = ctx.saved_tensors
        outward = ((value <= ctx.low) & (gradient > 0)) | ((value >= ctx.high) & (gradient < 0))
        return torch.where(outward, 0.0, gradient), None, None


class LogVariances(Scale):
    """Scales every task by its learned inverse variance (see :func:`log_variances`)."""

    holds_tasks: ClassVar[bool] = True

    log_variance: nn.Parameter
    factor: Tensor
    slope: Tensor

    def __init__(
        self,
        likelihoods: Likelihoods | None,
        *,
        regulariser: Literal["log", "log1p"],
        init: float | Mapping[str, float] | Sequence[float],
        clamp: tuple[float, float] | None,
    ) -> None:
        super().__init__()
        if regulariser not in ("log", "log1p"):
            raise BalanceError(f"uncertainty(): regulariser must be 'log' or 'log1p', found {regulariser!r}")
        if clamp is not None and not clamp[0] < clamp[1]:
            raise BalanceError(f"uncertainty(): clamp must be (low, high) with low < high, found {clamp!r}")
        self.likelihoods = likelihoods
        self.regulariser = regulariser
        self.init = init
        self.clamp = clamp

    def bind(self, tasks: Sequence[Task | str]) -> None:
        """Make one log-variance per task."""
        names = task_names(tasks)
        given = self.likelihoods
        chosen = [
            _by_kind(task) if given is None else _of_task(name, "likelihoods", given, position)
            for position, (name, task) in enumerate(zip(names, tasks, strict=True))
        ]
        _check_names(names, self.likelihoods, "likelihoods")
        _check_names(names, self.init, "init")
        start = [float(_of_task(name, "init", self.init, position)) for position, name in enumerate(names)]
        bad = [name for name, value in zip(names, start, strict=True) if not math.isfinite(value)]
        if bad:
            raise BalanceError(f"uncertainty(): init of the tasks {bad} is not finite; 0.0 is the usual start")
        super().bind(tasks)
        # Buffers, so that networks trained together can have different ones; not in the state, they are arguments.
        for label, numbers in (
            ("factor", [one.factor for one in chosen]),
            ("slope", [one.slope for one in chosen]),
            ("start", start),
        ):
            self.register_buffer(label, torch.tensor(numbers, dtype=torch.float64), persistent=False)
        self.log_variance = nn.Parameter(torch.tensor(start, dtype=torch.get_default_dtype()))

    def reset(self) -> None:
        if self.tasks:
            with torch.no_grad():
                self.log_variance.copy_(self.get_buffer("start"))

    def check(self, tasks: Sequence[str], losses: Tensor) -> None:
        negative = {task: loss for task, loss in zip(tasks, losses.tolist(), strict=True) if loss < 0}
        if negative:
            raise BalanceError(
                f"uncertainty weighting needs losses >= 0, those of the tasks {list(negative)} are negative, found "
                f"{list(negative.values())}: its objective has no minimum there. Add a constant to these losses, or "
                "weigh them with fixed()"
            )

    def forward(self, flow: Flow) -> Flow:
        factor, slope, held = self._of(flow)
        each = slope * held if self.regulariser == "log" else nn.functional.softplus(held)
        active = flow.signals.active
        penalty = each.sum() if active is None else (each * active.to(each)).sum()
        return self.rescale(flow, factor * torch.exp(-held), penalty)

    def _of(self, flow: Flow) -> tuple[Tensor, Tensor, Tensor]:
        """Factor, slope and held log-variance of the tasks of this step, (K,) each."""
        if not self.tasks:
            raise BalanceError(
                "uncertainty() does not know its tasks: call balancer.bind(tasks) before the optimiser is made, and "
                "add balancer.parameter_groups() to the optimiser, so that the log-variances are trained"
            )
        held = self.log_variance.to(flow.mix)
        if self.clamp is not None:
            held = _Hold.apply(held, *self.clamp)  # type: ignore[no-untyped-call]
        factor = self.factor.to(flow.mix)
        if self.regulariser == "log1p":
            factor = torch.full_like(factor, 0.5)
        slope = self.slope.to(flow.mix)
        positions = self.positions(flow.signals.tasks)
        if positions is None:
            return factor, slope, held
        return factor[positions], slope[positions], held[positions]

    def __repr__(self) -> str:
        return "log_variances()" if self.regulariser == "log" else "log_variances(regulariser='log1p')"


def _by_kind(task: Task | str) -> Likelihood:
    if isinstance(task, str):
        raise BalanceError(
            f"uncertainty(): of the task {task!r} only the name is known, the factor of its loss depends on its kind; "
            "bind Task objects, or say it: uncertainty(likelihoods=GAUSSIAN) for mean squared errors"
        )
    return LAPLACE if isinstance(task.loss, AbsoluteError) else likelihood_of(task.kind)


def _of_task(name: str, argument: str, given: Any, position: int) -> Any:
    if isinstance(given, Mapping):
        if name not in given:
            raise BalanceError(f"uncertainty(): {argument} has nothing for the task {name!r}")
        return given[name]
    return given[position] if isinstance(given, Sequence) and position < len(given) else given


def _check_names(names: Sequence[str], given: Any, argument: str) -> None:
    if isinstance(given, Mapping):
        unknown = [name for name in given if name not in names]
        if unknown:
            raise BalanceError(f"uncertainty(): {argument} names the tasks {unknown}; the tasks are {list(names)}")
    elif isinstance(given, Sequence) and len(given) != len(names):
        raise BalanceError(f"uncertainty(): {argument} has {len(given)} entries for {len(names)} tasks {list(names)}")


def log_variances(
    likelihoods: Likelihoods | None = None,
    *,
    regulariser: Literal["log", "log1p"] = "log",
    init: float | Mapping[str, float] | Sequence[float] = 0.0,
    clamp: tuple[float, float] | None = None,
) -> LogVariances:
    """Link that scales each task by its learned inverse variance and adds the price of a large variance.

        A = diag(kappa exp(-s)),   penalty = sum_k rho_k s_k  (or sum_k log(1 + exp(s_k)))

    Args:
        likelihoods: as :func:`uncertainty`.
        regulariser: as :func:`uncertainty`.
        init: as :func:`uncertainty`.
        clamp: as :func:`uncertainty`.

    Returns:
        the link; it needs the losses and holds one parameter per task.

    Raises:
        BalanceError: as :func:`uncertainty`.

    Example:
        >>> balancer = chain(log_variances(GAUSSIAN, init=[0.0, math.log(2.0)]))
        >>> balancer.weights(None, torch.tensor([1.0, 1.0]))
        tensor([0.5000, 0.2500])
    """
    return LogVariances(likelihoods, regulariser=regulariser, init=init, clamp=clamp)


def uncertainty(
    likelihoods: Likelihoods | None = None,
    *,
    regulariser: Literal["log", "log1p"] = "log",
    init: float | Mapping[str, float] | Sequence[float] = 0.0,
    clamp: tuple[float, float] | None = None,
) -> Balancer:
    """Every task learns how noisy it is, and tasks count by the inverse of their noise.

    Use it when losses differ in unit or size: it finds weights near ``rho / l``. It knows nothing of conflicts. Its
    log-variances are parameters: bind the tasks, then give ``balancer.parameter_groups()`` to the optimiser
    (:func:`taskloom.fit` does both).

        L = sum_k kappa_k exp(-s_k) l_k + rho_k s_k

    Args:
        likelihoods: (kappa, rho) of the losses: one for all, one per task in order, or by name. Default: by the kind
            of each task: ``GAUSSIAN`` for regression (``LAPLACE`` if its loss is the absolute error), ``SOFTMAX`` for
            classification.
        regulariser: "log" (default, the paper's) or "log1p": ``sum_k exp(-s_k) l_k / 2 + log(1 + exp(s_k))``, which
            never becomes negative.
        init: s at the start; default 0, as in the paper.
        clamp: bounds on s, for example (-10, 10); default: none, as in the paper.

    Returns:
        ``chain(log_variances())``.

    Raises:
        BalanceError: unknown names, a task whose likelihood is not known, a negative loss, or use before binding.

    Cost:
        nothing beyond the ordinary backward pass; one parameter per task.

    Distributed:
        the log-variances are ordinary parameters; register the balancer in the module that is wrapped.

    Differs from the paper:
        the log-variances have a learning rate of their own (0.025, meant for Adam) and no weight decay.

    Source:
        Kendall, Gal, Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and
        Semantics", CVPR 2018, arXiv 1705.07115; regulariser "log1p": Liebel, Koerner, "Auxiliary Tasks in Multi-task
        Learning", 2018, arXiv 1805.06334.

    Example:
        >>> balancer = uncertainty()
        >>> balancer.bind([Task(name="price", kind=Regression()), Task(name="sold", kind=Binary())])
        >>> balancer.weights(None, torch.tensor([2.0, 0.7]))
        tensor([0.5000, 1.0000])
        >>> [group["lr"] for group in balancer.parameter_groups()]
        [0.025]
    """
    return chain(log_variances(likelihoods, regulariser=regulariser, init=init, clamp=clamp))
