"""Measure what a balancer needs to see of one step: rows, Gramian, last layer, products of independent batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from taskloom.balance.flow import Need, Rows
from taskloom.engine._step import StepLosses
from taskloom.engine.base import GradientEngine

__all__ = ["Measured", "measure_step"]


@dataclass(frozen=True)
class Measured:
    """What was measured; None for what nobody asked for.

    Args:
        rows: the task gradients that the step is made of.
        gramian: their inner products, shape (K, K).
        last_layer: inner products of the gradients of the last shared layer, (K, K).
        cross: inner products between the gradients of two independent batches, (K, K).
    """

    rows: Rows | None = None
    gramian: Tensor | None = None
    last_layer: Tensor | None = None
    cross: Tensor | None = None

    def matrices(self) -> list[Tensor]:
        """The measured matrices (K, K)."""
        return [one for one in (self.gramian, self.last_layer, self.cross) if one is not None]


def measure_step(
    needs: Need,
    step: StepLosses,
    batches: Sequence[StepLosses],
    parameters: Sequence[Tensor],
    last_layer: Sequence[Tensor],
    engine: GradientEngine,
    scale: float,
) -> Measured:
    """Measure what is needed and nothing else.

    Args:
        needs: what the balancer looks at in this step.
        step: the losses that the step is made of.
        batches: the losses of its independent batches; the first two are compared.
        parameters: the shared parameters.
        last_layer: those of the last shared layer.
        engine: measures task gradients.
        scale: factor on the losses while their gradients are taken (against underflow in half precision).
    """
    rows = gramian = last = cross = None
    if needs & (Need.GRAMIAN | Need.ROWS):
        rows = _scaled(engine, step, parameters, scale)
        gramian = rows.gramian()
    if needs & Need.LAST_LAYER:
        last = _scaled(engine, step, last_layer, scale).gramian()
    if needs & Need.CROSS:
        first, second = (
            _scaled(engine, batch, parameters, scale) for batch in (batches[0], batches[min(1, len(batches) - 1)])
        )
        cross = first.cross(second)
    return Measured(rows, gramian, last, cross)


def _scaled(engine: GradientEngine, step: StepLosses, parameters: Sequence[Tensor], scale: float) -> Rows:
    if scale == 1.0:
        return engine.rows(step.local, parameters)
    rows = engine.rows([None if loss is None else loss * scale for loss in step.local], parameters)
    return rows.divided(scale)
