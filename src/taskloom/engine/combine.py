"""From task losses to one scalar whose ordinary ``backward()`` gives the gradient that a balancer wants.

There are three exact ways to make that scalar:

* weights: ``sum_k w_k l_k``; shared parameters and heads get weighted gradients;
* gates: ``sum_k l_k`` on a graph with forks whose gates are the weights; heads get their own gradients;
* carrier: where the task gradients were computed anyway, a scalar whose backward pass hands every parameter its
  finished gradient, so that the network is not passed through once more.

They agree to rounding. This file is the only one that knows balancers, engines and forks.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from taskloom.balance.base import Balancer, HeadGradient
from taskloom.balance.flow import Combination, Need, Rows
from taskloom.engine._carrier import carry, carry_nothing
from taskloom.engine._graph import reached_by
from taskloom.engine._inputs import not_finite, read_losses, read_parameters
from taskloom.engine.autograd import AutogradEngine, gradients_of
from taskloom.engine.base import GradientEngine, Layout, ranks
from taskloom.errors import BalanceError, EngineError

__all__ = ["balance", "weighted_sum"]

Form = Literal["auto", "weights", "gates", "carrier"]


def balance(
    losses: Mapping[str, Tensor],
    balancer: Balancer,
    *,
    shared: Iterable[Tensor] | nn.Module,
    engine: GradientEngine | None = None,
    head_gradient: HeadGradient | None = None,
    on_nonfinite: Literal["raise", "skip"] = "raise",
    form: Form = "auto",
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
        engine: how task gradients are measured; default: one backward pass per task on the retained graph.
        head_gradient: whether parameters outside ``shared`` get weighted or their own gradients; default: as in the
            paper of the method (``balancer.head_gradient``).
        on_nonfinite: "raise" (default) names the task; "skip" returns a scalar without gradients, leaves the state of
            the balancer unchanged and counts in ``balancer.n_skipped``.
        form: which way to make the scalar; "auto" takes the cheapest.

    Returns:
        scalar on the device of the losses: ``sum_k w_k l_k`` plus the balancer's penalty (with unweighted heads, the
        sum of the losses plus the penalty).

    Raises:
        BalanceError: losses that are not finite or outside what the method is defined for, tasks that the balancer
            does not know, or a model without shared parameters.
        EngineError: losses that are no scalars, have no graph, lie on different devices, or reach no shared parameter.

    Cost:
        methods that need only losses: nothing. Others: K backward passes through the shared part, one through the
        heads and K times the shared parameters in memory; the ``backward()`` that follows only copies.

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
    names, values = read_losses(losses)
    if not isinstance(balancer, Balancer):
        raise BalanceError(f"expected a balancer such as tl.pcgrad(), found {balancer!r}; wrap a link in tl.chain(...)")
    _choices(head_gradient, on_nonfinite, form)
    heads = head_gradient or balancer.head_gradient
    needs = balancer.needs_at(balancer.n_steps)
    uses_gradients = bool(needs & (Need.GRAMIAN | Need.ROWS))
    plain = not uses_gradients and heads == "weighted" and form in ("auto", "weights")
    parameters = [] if plain else read_parameters(shared)

    batch = _gather(names, values, balancer)
    bad = not_finite(batch.losses, batch.tasks)
    if bad:
        return _nonfinite(f"the losses of the tasks {bad} are not finite", balancer, values, on_nonfinite)
    for link in balancer:
        link.check(batch.tasks, batch.losses.detach())

    rows = gramian = None
    if uses_gradients:
        rows = (engine or AutogradEngine()).rows(batch.local, parameters)
        gramian = rows.gramian()
        bad = not_finite(gramian, batch.tasks)
        if bad:
            return _nonfinite(f"the gradients of the tasks {bad} are not finite", balancer, values, on_nonfinite)
    combination = balancer.combine(
        batch.losses,
        gramian,
        active=batch.active,
        draws=_draws(balancer, batch.tasks),
        tasks=batch.tasks,
        rows=rows if Need.ROWS in needs else None,
        step=balancer.n_steps,
    )
    balancer.n_steps += 1
    if plain:
        local = batch.losses if ranks() == 1 else batch.stacked()
        return (combination.weights * local).sum() + combination.penalty

    factors = (combination.weights if heads == "weighted" else combination.head_weights).detach()
    own = combination.penalty
    if combination.weights.requires_grad:  # the balancer's own parameters learn beside the network
        own = own + ((combination.weights - combination.weights.detach()) * batch.losses.detach()).sum()
    chosen = _form(form, heads, combination, values, parameters)
    if chosen == "weights":
        return (factors * batch.stacked()).sum() + own
    if chosen == "gates":
        return _gated(batch, combination, factors) + own
    return _carried(batch, combination, factors, rows, parameters) + own


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


@dataclass(frozen=True)
class _Batch:
    """The losses of a step in the order that the balancer sees, here and averaged over ranks.

    Args:
        tasks: names.
        local: losses of this rank with their graph; None where this rank lacks the task.
        losses: (K,), averaged over ranks; with the graph of this rank when there is only one.
        active: which tasks any rank has; None when all.
    """

    tasks: tuple[str, ...]
    local: list[Tensor | None]
    losses: Tensor
    active: Tensor | None

    def stacked(self) -> Tensor:
        """Losses of this rank with their graph, shape (K,), 0 where it lacks a task."""
        zero = self.losses.new_zeros(())
        return torch.stack([zero if loss is None else loss.to(self.losses.dtype) for loss in self.local])


def _gather(names: tuple[str, ...], values: list[Tensor], balancer: Balancer) -> _Batch:
    if not balancer.tasks and balancer.holds_state_of_tasks:
        trial = copy.deepcopy(balancer)  # if this raises, the balancer of the user stays as it is
        trial.bind(names)
        if trial.parameter_groups():
            raise BalanceError(
                f"{balancer!r} has parameters of its own that no optimiser knows yet: call balancer.bind(tasks) and "
                "give balancer.parameter_groups() to the optimiser before the first step"
            )
        balancer.bind(names)
    if balancer.tasks:
        balancer.positions(names)  # raises on an unknown task
        order = {task: position for position, task in enumerate(balancer.tasks)}
        places = sorted(range(len(names)), key=lambda place: order[names[place]])
        names, values = tuple(names[place] for place in places), [values[place] for place in places]
    dtype = values[0].dtype
    for value in values:
        dtype = torch.promote_types(dtype, value.dtype)
    local: list[Tensor | None] = [*values]
    n_ranks = ranks()
    if n_ranks == 1:
        return _Batch(names, local, torch.stack([value.to(dtype) for value in values]), None)
    tasks = balancer.tasks or names
    given = dict(zip(names, values, strict=True))
    local = [given.get(task) for task in tasks]
    zero = values[0].new_zeros(())
    exchanged = torch.stack(
        [zero if loss is None else loss.detach() for loss in local]
        + [torch.full_like(zero, float(loss is not None)) for loss in local]
    ).float()
    torch.distributed.all_reduce(exchanged)
    means, counts = exchanged.to(dtype).chunk(2)
    return _Batch(tasks, local, means / n_ranks, counts > 0)


def _draws(balancer: Balancer, tasks: tuple[str, ...]) -> Tensor | None:
    draws = balancer.draw(len(balancer.tasks) or len(tasks))
    if draws is None or not balancer.tasks or tasks == balancer.tasks:
        return draws
    return balancer.select_draws(draws, balancer.positions(tasks) or [])


def _form(
    form: Form, heads: HeadGradient, combination: Combination, values: Sequence[Tensor], parameters: Sequence[Tensor]
) -> Form:
    """Take the asked form if it can express the step, or say why it cannot."""
    if form in ("auto", "carrier"):
        return "carrier"
    if combination.direction is not None:
        raise EngineError(f"form={form!r}: this balancer makes a direction, not weights; use form='carrier'")
    if form == "weights" and heads == "unweighted":
        raise EngineError("form='weights' weighs the heads as well; ask for head_gradient='weighted' or form='auto'")
    if form == "gates":
        ids = {id(parameter) for parameter in parameters}
        reached = reached_by(values, stop_at_forks=True)
        if not reached.gates or any(id(leaf) in ids for leaf in reached.leaves):
            raise EngineError(
                "form='gates': the graph has no forks, or a shared parameter is reached without passing one. Run the "
                "forward pass inside taskloom.nn.fork.gates(), with a model that has a cut"
            )
    return form


def _gated(batch: _Batch, combination: Combination, factors: Tensor) -> Tensor:
    """Set the gates so that the shared part sees w and the heads their factors."""
    gates = {gate.task: gate for gate in reached_by([v for v in batch.local if v is not None]).gates}
    unknown = [task for task in batch.tasks if task not in gates]
    if unknown:
        raise EngineError(f"form='gates': no fork for the tasks {unknown}; forks carry the names {sorted(gates)}")
    # A head factor of 0 belongs to an absent task, whose gradient is 0 anyway.
    ratios = combination.weights.detach() / torch.where(factors == 0, 1.0, factors)
    for task, ratio in zip(batch.tasks, ratios.unbind(), strict=True):
        gates[task].weight = ratio
    return (factors * batch.stacked()).sum()


def _carried(
    batch: _Batch,
    combination: Combination,
    factors: Tensor,
    rows: Rows | None,
    parameters: Sequence[Tensor],
) -> Tensor:
    """Finish every gradient now and hand it out in the backward pass."""
    leaves = reached_by(loss for loss in batch.local if loss is not None).leaves
    reached = {id(leaf) for leaf in leaves}
    used = [parameter for parameter in parameters if id(parameter) in reached or ranks() > 1]
    if not used:
        raise EngineError(
            f"no loss of the tasks {list(batch.tasks)} reaches a shared parameter; pass the parameters that the "
            "forward pass used (not those of a copy), and compute the losses from their output"
        )
    stacked = batch.stacked()
    if rows is None:  # weights from losses alone but heads unweighted: one pass for the shared part
        weighted = (combination.weights.detach() * stacked).sum()
        found: dict[int, Tensor | None] = dict(zip(map(id, used), gradients_of(weighted, used), strict=True))
    else:
        given = combination.direction
        blocks = rows.combine(combination.weights) if given is None else rows.split(given)
        found = dict(zip(map(id, parameters), Layout(parameters).split(blocks), strict=True))
    shared_ids = {id(parameter) for parameter in parameters}
    others = [leaf for leaf in leaves if id(leaf) not in shared_ids]
    total = (factors * stacked).sum()
    if others:
        found.update(zip(map(id, others), gradients_of(total, others), strict=True))
    # Parameters that nothing reaches keep `.grad` as it is, as after an ordinary backward pass.
    pairs = [(leaf, gradient) for leaf in (*used, *others) if (gradient := found[id(leaf)]) is not None]
    return carry(total, [leaf for leaf, _ in pairs], [gradient for _, gradient in pairs])


def _nonfinite(found: str, balancer: Balancer, values: Sequence[Tensor], policy: Literal["raise", "skip"]) -> Tensor:
    if policy == "raise":
        raise BalanceError(
            f"{found}; expected finite numbers. Lower the learning rate, look at these tasks' inputs and targets, or "
            "pass on_nonfinite='skip' to leave such steps out"
        )
    balancer.n_skipped += 1
    return carry_nothing(torch.zeros_like(values[0]), reached_by(values).leaves)


def _choices(head_gradient: str | None, on_nonfinite: str, form: str) -> None:
    for argument, given, known in (
        ("head_gradient", head_gradient, (None, "weighted", "unweighted")),
        ("on_nonfinite", on_nonfinite, ("raise", "skip")),
        ("form", form, ("auto", "weights", "gates", "carrier")),
    ):
        if given not in known:
            raise BalanceError(f"balance(): {argument} must be one of {known}, found {given!r}")
