"""The link, the one interface of every balancing method, and four bases that make the common cases one method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from taskloom._rng import torch_stream
from taskloom.balance.flow import Flow, Need, task_names
from taskloom.errors import BalanceError, nearest
from taskloom.task import Task

__all__ = ["HeadGradient", "Link", "Mix", "Reduce", "RowRule", "Scale"]

HeadGradient = Literal["weighted", "unweighted"]


class Link(nn.Module):
    """One step of a balancing recipe: it turns a flow into another flow.

    ``forward`` is the whole interface. It must not depend on data in Python (no ``.item()``, no ``if`` on a tensor)
    and must not write in place on what it is given, so that ``torch.func.vmap`` can run it for many networks at once;
    state that changes lives in buffers and is written with ``copy_``.

    Class attributes:
        needs: what the link must be given.
        reduces: True when it leaves one row.
        holds_tasks: True when it holds one entry per task; then it learns the tasks by :meth:`bind`.
        is_constant: True when it does the same in every step: all that it looks at are the tasks that are there.
        remembers: True when ``forward`` or ``observe`` changes buffers: the link's next answer depends on this step.
        looks_at_features: True when its Gramian and rows are those of the features at the cut, not of the parameters.
        n_batches: how many independent batches it looks at in one step; 1 for nearly all.
        learns_from_first: True when the step is made of the first of several batches, not of the last (or both of two).
        head_gradient: what the method's paper does with heads; None when the link has no say.

    Example:
        >>> from taskloom.balance.base import chain
        >>> class Halve(Link):
        ...     needs = Need.NOTHING
        ...     def forward(self, flow):
        ...         return flow.becomes(mix=flow.mix / 2, is_diagonal=flow.is_diagonal)
        >>> from taskloom.balance.reduce.sum import sum_
        >>> chain(Halve(), sum_()).weights(torch.eye(2))
        tensor([0.5000, 0.5000])
    """

    needs: ClassVar[Need] = Need.LOSSES
    reduces: ClassVar[bool] = False
    holds_tasks: ClassVar[bool] = False
    is_constant: ClassVar[bool] = False
    remembers: ClassVar[bool] = False
    looks_at_features: ClassVar[bool] = False
    n_batches: ClassVar[int] = 1
    learns_from_first: ClassVar[bool] = False
    head_gradient: ClassVar[HeadGradient | None] = None

    seed: int = 0
    generator: torch.Generator | None = None

    def __init__(self) -> None:
        super().__init__()
        self.tasks: tuple[str, ...] = ()

    def forward(self, flow: Flow) -> Flow:
        """Flow after this link."""
        raise NotImplementedError

    def needs_at(self, step: int) -> Need:
        """What is needed at one step; less than ``needs`` where a link only looks from time to time."""
        return self.needs

    # -- tasks ------------------------------------------------------------------------------------------------

    def bind(self, tasks: Sequence[Task | str]) -> None:
        """Learn the tasks, in order. A link that holds one entry per task makes its entries here."""
        self.tasks = task_names(tasks)

    def positions(self, tasks: Sequence[str]) -> list[int] | None:
        """Where the tasks of a step are among the bound ones; None when they are the same.

        Raises:
            BalanceError: a task is not among the bound ones.
        """
        if tuple(tasks) == self.tasks:
            return None
        for task in tasks:
            if task not in self.tasks:
                raise BalanceError(
                    f"{self!r} holds values for the tasks {list(self.tasks)}, found {task!r}."
                    f"{nearest(task, self.tasks)} Bind the balancer to all tasks before the first step."
                )
        return [self.tasks.index(task) for task in tasks]

    # -- random numbers ---------------------------------------------------------------------------------------

    def draw_shape(self, n_tasks: int) -> tuple[int, ...] | None:
        """Shape of the uniform numbers that one step uses, every axis indexed by task; None for none."""
        return None

    def draw(self, n_tasks: int, *, step: int = 0, position: int = 0) -> Tensor | None:
        """Uniform numbers of a step, from ``generator`` if one was given, else from (seed, position, step)."""
        shape = self.draw_shape(n_tasks)
        if shape is None:
            return None
        generator = self.generator or torch_stream(self.seed, f"balance {type(self).__name__}", position, step)
        return torch.rand(shape, generator=generator, dtype=torch.float64, device=generator.device)

    def select_draws(self, draws: Tensor, positions: Sequence[int]) -> Tensor:
        """The numbers of the tasks at these positions: absent tasks change nothing for those that are there."""
        for axis in range(draws.ndim):
            draws = draws.index_select(axis, torch.as_tensor(positions, device=draws.device))
        return draws

    # -- state ------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Return to the state before the first step. A link with state overrides this."""

    def observe(self, losses: Tensor) -> None:
        """Losses (K,) of the bound tasks on the same batch after the step; for methods that look at the change.

        Tasks that the step did not have may have any number; they are left out.
        """

    @property
    def observes(self) -> bool:
        """True when it has to be told the losses after the step by :meth:`observe`."""
        return type(self).observe is not Link.observe

    def end_epoch(self) -> None:
        """Called after every epoch of training; for methods that compare epochs. Those have ``remembers = True``."""

    def check(self, tasks: Sequence[str], losses: Tensor) -> None:
        """Raise when loss values are outside what the method is defined for. Called at public doors only."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Own parameters as optimiser groups: their own learning rate (0.025) and never any weight decay."""
        own = list(self.parameters())
        return [{"params": own, "lr": 0.025, "weight_decay": 0.0}] if own else []

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        try:
            fn(torch.zeros((), dtype=torch.float64))
        except TypeError:  # a device without float64: constants are kept in float32 there
            for name, buffer in self.named_buffers(recurse=False):
                if buffer.dtype == torch.float64:
                    setattr(self, name, buffer.float())
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Scale(Link):
    """Base of links that give every row a factor: write :meth:`scale`.

    Example:
        >>> from taskloom.balance.base import chain
        >>> class InverseLoss(Scale):
        ...     def scale(self, flow):
        ...         return 1 / flow.losses()
        >>> chain(InverseLoss()).weights(None, torch.tensor([1.0, 4.0]))
        tensor([1.0000, 0.2500])
    """

    def scale(self, flow: Flow) -> Tensor:
        """Factors (S,), differentiable in the link's own parameters."""
        raise NotImplementedError

    def penalty(self, flow: Flow) -> Tensor | None:
        """Scalar to add to the loss; None for nothing."""
        return None

    def forward(self, flow: Flow) -> Flow:
        return self.rescale(flow, self.scale(flow), self.penalty(flow))

    def rescale(self, flow: Flow, factors: Tensor, penalty: Tensor | None = None) -> Flow:
        """The flow with its rows multiplied by factors (S,) and a penalty added."""
        factors = factors.to(flow.mix)
        return flow.becomes(
            mix=factors.unsqueeze(-1) * flow.mix,
            penalty=flow.penalty if penalty is None else flow.penalty + penalty.to(flow.penalty),
            head=flow.head * factors if flow.is_diagonal else flow.head,
            is_diagonal=flow.is_diagonal,
        )


class Mix(Link):
    """Base of links that replace every row by a combination of rows: write :meth:`mix`.

    Example:
        >>> from taskloom.balance.base import chain
        >>> from taskloom.balance.reduce.sum import sum_
        >>> class Reverse(Mix):
        ...     def mix(self, gramian):
        ...         return torch.eye(len(gramian), dtype=gramian.dtype).flip(0)
        >>> chain(Reverse(), sum_()).weights(torch.eye(2))
        tensor([1., 1.])
    """

    needs: ClassVar[Need] = Need.GRAMIAN
    head_gradient: ClassVar[HeadGradient | None] = "unweighted"

    def mix(self, gramian: Tensor) -> Tensor:
        """Combination matrix (S, S) from the Gramian (S, S) of the rows, in float64."""
        raise NotImplementedError

    def forward(self, flow: Flow) -> Flow:
        return flow.combined(self.mix(flow.gramian()))


class Reduce(Link):
    """Base of links that leave one row: write :meth:`weights`.

    Example:
        >>> from taskloom.balance.base import chain
        >>> class ByNorm(Reduce):
        ...     def weights(self, gramian):
        ...         return 1 / gramian.diagonal().sqrt()
        >>> chain(ByNorm()).weights(torch.diag(torch.tensor([1.0, 4.0])))
        tensor([1.0000, 0.5000])
    """

    needs: ClassVar[Need] = Need.GRAMIAN
    reduces: ClassVar[bool] = True
    head_gradient: ClassVar[HeadGradient | None] = "unweighted"

    def weights(self, gramian: Tensor) -> Tensor:
        """Weights (S,) from the Gramian (S, S) of the rows, in float64."""
        raise NotImplementedError

    def forward(self, flow: Flow) -> Flow:
        return flow.combined(self.weights(flow.gramian()))


class RowRule(Link):
    """Base of links that make the direction from the gradients themselves: write :meth:`combine`.

    Example:
        >>> from taskloom.balance.base import chain
        >>> class Median(RowRule):
        ...     def combine(self, rows):
        ...         return rows.median(dim=0).values
        >>> chain(Median()).direction(torch.tensor([[1.0, 0.0], [2.0, 5.0], [9.0, 1.0]]))
        tensor([2., 1.])
    """

    needs: ClassVar[Need] = Need.ROWS
    reduces: ClassVar[bool] = True
    head_gradient: ClassVar[HeadGradient | None] = "unweighted"

    def combine(self, rows: Tensor) -> Tensor:
        """Direction (P,) from the rows (S, P)."""
        raise NotImplementedError

    def forward(self, flow: Flow) -> Flow:
        return flow.becomes(mix=flow.mix.mean(0, keepdim=True), direction=self.combine(flow.rows()))
