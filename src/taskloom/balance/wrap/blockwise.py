"""A method on every block of the shared parameters by itself: layer by layer, or tensor by tensor."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from taskloom.balance._blocks import Blocks
from taskloom.balance.base import Balancer, Need, chain
from taskloom.balance.flow import Flow, Rows
from taskloom.balance.wrap._wrapper import Wrapper
from taskloom.errors import BalanceError
from taskloom.task import Task

__all__ = ["Blockwise", "blockwise"]


class Blockwise(Wrapper):
    """Runs a copy of a balancer on every block (see :func:`blockwise`)."""

    def __init__(self, blocks: Blocks, balancer: Balancer) -> None:
        if not isinstance(blocks, Blocks):
            raise BalanceError(f"blockwise(): expected blocks such as Blocks.per_layer(encoder), found {blocks!r}")
        super().__init__("blockwise", *[copy.deepcopy(balancer) for _ in range(len(blocks))])
        if not balancer.needs & Need.GRAMIAN or balancer.needs & ~(Need.GRAMIAN | Need.LOSSES):
            raise BalanceError(
                f"blockwise(): {balancer!r} does not decide by inner products of gradients; there is nothing to divide"
            )
        if balancer.looks_at_features:
            raise BalanceError(f"blockwise(): {balancer!r} looks at features, which have no blocks of parameters")
        self.blocks = blocks

    @property
    def needs(self) -> Need:  # type: ignore[override]
        """The gradients themselves, and what the balancer needs."""
        return self.inner.needs | Need.ROWS

    def needs_at(self, step: int) -> Need:
        """The same, when the balancer looks at gradients."""
        return self.needs

    def bind(self, tasks: Sequence[Task | str]) -> None:
        super().bind(tasks)
        if next(self.parameters(), None) is not None:
            raise BalanceError(
                f"blockwise(): {self._first!r} has parameters of its own, which there would be once per block; put "
                "their link before blockwise() in the chain"
            )

    # -- random numbers: one order of tasks for all blocks -----------------------------------------------------

    def draw_shape(self, n_tasks: int) -> tuple[int, ...] | None:
        return self._first.draw_shape(n_tasks)

    def draw(self, n_tasks: int, *, step: int = 0, position: int = 0) -> Tensor | None:
        return self._first.draw(n_tasks, step=step, position=position)

    def select_draws(self, draws: Tensor, positions: Sequence[int]) -> Tensor:
        return self._first.select_draws(draws, positions)

    def draws_of(self, position: int, flow: Flow) -> Tensor | None:
        return flow.draws

    @property
    def _first(self) -> Balancer:
        first = self.inner.links[0]
        assert isinstance(first, Balancer)
        return first

    # -- one step ----------------------------------------------------------------------------------------------

    def forward(self, flow: Flow) -> Flow:
        assert flow.signals.rows is not None  # Balancer checks the needs before it starts
        matrix = flow.signals.rows.matrix()
        direction = torch.empty_like(matrix[0])
        mix, falls_back = torch.zeros_like(flow.mix[:1]), None
        after = flow
        for number, places in enumerate(self._columns(flow.signals.rows)):
            rows = Rows(tuple(matrix[:, place] for place in places))
            signals = replace(flow.signals, gramian=rows.gramian(), rows=rows)
            after = self.run(number, replace(flow, signals=signals))
            for place, part in zip(places, rows.combine(after.mix[0]), strict=True):
                direction[place] = part
            share = sum(place.stop - place.start for place in places) / matrix.shape[1]
            mix = mix + share * after.mix.detach()
            if after.falls_back is not None:
                falls_back = after.falls_back if falls_back is None else falls_back | after.falls_back
        return flow.becomes(mix=mix, penalty=after.penalty, head=after.head, direction=direction, falls_back=falls_back)

    def _columns(self, rows: Rows) -> list[list[slice]]:
        """Where the columns of each block are."""
        sizes, owners, order = self.blocks.sizes, self.blocks.owners, rows.order
        n_columns = sum(block.shape[1] for block in rows)
        if n_columns != sum(sizes) or (order is not None and len(order) != len(sizes)):
            raise BalanceError(
                f"blockwise(): the blocks are those of {len(sizes)} parameters with {sum(sizes)} entries, found "
                f"{'' if order is None else f'{len(order)} with '}{n_columns}; make them of what is passed as "
                "shared=, for example Blocks.per_layer(encoder)"
            )
        places: list[list[slice]] = [[] for _ in range(len(self.blocks))]
        start = 0
        for parameter in range(len(sizes)) if order is None else order:
            places[owners[parameter]].append(slice(start, start + sizes[parameter]))
            start += sizes[parameter]
        return places

    def __repr__(self) -> str:
        return f"blockwise({len(self.blocks)} blocks, {self._first!r})"


def blockwise(blocks: Blocks, balancer: Balancer) -> Balancer:
    """Let a gradient method decide for every layer, or every tensor, of the shared part by itself.

    Try it where tasks conflict in some layers and agree in others, which inner products over all parameters average
    away. Gradient vaccine is also used this way in its paper, PCGrad in its official code.

        d_b = J_b^T w(J_b J_b^T)   for every block b of the columns of J

    Args:
        blocks: ``Blocks.per_layer(encoder)`` or ``Blocks.per_tensor(encoder)``, of what is passed as ``shared``.
        balancer: a method that looks at inner products (and losses); every block has a copy with a memory of its own,
            random orders are those of the whole step.

    Returns:
        the balancer. It makes a direction; the weights that it reports are means over the blocks, by their size.

    Raises:
        BalanceError: a balancer that looks at something else or has parameters of its own; at a step, blocks that are
            not those of the shared parameters.

    Cost:
        K backward passes through the shared part; K times its parameters in memory, twice for a moment; the solution
        of the method once per block.

    Distributed:
        task gradients are averaged over ranks before the products.

    Example:
        >>> import taskloom as tl
        >>> layers = Blocks(sizes=(1, 1), owners=(0, 1))  # two parameters of one entry each
        >>> jacobian = torch.tensor([[1.0, 2.0], [-2.0, 2.0]])  # opposed in the first one only
        >>> tl.pcgrad().direction(jacobian), blockwise(layers, tl.pcgrad()).direction(jacobian)
        (tensor([-1.,  4.]), tensor([0., 4.]))
    """
    return chain(Blockwise(blocks, balancer))
