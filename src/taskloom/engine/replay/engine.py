"""What engines that measure by replay have in common: when they do, and what follows from what they find."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from taskloom.engine._deferred import Direction
from taskloom.engine.autograd import explained
from taskloom.engine.base import Cost, ParameterRows, ranks
from taskloom.engine.layers.engine import LayerEngine
from taskloom.engine.layers.graph import Graph
from taskloom.engine.layers.pool import Pool
from taskloom.engine.layers.products import own_precision
from taskloom.engine.layers.proofs import Layer, find_layers
from taskloom.engine.replay.measure import MakePart, Replayed, measure_by_replay

__all__ = ["Approximation", "ReplayEngine"]

_ROOM = 0.1
"""Gap beyond which a replay is not believed, what the estimated error explains not counted. Gaps of rounding are below
0.01."""
_STEPS = 3
"""Steps in a row after which gaps are no chance, where something is drawn at random."""


@dataclass(frozen=True)
class Approximation:
    """How a step was measured by an engine that is not exact.

    Args:
        exact_because: why the step was measured exactly; "" where it was not.
        error: estimated standard error of an inner product over the lengths of its two gradients, the largest of all;
            None where nothing is drawn at random.
        gap: difference of the squared length of the direction and of what the inner products say it is, over the
            square of ``sum_k |w_k| |g_k|``; None before the direction was made.

    Example:
        >>> Approximation(error=0.03).exact_because
        ''
    """

    exact_because: str = ""
    error: float | None = None
    gap: float | None = None


class ReplayEngine:
    """Base of engines that propagate gradients by replay and take the direction from one backward pass.

    A subclass says what it does with a layer (:meth:`part_of`) and what follows (:meth:`products_of`).
    """

    def __init__(self) -> None:
        self.last = Approximation()
        self._exact = LayerEngine()
        self._pool = Pool()
        self._distrusts, self._n_gaps = "", 0

    # -- what subclasses say ----------------------------------------------------------------------------------------

    def choose_precision(self, graph: Graph, layers: Sequence[Layer], own: Tensor) -> torch.dtype | str:
        """Precision of the replay, or why there is to be none.

        Args:
            graph: the graph of the losses.
            layers: its layers.
            own: one of the parameters.
        """
        raise NotImplementedError

    def make_part(self, dtype: torch.dtype, losses: Sequence[Tensor | None]) -> MakePart:
        """What is done with the layers of a step."""
        raise NotImplementedError

    def products_of(self, replayed: Replayed) -> tuple[Tensor, float | None] | str:
        """Inner products (K, K) and their estimated error, or why the step has to be measured exactly."""
        raise NotImplementedError

    # -- the engine -------------------------------------------------------------------------------------------------

    def rows(self, losses: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> ParameterRows:
        """Inner products of task gradients, and the direction once weights are known.

        Raises:
            EngineError: the graph of the losses was freed, or a tensor that it needs was changed in place.
        """
        found = self._measure(losses, parameters)
        if isinstance(found, str):
            self.last = Approximation(exact_because=found)
            return self._exact.rows(losses, parameters)
        replayed, products, error = found
        self.last = Approximation(error=error)
        direction = _watched(replayed.behind.direction, products, self._look_at)
        return replayed.behind.rows(products, direction, type(self).__name__)

    def gramian(self, losses: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> Tensor:
        """G = J J^T, shape (K, K), not exact."""
        return self.rows(losses, parameters).gramian()

    def cost(self, parameters: Sequence[Tensor], n_tasks: int) -> Cost:
        """At most K passes and one more, and K copies of the shared parameters."""
        exact = self._exact.cost(parameters, n_tasks)
        return Cost(backward_passes=exact.backward_passes + 1, bytes=exact.bytes)

    def _measure(
        self, losses: Sequence[Tensor | None], parameters: Sequence[Tensor]
    ) -> tuple[Replayed, Tensor, float | None] | str:
        if self._distrusts:
            return self._distrusts
        if ranks() > 1:
            return "several processes average task gradients before products are taken"
        with explained(), torch.no_grad(), own_precision(parameters[0].device):
            graph = Graph(losses)
            layers, remaining = find_layers(graph, parameters)
            dtype = self.choose_precision(graph, layers, parameters[0])
            if isinstance(dtype, str):
                return dtype
            replayed = measure_by_replay(
                graph,
                losses,
                parameters,
                layers=layers,
                remaining=remaining,
                make_part=self.make_part(dtype, losses),
                dtype=dtype,
                lease=self._pool.lease(),
            )
            if isinstance(replayed, str):
                return replayed
            found = self.products_of(replayed)
        return found if isinstance(found, str) else (replayed, *found)

    def _look_at(self, gap: float) -> None:
        """Compare what was measured with the direction that an ordinary backward pass has made of it."""
        self.last = replace(self.last, gap=gap)
        self._n_gaps = self._n_gaps + 1 if gap > _ROOM + 4 * (self.last.error or 0.0) else 0
        if self._n_gaps < (_STEPS if self.last.error else 1):
            return
        self._distrusts = f"inner products and direction differed by {gap:.0%}"
        warnings.warn(
            f"{type(self).__name__}: the direction is not as long as the inner products of task gradients say (off by "
            f"{gap:.0%}), so they are wrong for this model: a hook on an activation changes gradients, or the "
            "precision is too low. Steps are measured exactly from now on; leave engine= out, or remove the hook",
            RuntimeWarning,
            stacklevel=6,  # in the caller of balance()
        )


def _watched(direction: Direction, products: Tensor, look_at: Callable[[float], None]) -> Direction:
    """A direction whose length is compared with what the inner products say: |J^T w|^2 = w^T G w."""

    def watched(weights: Tensor) -> Sequence[Tensor | None]:
        found = direction(weights)
        norms = [torch.linalg.vector_norm(one.detach()).to(products) for one in found if one is not None]
        own = weights.to(products)
        length = torch.stack(norms).square().sum() if norms else products.new_zeros(())
        whole = (own.abs() @ products.diagonal().clamp(min=0).sqrt()).square()
        if bool(torch.isfinite(length)) and float(whole) > 0:
            look_at(float((length - own @ products @ own).abs() / whole))
        return found

    return watched
