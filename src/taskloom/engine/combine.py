"""From task losses to one scalar whose ordinary ``backward()`` gives the gradient that a balancer wants.

There are three exact ways to make that scalar:

* weights: ``sum_k w_k l_k``; shared parameters and heads get weighted gradients;
* gates: ``sum_k l_k`` on a graph with forks whose gates are the weights; heads get their own gradients;
* carrier: where the task gradients were computed anyway, a scalar whose backward pass hands every parameter its
  finished gradient, so that the network is not passed through once more.

They agree to rounding. This file is the only one that knows balancers, engines and forks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from taskloom.balance.base import Balancer, HeadGradient
from taskloom.balance.flow import Combination, Need, Rows
from taskloom.engine._carrier import carry, carry_nothing
from taskloom.engine._fsdp import is_sharded, sharded_as
from taskloom.engine._graph import reached_by
from taskloom.engine._inputs import not_finite, read_last_layer, read_parameters
from taskloom.engine._signals import Measured, measure_step
from taskloom.engine._step import StepLosses, gather, made_of, read_batches
from taskloom.engine._verify import Verification, When
from taskloom.engine.autograd import gradients_of
from taskloom.engine.base import GradientEngine, Layout, ParameterRows, ranks
from taskloom.engine.features import FeatureEngine
from taskloom.engine.layers.choice import default_engine
from taskloom.engine.sharded import engine_for, through_forks
from taskloom.errors import BalanceError, EngineError

__all__ = ["balance", "weighted_sum"]

Form = Literal["auto", "weights", "gates", "carrier"]


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
    before the backward pass. Penalties of the model are added to the result by you; they are not balanced.

        theta: grad = J^T w(J J^T, l),    heads: grad = d l_k / d phi_k  or  w_k d l_k / d phi_k

    Args:
        losses: task name -> scalar loss with a graph, for the tasks that this batch has.
        balancer: for example ``tl.pcgrad()``. Keep one object over all steps.
        shared: the shared parameters theta: an iterable, a module (all its parameters), or a multi-task model (its
            ``shared_parameters()``). Frozen ones are left out.
        engine: how task gradients are measured; default: layer by layer (``taskloom.engine.LayerEngine``), and by one
            backward pass per task on the retained graph where several processes train or whole rows are needed.
        independent: losses of the same tasks on further independent batches, for methods that compare batches
            (``balancer.n_batches`` > 1). The step is made of the last batch; of the mean of two.
        last_layer: the last shared layer (a module or its parameters), for methods that look at it alone; default: the
            last of the shared parameters that is a matrix.
        head_gradient: whether parameters outside ``shared`` get weighted or their own gradients; default: as in the
            paper of the method (``balancer.head_gradient``).
        on_nonfinite: "raise" (default) names the task; "skip" returns a scalar without gradients, leaves the state of
            the balancer unchanged and counts in ``balancer.n_skipped``; "drop" goes on without the task.
        scaler: the gradient scaler of a loop in half precision: task gradients are then taken of scaled losses, so that
            they do not underflow, and overflow reaches the scaler. Hand the scalar to ``scaler.scale`` as usual.
        form: which way to make the scalar; "auto" takes the cheapest.
        verify: check that task gradients add up to the gradient of the added losses, and that ranks agree on the
            weights: in the "first" step of a balancer (default; one more backward pass there), "always" or "never".

    Returns:
        scalar on the device of the losses: ``sum_k w_k l_k`` plus the balancer's penalty (with unweighted heads, the
        sum of the losses plus the penalty).

    Raises:
        BalanceError: losses that are not finite or outside what the method is defined for, tasks that the balancer
            does not know, or a model without shared parameters.
        EngineError: losses that are no scalars, have no graph, lie on different devices, or reach no shared parameter;
            task gradients that do not add up, or ranks that disagree (see ``verify``).

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
    _choices(head_gradient, on_nonfinite, form, verify)
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
                balancer.n_skipped += 1
                values = list(batches[-1].values())
                return carry_nothing(torch.zeros_like(values[0]), reached_by(values).leaves)
            batches = [{name: batch[name] for name in rest} for batch in batches]


class _NotFinite(Exception):
    """Losses or gradients of some tasks are not finite."""

    def __init__(self, what: str, tasks: Sequence[str]) -> None:
        super().__init__(f"the {what} of the tasks {list(tasks)} are not finite")
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


def _scalar(batches: Sequence[Mapping[str, Tensor]], balancer: Balancer, wanted: _Wanted) -> Tensor:
    """The scalar of finite losses and gradients; the state of the balancer changes only if there is one."""
    losses = made_of(batches)
    step = gather(losses, balancer)
    bad = not_finite(step.losses, step.tasks)
    if bad:
        raise _NotFinite("losses", bad)
    balancer.check(*step.present())

    needs = balancer.needs_at(balancer.n_steps)
    measured = Measured()
    if needs & ~Need.LOSSES:
        measured = wanted.measure(needs, step, [step] if len(batches) == 1 else [gather(b, balancer) for b in batches])
        bad = [name for matrix in measured.matrices() for name in not_finite(matrix, step.tasks)]
        if bad and wanted.scaler is not None:
            return _overflow(step)
        if bad:
            raise _NotFinite("gradients", list(dict.fromkeys(bad)))
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
        return _gated(step, combination, factors) + own
    rows = measured.rows
    if rows is None and any(map(is_sharded, wanted.parameters)):  # one pass for all tasks finds no shards
        rows = wanted.engine.rows(step.local, wanted.parameters)
    return _carried(step, combination, factors, rows, wanted.parameters, wanted.scale) + own


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


def _gated(step: StepLosses, combination: Combination, factors: Tensor) -> Tensor:
    """Set the gates so that the shared part sees w and the heads their factors."""
    gates = {gate.task: gate for gate in reached_by([v for v in step.local if v is not None]).gates}
    unknown = [task for task in step.tasks if task not in gates]
    if unknown:
        raise EngineError(f"form='gates': no fork for the tasks {unknown}; forks carry the names {sorted(gates)}")
    # A head factor of 0 belongs to an absent task, whose gradient is 0 anyway.
    ratios = combination.weights.detach() / torch.where(factors == 0, 1.0, factors)
    for task, ratio in zip(step.tasks, ratios.unbind(), strict=True):
        gates[task].weight = ratio
    return (factors * step.stacked()).sum()


def _carried(
    step: StepLosses,
    combination: Combination,
    factors: Tensor,
    rows: Rows | None,
    parameters: Sequence[Tensor],
    scale: float,
) -> Tensor:
    """Finish every gradient now and hand it out in the backward pass."""
    known = rows if isinstance(rows, ParameterRows) else None  # an engine that knows parameters, not only columns
    leaves = known.leaves if known is not None else None
    if leaves is None:
        leaves = reached_by(loss for loss in step.local if loss is not None).leaves
    reached = {id(leaf) for leaf in leaves}
    used = [parameter for parameter in parameters if id(parameter) in reached]
    counts = _ranks_that_reach(parameters, reached, step.losses.device)
    if not any(counts):
        raise EngineError(
            f"no loss of the tasks {list(step.tasks)} reaches a shared parameter; pass the parameters that the "
            "forward pass used (not those of a copy), and compute the losses from their output"
        )
    stacked = step.stacked()
    given = combination.direction
    if rows is None:  # weights from losses alone but heads unweighted: one pass for the shared part
        found = _gradients((combination.weights.detach() * stacked).sum(), used, scale)
    else:
        finished: Sequence[Tensor | None]
        if known is not None and given is None:
            finished = known.gradients(combination.weights)
        else:
            blocks = rows.combine(combination.weights) if given is None else rows.split(given)
            finished = Layout(parameters).split(blocks)
        found = dict(zip(map(id, parameters), finished, strict=True))
        for parameter, count in zip(parameters, counts, strict=True):
            gradient = found[id(parameter)]
            if gradient is not None and 0 < count < ranks() and not is_sharded(parameter):
                # the mean over ranks, which the ranks that do not reach it add nothing to, is taken once more
                found[id(parameter)] = gradient * (ranks() / count)
    shared_ids = {id(parameter) for parameter in parameters}
    others = [leaf for leaf in leaves if id(leaf) not in shared_ids]
    total = (factors * stacked).sum()
    if known is not None:
        found.update(known.of_heads(factors))
    missing = [leaf for leaf in others if id(leaf) not in found]
    if missing:
        found.update(_gradients(total, missing, scale))
    # Parameters that nothing reaches keep `.grad` as it is, as after an ordinary backward pass. They are targets all
    # the same: DistributedDataParallel waits for a sign of each that reached an output of the forward pass.
    targets = [*used, *others]
    return carry(total, targets, [found[id(target)] for target in targets])


def _gradients(loss: Tensor, leaves: Sequence[Tensor], scale: float) -> dict[int, Tensor | None]:
    """Gradients by the id of the leaf, taken of the scaled loss so that they do not underflow on the way."""
    if scale == 1:
        return dict(zip(map(id, leaves), gradients_of(loss, leaves), strict=True))
    found = gradients_of(loss * scale, leaves)
    return {id(leaf): None if one is None else one / scale for leaf, one in zip(leaves, found, strict=True)}


def _ranks_that_reach(parameters: Sequence[Tensor], reached: Collection[int], device: torch.device) -> list[int]:
    """How many ranks have a loss that reaches each parameter."""
    here = [float(id(parameter) in reached) for parameter in parameters]
    if ranks() > 1:
        counts = torch.tensor(here, device=device)
        torch.distributed.all_reduce(counts)
        here = counts.tolist()
    return [round(count) for count in here]


def _overflow(step: StepLosses) -> Tensor:
    """A scalar with infinite gradients: the scaler finds them, leaves the step out and lowers its factor."""
    targets = sharded_as(reached_by(loss for loss in step.local if loss is not None).leaves)
    return carry(step.losses.detach().sum(), targets, [torch.full_like(target, torch.inf) for target in targets])


def _choices(head_gradient: str | None, on_nonfinite: str, form: str, verify: str) -> None:
    for argument, given, known in (
        ("head_gradient", head_gradient, (None, "weighted", "unweighted")),
        ("on_nonfinite", on_nonfinite, ("raise", "skip", "drop")),
        ("form", form, ("auto", "weights", "gates", "carrier")),
        ("verify", verify, ("first", "always", "never")),
    ):
        if given not in known:
            raise BalanceError(f"balance(): {argument} must be one of {known}, found {given!r}")
