"""Task gradients in bfloat16, the direction in full precision: not exact, half the time and less where it is quick."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from taskloom.engine.layers.graph import Graph
from taskloom.engine.layers.proofs import Layer
from taskloom.engine.replay.engine import ReplayEngine
from taskloom.engine.replay.measure import MakePart, Replayed
from taskloom.engine.replay.parts import rounded_part
from taskloom.engine.replay.precision import no_gain, quick_precision, read_precision

__all__ = ["LowPrecisionEngine"]


class LowPrecisionEngine(ReplayEngine):
    """Inner products of task gradients that are propagated in bfloat16. Not exact; the direction is.

    The forward pass stays as it is. What the K propagations through the shared part multiply with is read from its
    graph and rounded, the propagations run in bfloat16, and products are added up in float32 and float64. Once the
    weights are known, the direction is one ordinary backward pass in the precision of the network.

        G' = G (1 + about 2^-8 at random),    d = J^T w(G')

    On networks of the benchmarks entries of G' are off by 0.0002 to 0.005 of the lengths of their gradients
    (``benchmarks/approximate.py``). The squared length of every direction is compared with ``w^T G' w``
    (``engine.last.gap``): a gap that rounding does not explain warns, and steps are measured exactly from then on.

    Steps are measured exactly, by :class:`taskloom.engine.LayerEngine`, where that is no slower or nothing else is
    possible: no instructions for bfloat16, several processes, tasks that do not meet in common features or have rows of
    their own, custom autograd functions, checkpointing. ``engine.last.exact_because`` says why.

    Args:
        precision: precision of the propagations; default bfloat16 where the device is quicker in it (NVIDIA from
            compute capability 8.0, processors with AVX-512 BF16 or AMX), and exact measurements elsewhere.

    Attributes:
        last: how the last step was measured (:class:`Approximation`).

    Raises:
        EngineError: a precision that is no floating point type, or float16.

    Cost:
        K propagations in bfloat16 and one ordinary backward pass; K gradients of the shared parameters in memory, and
        the factors of the propagations, half of the activations.

    Distributed:
        with a process group steps are measured exactly, one backward pass per task.

    Example:
        >>> import taskloom as tl
        >>> encoder = torch.nn.Linear(3, 4)
        >>> z = encoder(torch.ones(8, 3))
        >>> losses = {"a": z[:, 0].square().mean(), "b": (z[:, 0] - 1).square().mean()}
        >>> loss = tl.balance(losses, tl.pcgrad(), shared=encoder, engine=LowPrecisionEngine())
        >>> loss.backward()
    """

    def __init__(self, precision: torch.dtype | None = None) -> None:
        super().__init__()
        self.precision = read_precision(type(self).__name__, precision)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'' if self.precision is None else self.precision})"

    def choose_precision(self, graph: Graph, layers: Sequence[Layer], own: Tensor) -> torch.dtype | str:
        """bfloat16 where it is quick."""
        if self.precision is not None:
            return self.precision
        return no_gain(graph, layers) or quick_precision(own.device) or "bfloat16 is not quicker on this device"

    def make_part(self, dtype: torch.dtype, losses: Sequence[Tensor | None]) -> MakePart:
        """The exact rules, on gradients that are rounded."""
        return partial(rounded_part, dtype=dtype)

    def products_of(self, replayed: Replayed) -> tuple[Tensor, float | None]:
        """Products of all parts."""
        return replayed.added_up([part.gramian() for part in replayed.parts]), None
