"""Weights from the gradients of the last shared stage alone: the passes end where the stage begins. Not exact."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor, nn

from taskloom.engine._deferred import DeferredRows, one_pass
from taskloom.engine._inputs import read_parameters
from taskloom.engine.base import Cost, GradientEngine, Layout, ParameterRows
from taskloom.engine.layers.engine import LayerEngine
from taskloom.errors import EngineError

__all__ = ["LastStageEngine"]


class LastStageEngine:
    """Inner products of the gradients of some shared parameters, usually the last layers, in place of all. Not exact.

    The K passes go through the heads and the last stage only; how far the weights are from those of all parameters
    depends on the network, and nothing here can tell. The direction is exact for the weights that were found: one
    ordinary backward pass of the weighted sum through everything.

        G_S = J_S J_S^T,   J_S the columns of J that belong to the stage;    d = J^T w(G_S)

    Args:
        stage: a module (all its trainable parameters) or parameters; those that are not shared do not count.
        engine: how the gradients of the stage are measured; default :class:`taskloom.engine.LayerEngine`.

    Raises:
        EngineError: no trainable parameter in the stage.

    Cost:
        K propagations through the stage and one backward pass through everything; memory for K times the stage.

    Distributed:
        gradients are averaged over ranks before products are taken, if the engine inside does that.

    Example:
        >>> import torch
        >>> import taskloom as tl
        >>> first, last = nn.Linear(3, 4), nn.Linear(4, 2)
        >>> z = last(torch.tanh(first(torch.ones(5, 3))))
        >>> losses = {"a": z[:, 0].square().mean(), "b": z[:, 1].square().mean()}
        >>> loss = tl.balance(losses, tl.pcgrad(), shared=[*first.parameters(), *last.parameters()],
        ...                   engine=LastStageEngine(last))
        >>> loss.backward()
        >>> first.weight.grad.shape
        torch.Size([4, 3])
    """

    def __init__(self, stage: Iterable[Tensor] | nn.Module, engine: GradientEngine | None = None) -> None:
        self.stage = tuple(read_parameters(stage))
        self.engine = LayerEngine() if engine is None else engine

    def rows(self, losses: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> DeferredRows:
        """Inner products of the stage's gradients, and the direction of all parameters.

        Raises:
            EngineError: no parameter of the stage is shared, or the graph of the losses was freed.
        """
        rows = self.engine.rows(losses, self._shared_part(parameters))
        shared = {id(parameter) for parameter in parameters}
        known = rows if isinstance(rows, ParameterRows) else None
        heads = {} if known is None else {leaf: own for leaf, own in known.heads.items() if leaf not in shared}
        return DeferredRows(
            rows.gramian(),
            one_pass(losses, parameters),
            layout=Layout(parameters),
            leaves=None if known is None else known.leaves,
            heads=heads,
            measured_by=type(self).__name__,
        )

    def gramian(self, losses: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> Tensor:
        """G_S, shape (K, K)."""
        return self.engine.gramian(losses, self._shared_part(parameters))

    def cost(self, parameters: Sequence[Tensor], n_tasks: int) -> Cost:
        """That of the stage, and one backward pass."""
        inside = self.engine.cost(self._shared_part(parameters), n_tasks)
        return Cost(backward_passes=1, bytes=inside.bytes)

    def _shared_part(self, parameters: Sequence[Tensor]) -> list[Tensor]:
        stage = {id(parameter) for parameter in self.stage}
        chosen = [parameter for parameter in parameters if id(parameter) in stage]
        if not chosen:
            raise EngineError(
                f"LastStageEngine: none of the {len(stage)} parameters of the stage is among the {len(parameters)} "
                "shared parameters; pass the module of the shared part whose gradients are to be looked at, for "
                "example LastStageEngine(encoder.layers[-1])"
            )
        return chosen
