"""Balancers: chains of links that end in one weight per task.

    balancer = chain(project_conflicts(), sum_())

``chain`` is the whole composition: it flattens chains inside chains and runs the links in order. A paper's name
(:func:`taskloom.pcgrad`) is a function that returns its chain with the paper's defaults.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from taskloom.balance._chain import Chain, anonymous
from taskloom.balance._checks import (
    common_size,
    require_finite,
    require_gramian,
    require_jacobians,
    require_numbers,
)
from taskloom.balance._link import HeadGradient, Link, Mix, Reduce, RowRule, Scale
from taskloom.balance.flow import Combination, Need, Rows
from taskloom.errors import BalanceError

__all__ = ["Balancer", "HeadGradient", "Link", "Mix", "Need", "Reduce", "RowRule", "Scale", "chain"]


class Balancer(Chain):
    """A chain of links: what decides how the gradients of several tasks become one. Made by :func:`chain`.

    Hand it to :func:`taskloom.balance` or :func:`taskloom.fit`; or, holding gradients yourself, ask it for
    :meth:`weights` or a :meth:`direction`. It is an ``nn.Module``: it moves, saves and loads with a model. Its
    ``diagnostics`` (:class:`taskloom.balance.Diagnostics`) say what happened.

    Args:
        links: the links, in order.

    Example:
        >>> import taskloom as tl
        >>> balancer = tl.pcgrad()
        >>> balancer
        chain(project_conflicts(), sum_())
        >>> gramian = torch.tensor([[1.0, -1.0], [-1.0, 4.0]])  # two gradients that disagree
        >>> balancer.weights(gramian)
        tensor([2.0000, 1.2500])
    """

    @torch.no_grad()
    def weights(self, gramian: Tensor | None, losses: Tensor | None = None, *, draws: Tensor | None = None) -> Tensor:
        """Weight of every task from inner products of gradients. One call is one step of the balancer's state.

        Args:
            gramian: G = J J^T, shape (K, K); None for chains that need only losses.
            losses: shape (K,); needed by chains that look at loss values.
            draws: uniform random numbers for randomised chains; default: drawn.

        Returns:
            w, shape (K,), in the dtype of the Gramian (of the losses if there is none), no graph.

        Raises:
            BalanceError: wrong shapes, NaN or infinity, missing losses, or a link that needs the gradients themselves.
        """
        given = gramian if gramian is not None else losses
        if given is None:
            raise BalanceError("weights() needs a Gramian (K, K) or losses (K,), found neither")
        return self._decide(gramian, losses, draws, ()).weights.to(given.dtype)

    @torch.no_grad()
    def direction(self, jacobian: Tensor, losses: Tensor | None = None, *, draws: Tensor | None = None) -> Tensor:
        """Combined gradient from the task gradients. One call is one step of the balancer's state.

        Args:
            jacobian: J, shape (K, P), one gradient per row.
            losses: shape (K,); needed by chains that look at loss values.
            draws: uniform random numbers for randomised chains; default: drawn.

        Returns:
            d, shape (P,), in the dtype of the Jacobian; the optimiser steps along -d.

        Raises:
            BalanceError: as :meth:`weights`.
        """
        found = self.step(jacobian, losses, draws=draws).direction
        assert found is not None
        return found

    @torch.no_grad()
    def step(
        self,
        jacobian: Tensor,
        losses: Tensor | None = None,
        *,
        others: Sequence[Tensor] = (),
        after: Tensor | None = None,
        draws: Tensor | None = None,
    ) -> Combination:
        """One whole step of a method with a memory: decide, then observe what the step did.

        Args:
            jacobian: J, shape (K, P), one gradient per row.
            losses: shape (K,); needed by chains that look at loss values.
            others: Jacobians (K, P) of further independent batches, for methods with ``n_batches`` > 1. Products are
                taken between the first two; the direction is made of the last one, of the mean of two, or of the first
                one for methods that only look at the others (``learns_from_first``).
            after: losses (K,) on the same batch after the step, for methods that look at the change.
            draws: uniform random numbers for randomised chains; default: drawn.

        Returns:
            weights (K,) and direction (P,), in the dtype of the Jacobian.

        Raises:
            BalanceError: as :meth:`weights`; or too few Jacobians.

        Example:
            >>> import taskloom as tl
            >>> balancer = tl.pcgrad()
            >>> balancer.step(torch.tensor([[1.0, 0.0], [-1.0, 1.0]])).direction
            tensor([0.5000, 1.5000])
        """
        jacobians = (jacobian, *others)
        require_jacobians(self, jacobians)
        found = self._decide(None, losses, draws, tuple(Rows((one,)) for one in jacobians))
        direction = found.direction
        if direction is None:
            direction = Rows((self._made_of(jacobians),)).combine(found.weights)[0]
        if after is not None:
            self.observe(after)
        return replace(found, weights=found.weights.to(jacobian.dtype), direction=direction.to(jacobian.dtype))

    def _made_of(self, jacobians: Sequence[Tensor]) -> Tensor:
        """The gradients that the direction is made of."""
        if self.learns_from_first:
            return jacobians[0]
        return (jacobians[0] + jacobians[1]) / 2 if len(jacobians) == 2 else jacobians[-1]

    def _decide(
        self, gramian: Tensor | None, losses: Tensor | None, draws: Tensor | None, batches: tuple[Rows, ...]
    ) -> Combination:
        require_numbers(gramian=gramian, losses=losses)
        n_tasks = common_size(gramian, losses, batches)
        names = self.tasks if len(self.tasks) == n_tasks else anonymous(n_tasks)
        if self.holds_state_of_tasks and not self.tasks:
            self.bind(names)
        rows = cross = None
        for one in batches:
            require_finite(names, Jacobian=one.matrix())
        if batches:
            rows = Rows((self._made_of([one.matrix() for one in batches]),))
            if self.needs & (Need.GRAMIAN | Need.LAST_LAYER):
                gramian = rows.gramian()
            if self.needs & Need.CROSS:
                cross = batches[0].cross(batches[min(1, len(batches) - 1)])
        if gramian is not None:
            require_gramian(names, gramian)
        require_finite(names, losses=losses)
        if losses is not None:
            for link in self:
                link.check(names, losses)
        elif Need.LOSSES in self.needs:
            raise BalanceError(f"{self!r} looks at loss values; pass losses= of shape ({n_tasks},)")
        if draws is None:
            draws = self.draw(n_tasks)
        if losses is None:
            like = gramian if gramian is not None else batches[0].blocks[0]
            losses = torch.zeros(n_tasks, dtype=like.dtype, device=like.device)
        step, self.n_steps = self.n_steps, self.n_steps + 1
        # whoever holds one matrix of gradients calls its parameters the layer
        combination = self.combine(
            losses, gramian, draws=draws, tasks=names, rows=rows, last_layer=gramian, cross=cross, step=step
        )
        self.diagnostics.note_step(names, combination, gramian=gramian)
        return combination


def chain(*links: Link) -> Balancer:
    """Compose links into a balancer; they run from left to right.

    Chains inside are flattened, and the chain of one balancer is that balancer. A chain of links that only rescale
    ends with the weighted sum; any other chain ends with a reducer such as ``sum_()`` or ``mean()``.

    Args:
        links: links or balancers.

    Returns:
        the balancer.

    Raises:
        BalanceError: no link, or something that is no link.

    Example:
        >>> import taskloom as tl
        >>> chain(tl.fixed([1.0, 2.0]), tl.pcgrad())  # weigh the losses, then resolve conflicts
        chain(scale_by([1.0, 2.0]), project_conflicts(), sum_())
    """
    if len(links) == 1 and isinstance(links[0], Balancer):
        return links[0]
    flat: list[Link] = []
    for link in links:
        if isinstance(link, Balancer):
            flat.extend(link)
        elif isinstance(link, Link):
            flat.append(link)
        else:
            raise BalanceError(
                f"chain() takes links, found {link!r}; write them as calls: chain(project_conflicts(), sum_())"
            )
    if not flat:
        raise BalanceError("chain() needs at least one link, for example chain(sum_())")
    return Balancer(flat)
