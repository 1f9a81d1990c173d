"""One training step as a pure function of the parameters: the form that many networks can share.

:func:`taskloom.balance` works on a graph that the user has just built. Here the same step - losses, per-task
gradients, weights, combined gradient - is a function from parameters and a batch to gradients, without state and
without data-dependent Python, so that ``torch.func.vmap`` runs it for many networks of one shape at once.

Per-task gradients of a model with a cut take one pass through the heads (every task reads an alias of the cut of
its own) and K propagations through the shared part; where every task has rows of its own, a propagation only
touches that task's rows. A model without a cut takes K propagations through the whole network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vjp, vmap

from taskloom.balance.flow import Rows
from taskloom.data.batch import Batch, assemble
from taskloom.losses import task_losses
from taskloom.task import Task

if TYPE_CHECKING:
    from taskloom.balance.base import Balancer
    from taskloom.balance.flow import Combination
    from taskloom.nn.model import MultiTaskModel

__all__ = ["Step", "StepFunction"]

State = Mapping[str, Tensor]
Cut = tuple[Tensor, ...]


class Step(NamedTuple):
    """What one step measured and the gradients that it asks for.

    Attributes:
        losses: (K,) task losses; 0 for an absent task.
        active: (K,) bool, which tasks had a labelled row.
        weights: (K,) weight of each task's gradient in the shared direction.
        gradients: parameter name -> gradient, the shape of the parameter.
        balancer_gradients: the same for the balancer's own parameters.
    """

    losses: Tensor
    active: Tensor
    weights: Tensor
    gradients: dict[str, Tensor]
    balancer_gradients: dict[str, Tensor]


class _Methods(nn.Module):
    """Lets ``functional_call`` reach any method of a module, not only its forward."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, method: Callable[..., Any], *arguments: Any) -> Any:
        return method(self.module, *arguments)


class StepFunction:
    """Losses, Gramian and gradients of a model and a balancer as functions of their parameters.

    Parameters and buffers are mappings as ``dict(module.named_parameters())`` gives them. ``inputs``, ``targets``
    and ``mask`` have the dense forms of :func:`taskloom.data.batch.assemble`.

    Args:
        model: the architecture; only its structure is used.
        balancer: the chain, bound to the tasks; only its structure is used.
        tasks: the K tasks in model order.
        per_task: True for several data sets (every task has rows of its own).

    Cost:
        Losses-only chains: one backward pass. Gramian chains: K propagations through the shared part and memory
        for K gradients of it.

    Distributed:
        One process; the functions know nothing of ranks.

    Example:
        >>> import taskloom as tl
        >>> tasks = [tl.Task(name="a", kind=tl.Regression()), tl.Task(name="b", kind=tl.Regression())]
        >>> model = tl.HardSharing(tl.nn.MLP(3, hidden=(4,)), tasks)
        >>> balancer = tl.pcgrad()
        >>> balancer.bind(tasks)
        >>> function = StepFunction(model, balancer, tasks, per_task=False)
        >>> x, y, mask = torch.randn(8, 3), torch.randn(8, 2), torch.ones(8, 2, dtype=torch.bool)
        >>> step = function.gradients(
        ...     dict(model.named_parameters()), {}, {}, {}, x, y, mask, balancer.draw(2))
        >>> step.losses.shape, len(step.gradients) == len(list(model.parameters()))
        (torch.Size([2]), True)
    """

    def __init__(self, model: MultiTaskModel, balancer: Balancer, tasks: Sequence[Task], *, per_task: bool) -> None:
        self.model = model
        self.tasks = tuple(tasks)
        self.per_task = per_task
        self._names = [task.name for task in self.tasks]
        self._model_methods = _Methods(model)
        self._balancer_methods = _Methods(balancer)
        name_of = {id(parameter): name for name, parameter in model.named_parameters()}
        self.shared_names = [name_of[id(parameter)] for parameter in model.shared_parameters()]
        self._task_of = {
            name_of[id(parameter)]: position
            for position, name in enumerate(self._names)
            for parameter in model.task_parameters(name)
        }
        self._has_penalty = bool(model.penalties())
        self._needs_gramian = bool(balancer.needs_gramian)
        self._weighted_heads = balancer.head_gradient == "weighted"

    # -- calls of the two modules with given parameters -------------------------------------------------------

    def _model(self, parameters: State, buffers: State, method: Callable[..., Any], *arguments: Any) -> Any:
        state = {f"module.{name}": value for name, value in (*parameters.items(), *buffers.items())}
        return functional_call(self._model_methods, state, (method, *arguments))

    def _combine(
        self, parameters: State, buffers: State, losses: Tensor, gramian: Tensor | None, active: Tensor, draws: Any
    ) -> Combination:
        state = {f"module.{name}": value for name, value in (*parameters.items(), *buffers.items())}

        def combine(balancer: Balancer) -> Combination:
            return balancer.combine(losses, gramian, active=active, draws=draws)

        combination: Combination = functional_call(self._balancer_methods, state, (combine,))
        return combination

    def _losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> tuple[Tensor, Tensor]:
        return task_losses(self.tasks, outputs, targets=batch.targets, mask=batch.mask)

    def _penalty(self, parameters: State, buffers: State) -> Tensor:
        penalty: Tensor = self._model(parameters, buffers, lambda model: model.penalty())
        return penalty

    # -- public functions -------------------------------------------------------------------------------------

    def outputs(self, parameters: State, buffers: State, inputs: Tensor) -> dict[str, Tensor]:
        """Raw outputs of every task, (b, n_outputs) each."""
        given: Any = dict(zip(self._names, inputs.unbind(0), strict=True)) if self.per_task else inputs
        outputs: dict[str, Tensor] = self._model(parameters, buffers, lambda model: model(given))
        return outputs

    def losses(
        self, parameters: State, buffers: State, inputs: Tensor, targets: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Task losses (K,) and which tasks are present (K,)."""
        batch = assemble(self.tasks, inputs, targets, mask, per_task=self.per_task)
        outputs = self._model(parameters, buffers, lambda model: model(batch.inputs))
        return self._losses(outputs, batch)

    def gramian(self, parameters: State, buffers: State, inputs: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
        """Inner products (K, K) of the task gradients with respect to the shared parameters."""
        rows, _, _, _ = self._rows(parameters, buffers, inputs, targets, mask)
        return _gramian(rows)

    def gradients(
        self,
        parameters: State,
        buffers: State,
        balancer_parameters: State,
        balancer_buffers: State,
        inputs: Tensor,
        targets: Tensor,
        mask: Tensor,
        draws: Any,
    ) -> Step:
        """Gradients that one training step hands to the optimiser; equal to ``balance(...).backward()``."""
        if not self._needs_gramian:
            return self._from_losses(
                parameters, buffers, balancer_parameters, balancer_buffers, inputs, targets, mask, draws
            )
        rows, heads, losses, active = self._rows(parameters, buffers, inputs, targets, mask)
        gramian = _gramian(rows)

        def scalar(own: State) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            decided = self._combine(own, balancer_buffers, losses, gramian, active, draws)
            total = (decided.weights * losses).sum() + decided.penalty
            return total, (decided.weights, decided.head_weights)

        if balancer_parameters:
            balancer_gradients, (weights, head_weights) = grad(scalar, has_aux=True)(dict(balancer_parameters))
        else:
            balancer_gradients, (weights, head_weights) = {}, scalar({})[1]
        gradients = {name: torch.tensordot(weights.to(row.dtype), row, dims=1) for name, row in rows.items()}
        factors = weights if self._weighted_heads else head_weights
        for name, gradient in heads.items():
            position = self._task_of.get(name)
            gradients[name] = gradient if position is None else gradient * factors[position].to(gradient.dtype)
        if self._has_penalty:
            for name, gradient in grad(lambda own: self._penalty(own, buffers))(dict(parameters)).items():
                gradients[name] = gradients[name] + gradient
        return Step(losses, active, weights, gradients, balancer_gradients)

    # -- parts ------------------------------------------------------------------------------------------------

    def _from_losses(
        self,
        parameters: State,
        buffers: State,
        balancer_parameters: State,
        balancer_buffers: State,
        inputs: Tensor,
        targets: Tensor,
        mask: Tensor,
        draws: Any,
    ) -> Step:
        def scalar(own: State, own_balancer: State) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
            losses, active = self.losses(own, buffers, inputs, targets, mask)
            decided = self._combine(own_balancer, balancer_buffers, losses, None, active, draws)
            total = (decided.weights * losses).sum() + decided.penalty
            if self._has_penalty:
                total = total + self._penalty(own, buffers)
            return total, (losses, active, decided.weights)

        (gradients, balancer_gradients), (losses, active, weights) = grad(scalar, argnums=(0, 1), has_aux=True)(
            dict(parameters), dict(balancer_parameters)
        )
        return Step(losses, active, weights, gradients, balancer_gradients)

    def _rows(
        self, parameters: State, buffers: State, inputs: Tensor, targets: Tensor, mask: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor, Tensor]:
        """Per-task gradients of the shared parameters (K, ...), gradients of the others, losses, presence."""
        batch = assemble(self.tasks, inputs, targets, mask, per_task=self.per_task)
        shared = {name: parameters[name] for name in self.shared_names}
        others = {name: value for name, value in parameters.items() if name not in shared}
        if self.model.has_cut:
            return self._rows_at_cut(shared, others, buffers, inputs, batch)

        def losses_of(own: State, rest: State) -> tuple[Tensor, Tensor]:
            outputs = self._model({**own, **rest}, buffers, lambda model: model(batch.inputs))
            return self._losses(outputs, batch)

        losses, propagate, active = cast(
            tuple[Tensor, Callable[..., Any], Tensor], vjp(losses_of, shared, others, has_aux=True)
        )
        rows, rest = vmap(propagate)(torch.eye(len(self.tasks), dtype=losses.dtype, device=losses.device))
        return rows, {name: row.sum(0) for name, row in rest.items()}, losses, active

    def _rows_at_cut(
        self, shared: State, others: State, buffers: State, inputs: Tensor, batch: Batch
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor, Tensor]:
        def encode(own: State, given: Tensor) -> Cut:
            cut: Cut = self._model({**own, **others}, buffers, lambda model: model.encode(given))
            return cut

        if self.per_task:
            cut = vmap(lambda own_rows: encode(shared, own_rows))(inputs)  # parts (K, ...)
        else:
            # an alias for each
            cut = tuple(part.expand(len(self.tasks), *part.shape) for part in encode(shared, inputs))

        def head_sum(aliases: Cut, rest: State) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            parts = zip(*(part.unbind(0) for part in aliases), strict=True)
            aliases_of_tasks = tuple(part for of_task in parts for part in of_task)
            outputs = self._model({**shared, **rest}, buffers, lambda model: model.decode(aliases_of_tasks))
            losses, active = self._losses(outputs, batch)
            return losses.sum(), (losses, active)

        (cotangents, heads), (losses, active) = grad(head_sum, argnums=(0, 1), has_aux=True)(cut, others)

        def propagate(own_rows: Tensor, cotangent: Cut) -> dict[str, Tensor]:
            backward: Callable[..., Any] = vjp(lambda own: encode(own, own_rows), shared)[1]
            row: dict[str, Tensor] = backward(cotangent)[0]
            return row

        rows = vmap(propagate, in_dims=(0 if self.per_task else None, 0))(inputs, cotangents)
        return rows, heads, losses, active


def _gramian(rows: Mapping[str, Tensor]) -> Tensor:
    """Inner products (K, K) of stacked rows by parameter name."""
    return Rows(tuple(row.reshape(len(row), -1) for row in rows.values())).gramian()
