"""From task losses to one scalar whose ordinary ``backward()`` gives the gradient that a balancer wants.

There are three exact ways to make that scalar:

* weights: ``sum_k w_k l_k``; shared parameters and heads get weighted gradients;
* gates: ``sum_k l_k`` on a graph with forks whose gates are the weights; heads get their own gradients;
* carrier: where the task gradients were computed anyway, a scalar whose backward pass hands every parameter its
  finished gradient, so that the network is not passed through once more.

They agree to rounding. This file is the only one that knows balancers, engines and forks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from taskloom.balance.base import Balancer, HeadGradient
from taskloom.balance.flow import Combination, Need
from taskloom.engine._carrier import carry_nothing
from taskloom.engine._compiling import uncompiled
from taskloom.engine._forms import Form, carried, gated, overflow
from taskloom.engine._fsdp import is_sharded, sharded_as
from taskloom.engine._graph import reached_by
from taskloom.engine._inputs import not_finite, read_last_layer, read_parameters, require_choices
from taskloom.engine._reach import require_reach
from taskloom.engine._signals import Measured, measure_step
from taskloom.engine._step import StepLosses, gather, made_of, read_batches
from taskloom.engine._verify import Verification, When
from taskloom.engine.base import GradientEngine, ranks
from taskloom.engine.features import FeatureEngine
from taskloom.engine.layers.choice import default_engine
from taskloom.engine.sharded import engine_for, through_forks
from taskloom.errors import BalanceError, EngineError

__all__ = ["balance", "weighted_sum"]


@uncompiled
def balance(
    losses: Mapping[str, Tensor],
    balancer: Balancer,
    *,
    shared: Iterable[Tensor] | nn.Module,
    engine: GradientEngine | None = None,
    independent: Sequence[Mapping[str, Tensor]] = (),
    last_layer: Iterable[Tensor] | nn.Module | None = None,
    head_gradient: HeadGradient | None = None,
    on_nonfinite: Literal["raise", "skip", "drop"] = "raise",
    scaler: GradScaler | None = None,
    form: Form = "auto",
    verify: When = "first",
) -> Tensor:
    """One scalar for several losses: call ``backward()`` on it as on any loss.

    Works in a loop of your own, as the value that a LightningModule returns, under Fabric and Accelerate; with gradient
    scalers, accumulation (divide the scalar by the number of batches) and clipping. Nothing is written to ``.grad``
    before the backward pass. Penalties of the model are added to the result by you; they are not balanced. Compiled
    models are fine; a call from a function that is being compiled leaves the compiled region.

        theta: grad = J^T w(J J^T, l),    heads: grad = d l_k / d phi_k  or  w_k d l_k / d phi_k

    Args:
        losses: task name -> scalar loss with a graph, for the tasks that this batch has.
        balancer: for example ``tl.pcgrad()``. Keep one object over all steps.
        shared: the shared parameters theta: an iterable, a module (all its parameters), or a multi-task model (its
            ``shared_parameters()``). Frozen ones are left out.
        engine: how task gradients are measured; default: layer by layer (``taskloom.engine.LayerEngine``), and by one
            backward pass per task on the retained graph where several processes train or whole rows are needed.
        independent: losses of the same tasks on further independent batches, for methods that compare batches
            (``balancer.n_batches`` > 1). The step is made of the last batch, of the mean of two, or of the first one
            where the others are only looked at (``balancer.learns_from_first``).
        last_layer: the last shared layer (a module or its parameters), for methods that look at it alone; default: the
            last of the shared parameters that is a matrix.
        head_gradient: whether parameters outside ``shared`` get weighted or their own gradients; default: as in the
            paper of the method (``balancer.head_gradient``).
        on_nonfinite: "raise" (default) names the task; "skip" returns a scalar without gradients, leaves the state of
            the balancer unchanged; "drop" goes on without the task. Both are counted in ``balancer.diagnostics``.
        scaler: the gradient scaler of a loop in half precision: task gradients are then taken of scaled losses, so that
            they do not underflow, and overflow reaches the scaler. Hand the scalar to ``scaler.scale`` as usual.
        form: which way to make the scalar; "auto" takes the cheapest.
        verify: check that every task reaches a shared parameter, that task gradients add up to the gradient of the
            added losses, and that ranks agree on the weights: in the "first" step of a balancer (default; one more
            backward pass there), "always" or "never".

    Returns:
        scalar on the device of the losses: ``sum_k w_k l_k`` plus the balancer's penalty (with unweighted heads, the
        sum of the losses plus the penalty).

    Raises:
        BalanceError: losses that are not finite or outside what the method is defined for, tasks that the balancer
            does not know, or a model without shared parameters.
        EngineError: losses that are no scalars, have no graph or lie on different devices; tasks that reach no shared
            parameter, task gradients that do not add up, or ranks that disagree (see ``verify``).

    Cost:
        methods that need only losses: nothing. Others: K backward passes through the shared part, one through the
        heads and K times the shared parameters in memory; the ``backward()`` that follows only copies. The first step
        makes one pass more (``verify``).

    Distributed:
        losses and task gradients are averaged over ranks before products are taken, so that every rank finds the same
        weights. Bind the balancer to all tasks if a rank can lack one.

    Example:
        >>> import taskloom as tl
        >>> encoder, heads = nn.Linear(3, 4), {"a": nn.Linear(4, 1), "b": nn.Linear(4, 1)}
        >>> z = encoder(torch.randn(8, 3))
        >>> losses = {task: head(z).square().mean() for task, head in heads.items()}
        >>> loss = tl.balance(losses, tl.pcgrad(), shared=encoder)
        >>> loss.backward()
        >>> encoder.weight.grad.shape
        torch.Size([4, 3])
    """
    if not isinstance(balancer, Balancer):
        raise BalanceError(f"expected a balancer such as tl.pcgrad(), found {balancer!r}; wrap a link in tl.chain(...)")
    require_choices(
        head_gradient=(head_gradient, (None, "weighted", "unweighted")),
        on_nonfinite=(on_nonfinite, ("raise", "skip", "drop")),
        form=(form, ("auto", "weights", "gates", "carrier")),
        verify=(verify, ("first", "always", "never")),
    )
    heads = head_gradient or balancer.head_gradient
    batches = read_batches(losses, independent, balancer)
    looks_at_gradients = bool(balancer.needs_at(balancer.n_steps) & ~Need.LOSSES)
    plain = not looks_at_gradients and heads == "weighted" and form in ("auto", "weights")
    parameters: Sequence[Tensor] = [] if plain else sharded_as(read_parameters(shared))
    layer = sharded_as(read_last_layer(last_layer, parameters)) if Need.LAST_LAYER in balancer.needs else []
    is_default = engine is None
    if engine is None and balancer.looks_at_features:
        engine = FeatureEngine()
    if engine is None:
        engine = default_engine(balancer, parameters, shared, needs_rows=Need.ROWS in balancer.needs)
    engine = engine_for(parameters, engine, balancer.needs)
    parameters, form = through_forks(engine, parameters, form)
    checked = Verification(verify, balancer, engine, is_default=is_default, shared=shared)
    wanted = _Wanted(heads, "weights" if plain else form, parameters, layer, checked, scaler)
    while True:
        try:
            return _scalar(batches, balancer, wanted)
        except _NotFinite as found:
            if on_nonfinite == "raise":
                raise BalanceError(
                    f"{found}; expected finite numbers. Lower the learning rate, look at these tasks' inputs and "
                    "targets, or pass on_nonfinite='skip' to leave such steps out ('drop' to leave out such tasks)"
                ) from None
            rest = [name for name in batches[0] if name not in found.tasks]
            if on_nonfinite == "skip" or not rest:
                balancer.diagnostics.n_skipped += 1
                values = list(batches[-1].values())
                return carry_nothing(torch.zeros_like(values[0]), reached_by(values).leaves)
            balancer.diagnostics.note_dropped(found.tasks)
            batches = [{name: batch[name] for name in rest} for batch in batches]


class _NotFinite(Exception):
    """Losses or gradients of some tasks are not finite."""

    def __init__(self, what: str, tasks: Sequence[str], found: str = "") -> None:
        super().__init__(f"the {what} of the tasks {list(tasks)} are not finite{found}")
        self.tasks = tuple(tasks)


@dataclass(frozen=True)
class _Wanted:
    """How the scalar of a step is to be made."""

    heads: HeadGradient
    form: Form
    parameters: Sequence[Tensor]
    last_layer: Sequence[Tensor]
    engine: Verification
    scaler: GradScaler | None

    @property
    def scale(self) -> float:
        """What losses are multiplied by while their gradients are taken."""
        return 1.0 if self.scaler is None else float(self.scaler.get_scale())

    def measure(self, needs: Need, step: StepLosses, batches: Sequence[StepLosses]) -> Measured:
        """What the balancer looks at."""
        return measure_step(needs, step, batches, self.parameters, self.last_layer, self.engine, self.scale)

    def require_reach(self, step: StepLosses, measured: Measured) -> None:
        """Look, where the step is checked, for tasks that do not reach what the balancer looks at."""
        if not self.engine.is_due(with_gradients=True):
            return
        looked_at = [
            ("shared parameter", self.parameters, measured.gramian if measured.cross is None else measured.cross),
            ("parameter of the last shared layer", self.last_layer, measured.last_layer),
        ]
        for what, parameters, products in looked_at:
            if products is not None:
                require_reach(step, parameters, products, what)


def _scalar(batches: Sequence[Mapping[str, Tensor]], balancer: Balancer, wanted: _Wanted) -> Tensor:
    """The scalar of finite losses and gradients; the state of the balancer changes only if there is one."""
    losses = made_of(batches, balancer)
    step = gather(losses, balancer)
    bad = not_finite(step.losses, step.tasks)
    if bad:
        values = {name: float(loss) for name, loss in zip(step.tasks, step.losses.detach(), strict=True)}
        raise _NotFinite("losses", bad, f", found {[values[name] for name in bad]}")
    balancer.check(*step.present())

    needs = balancer.needs_at(balancer.n_steps)
    measured = Measured()
    if needs & ~Need.LOSSES:
        measured = wanted.measure(needs, step, [step] if len(batches) == 1 else [gather(b, balancer) for b in batches])
        bad = [name for matrix in measured.matrices() for name in not_finite(matrix, step.tasks)]
        if bad and wanted.scaler is not None:
            return overflow(step)
        if bad:
            raise _NotFinite("gradients", list(dict.fromkeys(bad)))
        wanted.require_reach(step, measured)
    combination = balancer.combine(
        step.losses,
        measured.gramian,
        active=step.active,
        draws=_draws(balancer, step.tasks),
        tasks=step.tasks,
        rows=measured.rows if Need.ROWS in needs else None,
        last_layer=measured.last_layer,
        cross=measured.cross,
        step=balancer.n_steps,
    )
    wanted.engine.agree(step.tasks, combination)
    balancer.n_steps += 1
    balancer.diagnostics.note_step(step.tasks, combination, gramian=measured.gramian, active=step.active)
    if not wanted.parameters:  # losses alone decide, and heads are weighted
        if ranks() == 1:
            return (combination.weights * step.losses).sum() + combination.penalty
        weights = combination.weights.detach()  # the balancer's own parameters learn from the mean over ranks
        own = ((combination.weights - weights) * step.losses).sum() + combination.penalty
        return (weights * step.stacked()).sum() + own

    weighted = wanted.heads == "weighted"
    factors = (combination.weights if weighted else combination.head_weights).detach()
    own = combination.penalty
    if combination.weights.requires_grad:  # the balancer's own parameters learn beside the network
        own = own + ((combination.weights - combination.weights.detach()) * step.losses.detach()).sum()
    if wanted.form == "auto" and measured.rows is None and weighted:
        form: Form = "weights"  # the weights are known and nothing else was computed
    else:
        form = _form(wanted, combination, list(losses.values()))
    if form == "weights":
        return (factors * step.stacked()).sum() + own
    if form == "gates":
        return gated(step, combination, factors) + own
    rows = measured.rows
    if rows is None and any(map(is_sharded, wanted.parameters)):  # one pass for all tasks finds no shards
        rows = wanted.engine.rows(step.local, wanted.parameters)
    return carried(step, combination, factors, rows, wanted.parameters, wanted.scale) + own


def weighted_sum(losses: Tensor, balancer: Balancer) -> Tensor:
    """What :func:`balance` returns for a chain that looks at losses alone, from stacked losses of all its tasks.

    For trainers, which have the losses stacked and checked: with a small network, taking them apart and looking at
    them again costs as much as a layer. One process, weighted heads.

    Args:
        losses: shape (K,), finite, of all tasks the balancer is bound to.
        balancer: a chain that needs no gradients.

    Returns:
        scalar ``sum_k w_k l_k`` plus the balancer's penalty.

    Raises:
        BalanceError: losses outside what the method is defined for.

    Example:
        >>> import taskloom as tl
        >>> balancer = tl.fixed([1.0, 2.0])
        >>> balancer.bind(["a", "b"])
        >>> weighted_sum(torch.tensor([3.0, 4.0]), balancer)
        tensor(11.)
    """
    for link in balancer:
        link.check(balancer.tasks, losses.detach())
    draws = balancer.draw(len(balancer.tasks))
    combination = balancer.combine(losses, draws=draws, step=balancer.n_steps)
    balancer.n_steps += 1
    balancer.diagnostics.note_step(balancer.tasks, combination)
    return (combination.weights * losses).sum() + combination.penalty


def _draws(balancer: Balancer, tasks: tuple[str, ...]) -> Tensor | None:
    draws = balancer.draw(len(balancer.tasks) or len(tasks))
    if draws is None or not balancer.tasks or tasks == balancer.tasks:
        return draws
    return balancer.select_draws(draws, balancer.positions(tasks) or [])


def _form(wanted: _Wanted, combination: Combination, values: Sequence[Tensor]) -> Form:
    """Take the asked form if it can express the step, or say why it cannot."""
    form = wanted.form
    if form in ("auto", "carrier"):
        return "carrier"
    if combination.direction is not None:
        raise EngineError(f"form={form!r}: this balancer makes a direction, not weights; use form='carrier'")
    if form == "weights" and wanted.heads == "unweighted":
        raise EngineError("form='weights' weighs the heads as well; ask for head_gradient='weighted' or form='auto'")
    if form == "gates":
        ids = {id(parameter) for parameter in wanted.parameters}
        reached = reached_by(values, stop_at_forks=True)
        if not reached.gates or any(id(leaf) in ids for leaf in reached.leaves):
            raise EngineError(
                "form='gates': the graph has no forks, or a shared parameter is reached without passing one. Run the "
                "forward pass inside taskloom.nn.fork.gates(), with a model that has a cut"
            )
    return form
