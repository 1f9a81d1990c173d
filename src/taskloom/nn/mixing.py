"""Mixing: K networks exchange features, ``y_t = sum_j A_tj x_j``."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn._batching import computes_together
from taskloom.nn._combine import combine, combine_matrices, combine_matrices_one_by_one, combine_one_by_one
from taskloom.nn.cost import layer_macs

__all__ = ["Mixing", "Per"]

Per = Literal["scalar", "channel", "full"]


class Mixing(nn.Module):
    """A unit through which K networks exchange features: K tensors of one shape in, K tensors of that shape out.

    Row t says what network t goes on with; column j says what network j gives. The channels may be split into S equal,
    contiguous subspaces, which are then mixed as if they were networks of their own:

        y_(t,s) = sum_(t',s') A[t S + s, t' S + s'] x_(t',s')

    In evaluation mode rows are computed one by one, so that fewer rows are the same bits.

    Args:
        n_tasks: number of networks K.
        per: ``"scalar"``: A is (K S, K S); ``"channel"``: one number per channel, (K S, K S, C/S); ``"full"``: a matrix
            (C, K C) for each row, that is a 1x1 convolution on the concatenated features. Default ``"scalar"``.
        channels: number of channels C; needed per channel and in full.
        subspaces: number of subspaces S; default 1. In full the matrices cover them, and S must be 1.
        init: starting value of the diagonal, the rest of a row being spread evenly over the others, so that rows sum to
            one; or a matrix (K S, K S) to start from. Default 0.9. A single network starts with the identity.
        dimension: axis of the channels: 1 (default) for (n, D) and images (n, C, height, width), 2 (or -1) for tokens
            (n, N, D).
        norm: number of channels -> normalisation of each row's result; default none.
        act: builds an activation behind that; default none.

    Raises:
        TaskError: a setting outside its range, channels that are missing or do not divide into the subspaces.

    Source:
        I. Misra, A. Shrivastava, A. Gupta, M. Hebert, Cross-stitch Networks for Multi-task Learning, CVPR 2016,
        arXiv:1604.03539; S. Ruder et al., Latent Multi-task Architecture Learning, AAAI 2019, arXiv:1705.08142
        (subspaces); Y. Gao et al., NDDR-CNN, CVPR 2019, arXiv:1801.08297 (matrices).

    Example:
        >>> unit = Mixing(2, init=0.75)
        >>> a, b = unit([torch.zeros(3, 4), torch.ones(3, 4)])
        >>> a[0].tolist(), b[0].tolist()
        ([0.25, 0.25, 0.25, 0.25], [0.75, 0.75, 0.75, 0.75])
    """

    start: Tensor

    def __init__(
        self,
        n_tasks: int,
        *,
        per: Per = "scalar",
        channels: int | None = None,
        subspaces: int = 1,
        init: float | Tensor = 0.9,
        dimension: int = 1,
        norm: Callable[[int], nn.Module] | None = None,
        act: Callable[[], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        _check_settings(n_tasks, per, channels, subspaces)
        self.n_tasks = n_tasks
        self.per = per
        self.channels = channels
        self.subspaces = subspaces
        self.dimension = dimension
        self.norm = norm
        self.act = act
        self.start = _start(n_tasks * subspaces, init)  # what reset_parameters goes back to
        per_row = per == "full"  # these rows are private to their tasks, so each is a parameter of its own
        blocks = self.start.split(1) if per_row else [self.start]
        self.rows = nn.ParameterList([nn.Parameter(self._expanded(block)) for block in blocks])
        finishes = [self._new_finish() for _ in range(n_tasks)] if norm is not None or act is not None else []
        self.finishes = nn.ModuleList(finishes)

    def reset_parameters(self) -> None:
        """Start anew from the initial mixture."""
        with torch.no_grad():
            for block, start in zip(self.rows, self.start.split(self._lengths()), strict=True):
                block.copy_(self._expanded(start))

    @property
    def weight(self) -> Tensor:
        """All rows: (K S, K S), (K S, K S, C/S), or (K, C, K C)."""
        return self.rows[0] if len(self.rows) == 1 else torch.cat(list(self.rows))

    def forward(
        self, features: Sequence[Tensor] | Tensor, rows: Sequence[int] | None = None
    ) -> Sequence[Tensor] | Tensor:
        """Mix.

        Args:
            features: K tensors (n, ...) of one shape, or one tensor (K, n, ...).
            rows: indices of the rows asked for; default all.

        Returns:
            one tensor per row; or one tensor (rows, n, ...), if that is the form of the features.

        Raises:
            TaskError: features with another number of channels.
        """
        if isinstance(features, Tensor) and not self.takes_stacked():
            return torch.stack(self._mixed(features.unbind(0), rows))
        if isinstance(features, Tensor):
            self._axis(features.shape[1:])
            chosen = range(self._n_rows()) if rows is None else rows
            return combine(self._rows_of(chosen), features, dimension=self.dimension)
        return self._mixed(features, rows)

    def takes_stacked(self) -> bool:
        """Whether features in one tensor are mixed without a copy: one weight per network, where work is batched."""
        return self.per == "scalar" and self.subspaces == 1 and not len(self.finishes) and computes_together(self)

    def _mixed(self, features: Sequence[Tensor], rows: Sequence[int] | None) -> list[Tensor]:
        """The rows asked for, of features in a list: one tensor per row."""
        chosen = range(self._n_rows()) if rows is None else rows
        dimension = self._axis(features[0].shape)
        together = computes_together(self)
        if self.per == "full":
            mix = combine_matrices if together else combine_matrices_one_by_one
            mixed = mix([self.rows[row][0] for row in chosen], features, dimension=dimension)
        else:
            pieces = [piece for feature in features for piece in self._split(feature, dimension)]
            combined = (combine if together else combine_one_by_one)(self._rows_of(chosen), pieces, dimension=dimension)
            mixed = self._joined(combined, dimension)
        return [self.finishes[row](part) for row, part in zip(chosen, mixed)] if len(self.finishes) else mixed

    def _axis(self, shape: Sequence[int]) -> int:
        """The axis of the channels, counted from the front; features that do not fit the unit are refused."""
        axis = self.dimension % len(shape)
        found = shape[axis]
        if self.channels is not None and found != self.channels:
            raise TaskError(
                f"a mixing unit for {self.channels} channels found {found} on axis {axis} of features {tuple(shape)}; "
                "give channels= as the stages have them, and dimension=2 for tokens"
            )
        if found % self.subspaces:
            raise TaskError(f"{found} channels do not divide into {self.subspaces} subspaces")
        return axis

    def _split(self, features: Tensor, dimension: int) -> Sequence[Tensor]:
        return features.chunk(self.subspaces, dim=dimension) if self.subspaces > 1 else (features,)

    def _joined(self, combined: Tensor, dimension: int) -> list[Tensor]:
        """Subspaces (n S, B, ...) back into features, n tensors."""
        if self.subspaces > 1:
            by_task = combined.unflatten(0, (-1, self.subspaces)).movedim(1, dimension + 1)
            combined = by_task.flatten(dimension + 1, dimension + 2)  # (n, B, ..., C, ...)
        return list(combined.unbind(0))

    def _rows_of(self, chosen: Sequence[int]) -> Tensor:
        weight = self.weight
        return weight if list(chosen) == list(range(self._n_rows())) else self._flat(self._opened(weight)[list(chosen)])

    def _opened(self, weight: Tensor) -> Tensor:
        """Rows (n, size, K, size, rest): who, its subspace (in full: channel), from whom, its subspace, per channel."""
        size = self._size()
        rest = weight.shape[2] if self.per == "channel" else 1
        return weight.reshape(-1, size, self.n_tasks, size, rest)

    def _flat(self, opened: Tensor) -> Tensor:
        """Back to the form of :attr:`weight`."""
        n_rows, size, n_tasks, _, rest = opened.shape
        if self.per == "full":
            return opened.reshape(n_rows, size, n_tasks * size)
        flat = opened.reshape(n_rows * size, n_tasks * size, rest)
        return flat if self.per == "channel" else flat.squeeze(2)

    def _size(self) -> int:
        """Rows (and columns) of the weights between one network and another: its subspaces, in full its channels."""
        if self.per != "full":
            return self.subspaces
        assert self.channels is not None
        return self.channels

    def _expanded(self, start: Tensor) -> Tensor:
        """Weights that mix like the matrix ``start``."""
        if self.per == "scalar":
            return start.to(torch.get_default_dtype(), copy=True)
        assert self.channels is not None
        if self.per == "channel":
            return start.to(torch.get_default_dtype()).unsqueeze(2).repeat(1, 1, self.channels // self.subspaces)
        identity = torch.eye(self.channels, dtype=start.dtype)
        return torch.kron(start, identity).to(torch.get_default_dtype()).unsqueeze(0)  # (1, C, K C)

    def _new_finish(self) -> nn.Module:
        """What follows the mixture of one row: normalisation and activation."""
        parts: list[nn.Module] = []
        if self.norm is not None:
            assert self.channels is not None
            made = self.norm(self.channels)
            is_batch_norm = isinstance(made, nn.modules.batchnorm._BatchNorm)
            parts.append(_OnAxisOne(made, self.dimension) if is_batch_norm and self.dimension != 1 else made)
        if self.act is not None:
            parts.append(self.act())
        return nn.Sequential(*parts)

    # ---------------------------------------------------------------- who gives to whom

    def _lengths(self) -> list[int]:
        """Number of rows of the matrix ``start`` in each block."""
        return [block.shape[0] for block in self.rows]

    def _n_rows(self) -> int:
        return self.start.shape[0] // self.subspaces

    def blocks(self) -> list[tuple[nn.Parameter, range]]:
        """The parameters of the mixture, each with the networks whose rows it holds."""
        found, first = [], 0
        for block, length in zip(self.rows, self._lengths(), strict=True):
            n_rows = length // self.subspaces
            found.append((block, range(first, first + n_rows)))
            first += n_rows
        return found

    def strengths(self, block: Tensor | None = None) -> Tensor:
        """Largest absolute weight with which each row (of a block) uses each network, (n, K)."""
        return self._opened(self.weight if block is None else block).detach().abs().amax((1, 3, 4))

    def used(self, tolerance: float = 0.0) -> list[list[bool]]:
        """Which row uses which network with a weight beyond the tolerance."""
        found: list[list[bool]] = (self.strengths() > tolerance).tolist()
        return found

    def may_use(self) -> list[list[bool]]:
        """Which row uses or can learn to use which network: all but zeros that are frozen."""
        found: list[list[bool]] = []
        for block, rows in self.blocks():
            if block.requires_grad:
                found += [[True] * self.n_tasks for _ in rows]
            else:
                found += (self.strengths(block) > 0).tolist()
        return found

    def average(self) -> Tensor:
        """Weight that each row gives to a channel of each network in the same channel, mean over channels, (n, K)."""
        return self._opened(self.weight.detach()).diagonal(dim1=1, dim2=3).mean((2, 3))

    def only(self, rows: Sequence[int], columns: Sequence[int]) -> Self:
        """A copy with some rows, which reads some networks; the others' weights are dropped."""
        other = copy.deepcopy(self)
        other.n_tasks = len(columns)
        other.start = _submatrix(self.start, rows, columns=columns, size=self.subspaces)
        values = self._flat(self._opened(self.weight.detach())[list(rows)][:, :, list(columns)])
        blocks = values.split(1 if self.per == "full" else len(values))
        other.rows = nn.ParameterList([nn.Parameter(block.clone()) for block in blocks])
        if len(self.finishes):
            other.finishes = nn.ModuleList(other.finishes[row] for row in rows)
        return other

    def add_task(self) -> None:
        """One more network, in place: its row reads itself alone, and no other row reads it.

        The new row joins the last block of rows if that still learns; rows that are frozen stay so, and with them the
        zeros with which they read the new network.
        """
        self.start = torch.block_diag(self.start, torch.eye(self.subspaces, dtype=self.start.dtype))
        self.n_tasks += 1
        reading = 2 if self.per == "full" else 1  # the axis that says who is read
        blocks = [_padded(block, self._size(), axis=reading) for block in self.rows]
        row = self._expanded(self.start[-self.subspaces :]).to(blocks[0])
        if self.per != "full" and blocks[-1].requires_grad:
            blocks[-1] = nn.Parameter(torch.cat([blocks[-1].detach(), row]))
        else:
            blocks.append(nn.Parameter(row))
        self.rows = nn.ParameterList(blocks)
        if len(self.finishes):
            self.finishes.append(self._new_finish().to(row))

    def forget(self, *, row: int | None = None, column: int | None = None) -> None:
        """Drop a row, or what all rows read of a network, in place."""
        size, n_rows = self.subspaces, self._n_rows()
        columns = [index for index in range(self.n_tasks) if index != column]
        kept = [index for index in range(n_rows) if index != row]
        blocks = []
        for block, rows in self.blocks():
            own = [index - rows.start for index in rows if index != row]
            if own:
                values = self._flat(self._opened(block.detach())[own][:, :, columns])
                blocks.append(nn.Parameter(values, requires_grad=block.requires_grad))
        self.start = _submatrix(self.start, kept, columns=columns, size=size)
        self.rows = nn.ParameterList(blocks)
        self.n_tasks = len(columns)
        if row is not None and len(self.finishes):
            del self.finishes[row]

    def extra_repr(self) -> str:
        return f"{self.n_tasks}, per={self.per!r}, channels={self.channels}, subspaces={self.subspaces}"


@layer_macs.register
def _mixing_macs(layer: Mixing, inputs: tuple[Any, ...], *, output: Any) -> int:
    """One product per element that is written and network (and subspace, or channel) that is read."""
    written = output.numel() if isinstance(output, Tensor) else sum(part.numel() for part in output)
    per_network = layer.channels or 1 if layer.per == "full" else layer.subspaces
    return int(written) * layer.n_tasks * per_network


def _check_settings(n_tasks: int, per: str, channels: int | None, subspaces: int) -> None:
    if n_tasks < 1 or subspaces < 1:
        raise TaskError(f"a mixing unit needs 1 or more networks and subspaces, found {n_tasks} and {subspaces}")
    if per not in ("scalar", "channel", "full"):
        raise TaskError(f"per must be 'scalar', 'channel' or 'full', found {per!r}")
    if per != "scalar" and channels is None:
        raise TaskError(f"a mixing unit per={per!r} needs the number of channels; give channels=")
    if per == "full" and subspaces > 1:
        raise TaskError(f"per='full' mixes every channel with every other; leave subspaces out (found {subspaces})")
    if channels is not None and (channels < 1 or channels % subspaces):
        raise TaskError(f"{channels} channels do not divide into {subspaces} subspaces")


def _start(size: int, init: float | Tensor) -> Tensor:
    """The matrix to start from, in float64."""
    if isinstance(init, Tensor):
        if init.shape != (size, size):
            raise TaskError(f"init must be a number or a matrix {(size, size)}, found {tuple(init.shape)}")
        return init.detach().double().clone()
    if size == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    spread = (1.0 - init) / (size - 1)
    return torch.full((size, size), spread, dtype=torch.float64).fill_diagonal_(init)


def _submatrix(weight: Tensor, rows: Sequence[int], *, columns: Sequence[int], size: int) -> Tensor:
    """Blocks of ``size`` x ``size`` of a matrix, copied; further axes stay."""
    row_index = torch.tensor([row * size + k for row in rows for k in range(size)], device=weight.device)
    column_index = torch.tensor([column * size + k for column in columns for k in range(size)], device=weight.device)
    return weight[row_index[:, None], column_index]


def _padded(block: nn.Parameter, width: int, *, axis: int) -> nn.Parameter:
    """A block of weights with more zeros at the end of an axis."""
    shape = list(block.shape)
    shape[axis] = width
    padded = torch.cat([block.detach(), block.new_zeros(shape)], dim=axis)
    return nn.Parameter(padded, requires_grad=block.requires_grad)


class _OnAxisOne(nn.Module):
    """Batch normalisation, which counts channels on axis 1, for features that have them elsewhere."""

    def __init__(self, norm: nn.Module, dimension: int) -> None:
        super().__init__()
        self.norm = norm
        self.dimension = dimension

    def forward(self, features: Tensor) -> Tensor:
        moved: Tensor = self.norm(features.movedim(self.dimension, 1))
        return moved.movedim(1, self.dimension)
