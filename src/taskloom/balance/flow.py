"""What travels along a chain of links: the signals of one step and the mixing matrix that the links build.

A chain starts with the identity matrix, one row per task. Every link replaces it by another matrix whose rows are
combinations of the task gradients, and the last one leaves a single row, the weights:

    M_0 = I,    M_l = A_l M_{l-1},    w = M_L (one row),    d = J^T w

with ``A_l`` (S', S) what link ``l`` decides from ``M_{l-1} G M_{l-1}^T`` and ``M_{l-1} l``. A link therefore never sees
a parameter, and it cannot tell whether a row is a task's own gradient or a combination made before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Flag, auto

import torch
from torch import Tensor

__all__ = ["Combination", "Flow", "Need", "Rows", "Signals"]


class Need(Flag):
    """What a link must be given.

    ``LOSSES`` the loss values; ``GRAMIAN`` the inner products of the task gradients; ``ROWS`` the gradients themselves;
    ``LAST_LAYER`` the inner products of the gradients of the last shared layer alone; ``CROSS`` the inner products
    between the task gradients of independent batches.

    Example:
        >>> Need.GRAMIAN in (Need.LOSSES | Need.GRAMIAN), Need.NOTHING == Need(0)
        (True, True)
    """

    NOTHING = 0
    LOSSES = auto()
    GRAMIAN = auto()
    ROWS = auto()
    LAST_LAYER = auto()
    CROSS = auto()


@dataclass(frozen=True)
class Rows:
    """The task gradients J, one row per task, in blocks of columns that share a dtype and a device.

    Args:
        blocks: matrices of shape (K, P_b); their columns together are the P shared parameters.

    Example:
        >>> rows = Rows((torch.tensor([[3.0, 4.0], [0.0, 1.0]]),))
        >>> rows.gramian()
        tensor([[25.,  4.],
                [ 4.,  1.]], dtype=torch.float64)
    """

    blocks: tuple[Tensor, ...]

    @property
    def n_tasks(self) -> int:
        """Number of rows K."""
        return self.blocks[0].shape[0]

    @property
    def order(self) -> tuple[int, ...] | None:
        """Positions of the parameters in the order of their columns; None where nothing is known of parameters."""
        return None

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.blocks)

    def gramian(self) -> Tensor:
        """J J^T, shape (K, K), accumulated in float64 for K <= 64 (float32 above, and where there is no float64)."""
        total: Tensor | None = None
        for block in self.blocks:
            accurate = torch.float64 if self.n_tasks <= 64 and block.device.type != "mps" else torch.float32
            accurate = torch.promote_types(accurate, block.dtype)
            for columns in block.split(_COLUMNS_AT_ONCE, dim=1):
                wide = columns.to(accurate)
                part = wide @ wide.T  # (K, K)
                total = part if total is None else total + part.to(total)
        assert total is not None
        return (total + total.T) / 2

    def cross(self, other: Rows) -> Tensor:
        """J J'^T, shape (K, K), with the rows of another batch; accumulated as :meth:`gramian`."""
        total: Tensor | None = None
        for block, partner in zip(self.blocks, other.blocks, strict=True):
            accurate = torch.float64 if self.n_tasks <= 64 and block.device.type != "mps" else torch.float32
            accurate = torch.promote_types(accurate, block.dtype)
            halves = (block.split(_COLUMNS_AT_ONCE, dim=1), partner.split(_COLUMNS_AT_ONCE, dim=1))
            for columns, own in zip(*halves, strict=True):
                part = columns.to(accurate) @ own.to(accurate).T  # (K, K)
                total = part if total is None else total + part.to(total)
        assert total is not None
        return total

    def divided(self, factor: float) -> Rows:
        """The rows of losses that are smaller by a factor."""
        return replace(self, blocks=tuple(block / factor for block in self.blocks))

    def combine(self, weights: Tensor) -> tuple[Tensor, ...]:
        """J^T w per block, shapes (P_b,), in the dtype of the block (float32 arithmetic for half precision)."""
        directions = []
        for block in self.blocks:
            accurate = torch.promote_types(block.dtype, torch.float32)
            directions.append((weights.detach().to(block.device, accurate) @ block.to(accurate)).to(block.dtype))
        return tuple(directions)

    def matrix(self) -> Tensor:
        """J as one matrix, shape (K, P), on the device of the first block, in the widest dtype."""
        dtype = self.blocks[0].dtype
        for block in self.blocks[1:]:
            dtype = torch.promote_types(dtype, block.dtype)
        return torch.cat([block.to(self.blocks[0].device, dtype) for block in self.blocks], dim=1)

    def split(self, vector: Tensor) -> tuple[Tensor, ...]:
        """Undo the concatenation of :meth:`matrix` for a vector (P,): one piece per block."""
        pieces = vector.split([block.shape[1] for block in self.blocks])
        return tuple(piece.to(block.device, block.dtype) for piece, block in zip(pieces, self.blocks, strict=True))


_COLUMNS_AT_ONCE = 1 << 18  # columns that are widened to float64 at a time: bounds the extra memory of `gramian`


@dataclass(frozen=True)
class Signals:
    """What was measured at one step. All tensors follow the order of ``tasks``.

    Args:
        tasks: names of the K tasks.
        losses: task losses, shape (K,); 0 for an absent task.
        gramian: G = J J^T, shape (K, K), or None when no link asked for it; zero rows for absent tasks.
        rows: the task gradients, or None when no link asked for them.
        active: bool (K,), False for a task that this batch does not have; None when all are there.
        last_layer: inner products (K, K) of the gradients of the last shared layer, or None.
        cross: inner products J_1 J_2^T (K, K) of the task gradients of two independent batches, or None; ``rows`` and
            ``gramian`` then belong to the batch that the direction is made of. Not symmetric.
        step: number of steps made before this one.
        epoch: number of epochs completed before this one.

    Example:
        >>> Signals(tasks=("a", "b"), losses=torch.ones(2)).n_tasks
        2
    """

    tasks: tuple[str, ...]
    losses: Tensor
    gramian: Tensor | None = None
    rows: Rows | None = None
    active: Tensor | None = None
    last_layer: Tensor | None = None
    cross: Tensor | None = None
    step: int = 0
    epoch: int = 0

    @property
    def n_tasks(self) -> int:
        """Number of tasks K."""
        return len(self.tasks)


@dataclass(frozen=True)
class Flow:
    """The state of a chain between two links. Frozen: a link returns a new one (:meth:`becomes`).

    Args:
        signals: what was measured.
        mix: shape (S, K); every row is a combination of task gradients; starts as the identity.
        penalty: scalar added to the loss (log-variances and the like); starts at 0.
        head: shape (K,); the factor on each loss from links before the first one that mixes tasks. It is what an
            unweighted head sees: the head's own loss as those links have rescaled it.
        is_diagonal: True while every link so far has only rescaled its rows.
        is_start: True before the first link has changed the rows: ``mix`` is the identity.
        draws: uniform random numbers for the link that runs next, or None.
        direction: the finished direction (P,) of a row rule, or None.
        falls_back: bool (), True where the equation of a link has no solution at this step; None if no link has one.

    Example:
        >>> flow = Flow.start(Signals(tasks=("a", "b"), losses=torch.tensor([1.0, 3.0])))
        >>> flow.n_rows, flow.losses()
        (2, tensor([1., 3.]))
    """

    signals: Signals
    mix: Tensor
    penalty: Tensor
    head: Tensor
    is_diagonal: bool = True
    is_start: bool = False
    draws: Tensor | None = None
    direction: Tensor | None = None
    falls_back: Tensor | None = None

    @classmethod
    def start(cls, signals: Signals, draws: Tensor | None = None) -> Flow:
        """The flow before the first link: the identity. Weights are solved in float64 wherever there is a Gramian."""
        losses = signals.losses
        dtype = torch.promote_types(losses.dtype, torch.float32)
        measured = (signals.gramian, signals.rows, signals.last_layer, signals.cross)
        if any(one is not None for one in measured) and losses.device.type != "mps":
            dtype = torch.float64
        return cls(
            signals=signals,
            mix=torch.eye(signals.n_tasks, dtype=dtype, device=losses.device),
            penalty=torch.zeros((), dtype=dtype, device=losses.device),
            head=torch.ones(signals.n_tasks, dtype=dtype, device=losses.device),
            is_start=True,
            draws=draws,
        )

    @property
    def n_rows(self) -> int:
        """Number of rows S of the mixing matrix."""
        return self.mix.shape[0]

    def gramian(self) -> Tensor:
        """M G M^T, shape (S, S), without a graph: what the next link sees."""
        assert self.signals.gramian is not None  # Balancer checks the needs before it starts
        return self._products(self.signals.gramian)

    def last_layer(self) -> Tensor:
        """M G_W M^T, shape (S, S), of the gradients of the last shared layer, without a graph."""
        assert self.signals.last_layer is not None
        return self._products(self.signals.last_layer)

    def cross(self) -> Tensor:
        """M J_1 J_2^T M^T, shape (S, S), of two independent batches, without a graph."""
        assert self.signals.cross is not None
        return self._products(self.signals.cross)

    def _products(self, matrix: Tensor) -> Tensor:
        matrix, mix = matrix.detach().to(self.mix), self.mix.detach()
        return matrix if self.is_start else mix @ matrix @ mix.T

    def losses(self) -> Tensor:
        """M l, shape (S,), without a graph. One number that is not finite makes all of them NaN: nobody learns then."""
        return self.mix.detach() @ self.signals.losses.detach().to(self.mix)

    def rows(self) -> Tensor:
        """M J, shape (S, P), without a graph."""
        assert self.signals.rows is not None
        matrix = self.signals.rows.matrix()
        return matrix if self.is_start else self.mix.detach().to(matrix) @ matrix

    def combined(self, weights: Tensor, *, direction: Tensor | None = None, falls_back: Tensor | None = None) -> Flow:
        """The flow whose rows are combinations of the rows here.

        Args:
            weights: of one combination, shape (S,), or of S' of them, (S', S).
            direction: as in :meth:`becomes`.
            falls_back: as in :meth:`becomes`.
        """
        weights = weights.to(self.mix)
        weights = weights if weights.ndim == 2 else weights.unsqueeze(0)
        mix = weights if self.is_start else weights @ self.mix
        return self.becomes(mix=mix, direction=direction, falls_back=falls_back)

    def becomes(
        self,
        *,
        mix: Tensor,
        penalty: Tensor | None = None,
        head: Tensor | None = None,
        is_diagonal: bool = False,
        direction: Tensor | None = None,
        falls_back: Tensor | None = None,
    ) -> Flow:
        """The flow after a link: a new mixing matrix and, if given, a new penalty, head factor or direction."""
        return replace(
            self,
            mix=mix,
            penalty=self.penalty if penalty is None else penalty,
            head=self.head if head is None else head,
            is_diagonal=is_diagonal,
            is_start=False,
            direction=direction,
            falls_back=self.falls_back if falls_back is None else falls_back,
            draws=None,
        )


@dataclass(frozen=True)
class Combination:
    """What a balancer decides in one step.

    The scalar to minimise is ``(weights * losses).sum() + penalty`` when heads are weighted; with unweighted heads the
    shared parameters get ``J^T weights`` and the heads the gradient of ``(head_weights * losses).sum()``.

    Args:
        weights: w, shape (K,); differentiable in the balancer's own parameters, constant otherwise; 0 where absent.
        head_weights: shape (K,), no graph: the factors of unweighted heads (1 unless a link rescales losses first).
        penalty: scalar, differentiable in the balancer's own parameters.
        direction: d, shape (P,), only from row rules; None means J^T w.
        falls_back: bool (), True where the equation of the method has no solution at this step (Pareto stationary
            points), so that its documented fall-back was taken; None for methods without such an equation.

    Example:
        >>> Combination(torch.ones(2), torch.ones(2), torch.zeros(())).direction is None
        True
    """

    weights: Tensor
    head_weights: Tensor
    penalty: Tensor
    direction: Tensor | None = None
    falls_back: Tensor | None = None


def task_names(tasks: Sequence[object]) -> tuple[str, ...]:
    """Names of tasks given as names or as objects with a ``name``."""
    return tuple(task if isinstance(task, str) else str(task.name) for task in tasks)  # type: ignore[attr-defined]
