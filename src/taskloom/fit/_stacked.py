"""Parameters, data and optimiser of many networks of one shape, each as one tensor with a leading member axis."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import groupby

import numpy as np
import torch
from torch import Tensor, nn

from taskloom.data.order import RowOrder
from taskloom.data.tensors import TaskTensors

__all__ = ["StackedAdamW", "StackedData", "StackedOrders", "StackedParameters"]


class StackedParameters:
    """The trainable parameters of M modules of one shape in one matrix (M, P).

    ``views`` gives them back by name, (M, ...) each, sharing the matrix's memory: the optimiser works on rows of
    the matrix, the forward pass on the views.
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

    def views(self, rows: slice = slice(None)) -> dict[str, Tensor]:
        """Parameters by name, (M, ...), as views of the matrix."""
        parts = self.matrix[rows].split(self.sizes, dim=1)
        return {
            name: part.unflatten(1, shape) if shape else part.squeeze(1)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def flatten(self, gradients: dict[str, Tensor]) -> Tensor:
        """Gradients by name as one matrix (M, P)."""
        return torch.cat([gradients[name].reshape(len(self.matrix), -1) for name in self.shapes], dim=1)

    def row(self, matrix: Tensor, position: int) -> dict[str, Tensor]:
        """One row of a matrix of this layout as parameters by name (copies)."""
        parts = matrix[position].split(self.sizes)
        return {
            name: part.reshape(shape).clone() for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }


def stacked_constants(modules: Sequence[nn.Module]) -> dict[str, Tensor]:
    """Buffers and frozen parameters of M modules by name, (M, ...) each."""

    def constants(module: nn.Module) -> dict[str, Tensor]:
        frozen = {name: p.detach() for name, p in module.named_parameters() if not p.requires_grad}
        return {**frozen, **dict(module.named_buffers())}

    collected = [constants(module) for module in modules]
    return {name: torch.stack([one[name] for one in collected]) for name in collected[0]}


class StackedAdamW:
    """torch's AdamW over the rows of one matrix, with settings per row.

    Rows with equal settings must stand together; each run of them is one parameter group, so that the arithmetic
    is torch's own, whatever the number of members.

    Args:
        matrix: (M, P) parameters, updated in place.
        learning_rates: (M,) learning rate of each row.
        weight_decays: (M,) weight decay of each row.
        keys: (M,) rows with different keys are never in one group (members that may skip a step).
    """

    def __init__(
        self, matrix: Tensor, learning_rates: Sequence[float], weight_decays: Sequence[float], keys: Sequence[Hashable]
    ) -> None:
        self._settings: list[tuple[float, float, Hashable]] = list(
            zip(learning_rates, weight_decays, keys, strict=True)
        )
        self._build(matrix)

    def _build(self, matrix: Tensor) -> None:
        self.blocks: list[slice] = []
        groups, start = [], 0
        for (learning_rate, weight_decay, _), run in groupby(self._settings):
            length = len(list(run))
            block = slice(start, start + length)
            start += length
            self.blocks.append(block)
            groups.append({"params": [nn.Parameter(matrix[block])], "lr": learning_rate, "weight_decay": weight_decay})
        self._optimiser = torch.optim.AdamW(groups, fused=True) if matrix.numel() else None

    def step(self, gradient: Tensor, skipped: Sequence[bool]) -> None:
        """One update; ``skipped`` (M,) names the rows (whole blocks) that do not take part."""
        if self._optimiser is None:
            return
        for block, group in zip(self.blocks, self._optimiser.param_groups, strict=True):
            group["params"][0].grad = None if skipped[block.start] else gradient[block]
        self._optimiser.step()

    def select(self, matrix: Tensor, rows: Sequence[int]) -> None:
        """Go on with some of the rows; ``matrix`` holds their parameters (len(rows), P)."""
        old = self._optimiser
        old_blocks = self.blocks
        block_of = np.repeat(np.arange(len(old_blocks)), [block.stop - block.start for block in old_blocks])
        # every block counts its own steps: rows of two blocks stay apart also when what stood between them has left
        self._settings = [(*self._settings[row][:2], int(block_of[row])) for row in rows]
        self._build(matrix)
        if old is None or self._optimiser is None:
            return
        for block, group in zip(self.blocks, self._optimiser.param_groups, strict=True):
            chosen = list(rows[block])
            before = int(block_of[chosen[0]])
            origin = old_blocks[before].start
            state = old.state.get(old.param_groups[before]["params"][0], {})
            if state:
                index = torch.as_tensor([row - origin for row in chosen])
                self._optimiser.state[group["params"][0]] = {
                    "step": state["step"].clone(),
                    "exp_avg": state["exp_avg"][index],
                    "exp_avg_sq": state["exp_avg_sq"][index],
                }


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
            members: (m,) which data set each leading entry belongs to.
            rows: (m, b) or (m, K, b) rows of that data set.
            real: False on padding.

        Returns:
            inputs (m, b, ...) or (m, K, b, ...), targets and mask (m, b, K) or (m, K, b).
        """
        shape = (-1, *[1] * (rows.ndim - 1))
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
        """Rows and real slots of some members, (m, steps, width) or (m, steps, K, width)."""
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
        return np.stack(rows)[inverse], np.stack(real)[inverse]
