"""Parameters and data of many networks of one shape, each as one tensor with a leading member axis."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from taskloom.data.order import RowOrder
from taskloom.data.tensors import TaskTensors

__all__ = ["StackedData", "StackedOrders", "StackedParameters", "stacked_constants"]


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

    def columns(self, names: Collection[str]) -> Tensor:
        """Columns of the parameters of these names, int64."""
        places = torch.arange(sum(self.sizes)).split(self.sizes) if self.sizes else ()
        found = [place for name, place in zip(self.shapes, places, strict=True) if name in names]
        return torch.cat(found) if found else torch.zeros(0, dtype=torch.int64)

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
