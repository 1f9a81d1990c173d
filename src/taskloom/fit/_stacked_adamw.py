"""AdamW over many networks of one shape, whose parameters are the rows of one matrix."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.optim.adamw import adamw

__all__ = ["Rates", "StackedAdamW"]


class Rates(NamedTuple):
    """With what some columns of a row learn."""

    learning_rate: float
    weight_decay: float


class StackedAdamW:
    """torch's AdamW over the rows of one matrix, with settings per row and group of columns.

    Rows with equal settings must stand together; each run of them is one block with one call of torch's own update,
    so that the arithmetic is the same whatever the number of members.

    Args:
        matrix: (M, P) parameters, updated in place.
        rates: (M,) of each row: the rates of most columns, then those of each group of columns in ``apart``.
        keys: (M,) rows with different keys are never in one block (members that may skip a step).
        apart: columns that have rates of their own, an index (P_g,) for each group of them.
    """

    def __init__(
        self,
        matrix: Tensor,
        rates: Sequence[tuple[Rates, ...]],
        keys: Sequence[Hashable],
        *,
        apart: Sequence[Tensor] = (),
    ) -> None:
        self._apart = list(apart)
        widths = [matrix.shape[1], *(len(columns) for columns in self._apart)]
        moments = [(matrix.new_zeros(len(matrix), n), matrix.new_zeros(len(matrix), n)) for n in widths]
        self._use(matrix, moments, list(zip(rates, keys, strict=True)), [0.0] * len(matrix))

    def _use(
        self,
        matrix: Tensor,
        moments: list[tuple[Tensor, Tensor]],
        settings: list[tuple[tuple[Rates, ...], Hashable]],
        steps: Sequence[float],
    ) -> None:
        self._moments, self._settings = moments, settings
        self._blocks: list[_Block] = []
        start = 0
        for (rates, _), run in groupby(settings):
            rows = slice(start, start + len(list(run)))
            parts = [
                _Part([first[rows]], [second[rows]], [torch.tensor(steps[start])], own)  # torch counts in float32
                for (first, second), own in zip(moments, rates, strict=True)
            ]
            self._blocks.append(_Block(rows, matrix[rows], parts))
            start = rows.stop

    def step(self, gradient: Tensor, skipped: Sequence[bool]) -> None:
        """One update; ``skipped`` (M,) names the rows (whole blocks) that do not take part."""
        if not gradient.shape[1]:
            return
        for block in self._blocks:
            if not skipped[block.rows.start]:
                self._update(block, gradient[block.rows])

    def _update(self, block: _Block, gradient: Tensor) -> None:
        # torch's update wants contiguous tensors: columns apart take part in that of all, and are then put right
        before = [block.matrix.index_select(1, columns) for columns in self._apart]
        usual, *others = block.parts
        usual.update(block.matrix, gradient)
        for columns, values, part in zip(self._apart, before, others, strict=True):
            part.update(values, gradient.index_select(1, columns))
            block.matrix.index_copy_(1, columns, values)

    def select(self, matrix: Tensor, rows: Sequence[int]) -> None:
        """Go on with some of the rows; ``matrix`` holds their parameters (len(rows), P)."""
        block_of = np.repeat(
            np.arange(len(self._blocks)), [block.rows.stop - block.rows.start for block in self._blocks]
        )
        # every block counts its own steps: rows of two blocks stay apart also when what stood between them has left
        settings: list[tuple[tuple[Rates, ...], Hashable]] = [
            (self._settings[row][0], int(block_of[row])) for row in rows
        ]
        steps = [float(self._blocks[block_of[row]].parts[0].steps[0]) for row in rows]
        index = torch.as_tensor(rows)
        self._use(matrix, [(first[index], second[index]) for first, second in self._moments], settings, steps)


class _Part(NamedTuple):
    """State of some columns of a block, in the form in which torch's update takes it."""

    first: list[Tensor]
    second: list[Tensor]
    steps: list[Tensor]
    rates: Rates

    def update(self, values: Tensor, gradient: Tensor) -> None:
        """One step of contiguous values, in place."""
        adamw(
            [values],
            [gradient],
            self.first,
            self.second,
            [],
            self.steps,
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self.rates.learning_rate,
            weight_decay=self.rates.weight_decay,
            eps=1e-8,
            maximize=False,
        )


class _Block(NamedTuple):
    """Neighbouring rows with equal settings."""

    rows: slice
    matrix: Tensor
    parts: list[_Part]
