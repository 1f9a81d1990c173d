"""Task gradients of which random projections are compared: not exact, with an error estimate in every step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from taskloom._rng import torch_stream
from taskloom.engine.layers.graph import Graph
from taskloom.engine.layers.part import Part
from taskloom.engine.layers.pool import Lease
from taskloom.engine.layers.proofs import Layer
from taskloom.engine.replay.engine import ReplayEngine
from taskloom.engine.replay.measure import MakePart, Replayed
from taskloom.engine.replay.parts import sketched_part
from taskloom.engine.replay.precision import no_gain, quick_precision, read_precision
from taskloom.engine.replay.sketched import SketchPart
from taskloom.errors import EngineError

__all__ = ["SketchedEngine"]

_PATIENCE = 64
"""Steps after which fewer columns are tried again."""


class SketchedEngine(ReplayEngine):
    """Inner products of task gradients, estimated from projected layer inputs. Not exact; the direction is.

    The inputs A of every wide layer are projected to r numbers before the K weight gradients are formed, and the
    gradients are propagated as in :class:`LowPrecisionEngine`. The estimate is unbiased but for the rounding of the
    propagations, new in every step, and knows its error:

        G'_jk = sum over layers of <(A S)^T D_j, (A S)^T D_k>,    S (i, r) with mean S S^T = 1

    A inputs (N, i), D_k output gradients of task k. Half of the columns of S span the strongest directions of the
    inputs, the others are random. The direction is one ordinary backward pass of the weighted sum.

    A step whose estimated error exceeds the tolerance is measured exactly after all, by
    :class:`taskloom.engine.LayerEngine`, and the following ones have twice the columns until fewer are enough. For
    what else is measured exactly see :class:`LowPrecisionEngine`.

    Args:
        size: number r of columns; default 32: on a transformer of width 128 with 10 tasks weights of MGDA, PCGrad,
            CAGrad, Nash-MTL, UPGrad and Aligned-MTL are then within 3 % (``benchmarks/approximate.py``). The error
            falls as one over the root of r.
        tolerance: largest standard error of an inner product, over the lengths of its two gradients, that is accepted;
            default 0.1, None for any.
        precision: precision of the propagations; default bfloat16 where the device is quicker in it, else that of the
            parameters.
        seed: seed of the projections, which also depend on the values of the losses: a step that is repeated is
            estimated alike.

    Attributes:
        last: how the last step was measured (:class:`Approximation`), with the estimated error.

    Raises:
        EngineError: fewer than 4 columns, a tolerance that is not positive, or a precision that is no floating point
            type or float16.

    Cost:
        K propagations in bfloat16 and one ordinary backward pass, r/i of the K weight gradients; K r o numbers per
        layer of o outputs, and the factors of the propagations in memory.

    Distributed:
        with a process group steps are measured exactly, one backward pass per task.

    Example:
        >>> import taskloom as tl
        >>> encoder = torch.nn.Linear(64, 8)
        >>> z = encoder(torch.randn(128, 64))
        >>> losses = {"a": z[:, 0].square().mean(), "b": (z[:, 0] - 1).square().mean()}
        >>> engine = SketchedEngine()
        >>> loss = tl.balance(losses, tl.mgda(), shared=encoder, engine=engine)
        >>> loss.backward()
    """

    def __init__(
        self,
        size: int = 32,
        *,
        tolerance: float | None = 0.1,
        precision: torch.dtype | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if isinstance(size, bool) or not isinstance(size, int) or size < 4:
            raise EngineError(f"SketchedEngine: size must be a whole number of columns >= 4, found {size!r}")
        if tolerance is not None and not tolerance > 0:
            raise EngineError(f"SketchedEngine: tolerance must be a number above 0, or None, found {tolerance!r}")
        self.size, self.tolerance, self.seed = size, tolerance, seed
        self.precision = read_precision(type(self).__name__, precision)
        self._size_now, self._changed_at = size, 0
        self._n_steps = 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.size}, tolerance={self.tolerance}, seed={self.seed})"

    def choose_precision(self, graph: Graph, layers: Sequence[Layer], own: Tensor) -> torch.dtype | str:
        """bfloat16 where it is quick, else that of the parameters."""
        if self.precision is not None:
            return self.precision
        return no_gain(graph, layers) or quick_precision(own.device) or own.dtype

    def make_part(self, dtype: torch.dtype, losses: Sequence[Tensor | None]) -> MakePart:
        """Projections of this step's own random numbers."""
        # told apart by the losses, not by a counter, so that a training that is continued draws what it would have
        values = torch.stack([one.detach().double().cpu() for one in losses if one is not None])
        generator = torch_stream(self.seed, "gramian sketch", *values.view(torch.int64).tolist())
        size = self._size_now
        self._n_steps += 1

        def make(layer: Layer, n_tasks: int, lease: Lease) -> Part:
            return sketched_part(layer, n_tasks, lease, size=size, generator=generator, dtype=dtype)

        return make

    def products_of(self, replayed: Replayed) -> tuple[Tensor, float | None] | str:
        """Products and their error; the reason to measure exactly where it is too large."""
        found, spread = [], None
        for part in replayed.parts:
            if isinstance(part, SketchPart):
                products, variance = part.gramian_and_variance()
                spread = variance if spread is None else spread + variance.to(spread.device)
                found.append(products)
            else:
                found.append(part.gramian())
        whole = replayed.added_up(found)
        if spread is None:
            return self._judged(whole, 0.0)
        lengths = whole.diagonal()[list(replayed.behind.tasks)].clamp(min=0).sqrt().to(spread)
        scale = (lengths[:, None] * lengths).clamp(min=torch.finfo(spread.dtype).tiny)
        error = float((spread.clamp(min=0).sqrt() / scale).max())
        return self._judged(whole, error)

    def _judged(self, products: Tensor, error: float) -> tuple[Tensor, float | None] | str:
        if self.tolerance is None:
            return products, error
        if error > self.tolerance:
            self._size_now, self._changed_at = 2 * self._size_now, self._n_steps
            return f"the estimated error {error:.3f} exceeds the tolerance {self.tolerance:g}"
        if error < self.tolerance / 4 and self._n_steps >= self._changed_at + _PATIENCE:
            self._size_now, self._changed_at = max(self.size, self._size_now // 2), self._n_steps
        return products, error
