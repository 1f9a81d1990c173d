"""Parameters, data and optimiser of many networks of one shape, each as one tensor with a leading member axis."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from taskloom.data.order import RowOrder
from taskloom.data.tensors import TaskTensors

__all__ = ["StackedAdamW", "StackedData", "StackedOrders", "StackedParameters"]


class StackedParameters:
    """The trainable parameters of M modules of one shape in one matrix (M, P).

    The optimiser works on rows of the matrix, the forward pass on its views by name.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        trainable = [
            {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
            for module in modules
        ]
        self.shapes = {name: parameter.shape for name, parameter in trainable[0].items()}
        self.sizes = [shape.numel() for shape in self.shapes.values()]
        first = next(iter(trainable[0].values()), torch.zeros(0))
        self.matrix = torch.empty(len(modules), sum(self.sizes), dtype=first.dtype, device=first.device)
        for row, parameters in zip(self.matrix, trainable, strict=True):
            if parameters:
                torch.cat([parameter.detach().reshape(-1) for parameter in parameters.values()], out=row)

    def views(self, vector: Tensor) -> dict[str, Tensor]:
        """Parameters by name, as views of one member's row (P,)."""
        parts = vector.split(self.sizes) if self.sizes else ()
        return {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}

    def flatten(self, gradients: dict[str, Tensor]) -> Tensor:
        """Gradients of one member by name as one vector (P,)."""
        if not self.sizes:
            return self.matrix.new_zeros(0)
        return torch.cat([gradients[name].reshape(-1) for name in self.shapes])

    def row(self, matrix: Tensor, position: int) -> dict[str, Tensor]:
        """One row of a matrix of this layout as parameters by name (copies)."""
        return {name: view.clone() for name, view in self.views(matrix[position]).items()}


def stacked_constants(modules: Sequence[nn.Module]) -> dict[str, Tensor]:
    """Buffers and frozen parameters of M modules by name, (M, ...) each."""

    def constants(module: nn.Module) -> dict[str, Tensor]:
        frozen = {name: p.detach() for name, p in module.named_parameters() if not p.requires_grad}
        return {**frozen, **dict(module.named_buffers())}

    collected = [constants(module) for module in modules]
    return {name: torch.stack([one[name] for one in collected]) for name in collected[0]}


class StackedAdamW:
    """torch's AdamW over the rows of one matrix, with settings per row.

    Rows with equal settings must stand together; each run of them is one block with one call of torch's own update,
    so that the arithmetic is the same whatever the number of members.

    Args:
        matrix: (M, P) parameters, updated in place.
        learning_rates: (M,) learning rate of each row.
        weight_decays: (M,) weight decay of each row.
        keys: (M,) rows with different keys are never in one block (members that may skip a step).
    """

    def __init__(
        self, matrix: Tensor, learning_rates: Sequence[float], weight_decays: Sequence[float], keys: Sequence[Hashable]
    ) -> None:
        settings = zip(learning_rates, weight_decays, keys, strict=True)
        self._use(matrix, torch.zeros_like(matrix), torch.zeros_like(matrix), list(settings), [0.0] * len(matrix))

    def _use(
        self,
        matrix: Tensor,
        first: Tensor,
        second: Tensor,
        settings: list[tuple[float, float, Hashable]],
        steps: Sequence[float],
    ) -> None:
        self._first, self._second, self._settings = first, second, settings
        self._blocks: list[_Block] = []
        start = 0
        for (learning_rate, weight_decay, _), run in groupby(settings):
            stop = start + len(list(run))
            rows = slice(start, stop)
            step = torch.tensor(steps[start])  # torch counts in a float32 tensor
            self._blocks.append(
                _Block(rows, [matrix[rows]], [first[rows]], [second[rows]], [step], learning_rate, weight_decay)
            )
            start = stop

    def step(self, gradient: Tensor, skipped: Sequence[bool]) -> None:
        """One update; ``skipped`` (M,) names the rows (whole blocks) that do not take part."""
        if not gradient.shape[1]:
            return
        for block in self._blocks:
            if not skipped[block.rows.start]:
                adamw(
                    block.parameters,
                    [gradient[block.rows]],
                    block.first,
                    block.second,
                    [],
                    block.steps,
                    fused=True,
                    amsgrad=False,
                    beta1=0.9,
                    beta2=0.999,
                    lr=block.learning_rate,
                    weight_decay=block.weight_decay,
                    eps=1e-8,
                    maximize=False,
                )

    def select(self, matrix: Tensor, rows: Sequence[int]) -> None:
        """Go on with some of the rows; ``matrix`` holds their parameters (len(rows), P)."""
        block_of = np.repeat(
            np.arange(len(self._blocks)), [block.rows.stop - block.rows.start for block in self._blocks]
        )
        # every block counts its own steps: rows of two blocks stay apart also when what stood between them has left
        settings: list[tuple[float, float, Hashable]] = [(*self._settings[row][:2], int(block_of[row])) for row in rows]
        steps = [float(self._blocks[block_of[row]].steps[0]) for row in rows]
        index = torch.as_tensor(rows)
        self._use(matrix, self._first[index], self._second[index], settings, steps)


class _Block(NamedTuple):
    """Neighbouring rows with equal settings, and their state in the form in which torch's update takes it."""

    rows: slice
    parameters: list[Tensor]
    first: list[Tensor]
    second: list[Tensor]
    steps: list[Tensor]
    learning_rate: float
    weight_decay: float


class StackedData:
    """Tensors of several data sets laid end to end, so that one gather serves all members.

    Members that share inputs (seeds with one split, tasks of one table) share their memory here too.
    """

    def __init__(self, sets: Sequence[TaskTensors]) -> None:
        self.per_task = sets[0].per_task
        self.n_tasks = len(sets[0].tasks)
        self.inputs, self._input_base = _lay([one.inputs for one in sets])
        self.targets, self._target_base = _lay([one.targets for one in sets])
        self.mask, _ = _lay([one.mask for one in sets], like=[one.targets for one in sets])

    def gather(self, members: np.ndarray, rows: np.ndarray, real: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs, targets and masks of some members' rows.

        Args:
            members: (m,) which data set each entry of the member axis belongs to.
            rows: (..., m, b) or (..., m, K, b) rows of that data set; the leading axes are steps, for example.
            real: False on padding.

        Returns:
            inputs (..., m, b, d) or (..., m, K, b, d), targets and mask (..., m, b, K) or (..., m, K, b).
        """
        shape = (-1, *[1] * (2 if self.per_task else 1))
        at_inputs = torch.from_numpy(rows + self._input_base[members].reshape(shape))
        at_targets = torch.from_numpy(rows + self._target_base[members].reshape(shape))
        keep = torch.from_numpy(np.ascontiguousarray(real))
        if self.per_task:
            task = torch.arange(self.n_tasks)[:, None]
            return self.inputs[at_inputs], self.targets[at_targets, task], self.mask[at_targets, task] & keep
        return self.inputs[at_inputs], self.targets[at_targets], self.mask[at_targets] & keep[..., None]


def _lay(tensors: Sequence[Tensor], like: Sequence[Tensor] | None = None) -> tuple[Tensor, np.ndarray]:
    """Concatenate the distinct tensors (told apart by ``like``); also the first row of each given one."""
    starts: dict[int, int] = {}
    pieces: list[Tensor] = []
    length = 0
    bases = []
    for tensor, key in zip(tensors, like if like is not None else tensors, strict=True):
        if id(key) not in starts:
            starts[id(key)] = length
            pieces.append(tensor)
            length += len(tensor)
        bases.append(starts[id(key)])
    return (pieces[0] if len(pieces) == 1 else torch.cat(pieces)), np.asarray(bases, dtype=np.int64)


class StackedOrders:
    """Row orders of several members, padded to one number of steps and one width."""

    def __init__(self, orders: Sequence[RowOrder]) -> None:
        positions: dict[int, int] = {}
        self._distinct: list[RowOrder] = []
        self._of_member = np.zeros(len(orders), dtype=np.int64)
        for member, order in enumerate(orders):
            if id(order) not in positions:
                positions[id(order)] = len(self._distinct)
                self._distinct.append(order)
            self._of_member[member] = positions[id(order)]
        self.steps = np.asarray([order.steps for order in orders])
        self.width = max(order.width for order in orders)

    def epoch(self, epoch: int, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows and real slots of some members, (steps, m, width) or (steps, m, K, width)."""
        used, inverse = np.unique(self._of_member[members], return_inverse=True)
        steps = int(self.steps[members].max())
        rows, real = [], []
        for position in used:
            one_rows, one_real = self._distinct[position].epoch(epoch)
            missing = [
                (0, steps - len(one_rows)),
                *[(0, 0)] * (one_rows.ndim - 2),
                (0, self.width - one_rows.shape[-1]),
            ]
            rows.append(np.pad(one_rows, missing, mode="edge"))
            real.append(np.pad(one_real, missing))
        return np.stack(rows, axis=1)[:, inverse], np.stack(real, axis=1)[:, inverse]
