"""Methods of TorchJD as links. TorchJD itself is not imported: objects are recognised by what they can do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from taskloom.balance._entries import present
from taskloom.balance.base import HeadGradient, Link, Need
from taskloom.balance.flow import Flow
from taskloom.errors import BalanceError

__all__ = ["TorchJDAggregator", "TorchJDCrossWeighting", "TorchJDRowWeighting", "TorchJDWeighting", "from_torchjd"]


class _Wrapped(Link):
    """What both kinds of wrapped objects share: they are called outside ``vmap`` and may remember."""

    reduces: ClassVar[bool] = True
    remembers: ClassVar[bool] = True
    head_gradient: ClassVar[HeadGradient | None] = "unweighted"

    def __init__(self, wrapped: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.wrapped = wrapped  # an nn.Module becomes a part, so that it moves and is saved

    def reset(self) -> None:
        reset = getattr(self.wrapped, "reset", None)
        if callable(reset):
            reset()

    @torch.no_grad()
    def call(self, given: Tensor) -> Tensor:
        """What the wrapped object answers."""
        found = self.wrapped(given)
        if not isinstance(found, Tensor) or found.ndim != 1:
            raise BalanceError(f"{self.wrapped!r} returned {found!r}, expected a tensor of one dimension")
        return found

    def __repr__(self) -> str:
        return f"from_torchjd({self.wrapped!r})"


class TorchJDWeighting(_Wrapped):
    """A Weighting on the Gramian (see :func:`from_torchjd`)."""

    needs: ClassVar[Need] = Need.GRAMIAN

    def forward(self, flow: Flow) -> Flow:
        there = present(flow).nonzero().squeeze(1)
        found = self.call(self.looks_at(flow, there))
        if found.shape != there.shape:
            raise BalanceError(
                f"{self.wrapped!r} returned {len(found)} weights for {len(there)} tasks; a Weighting returns one per "
                "task"
            )
        weights = torch.zeros(flow.n_rows, dtype=flow.mix.dtype, device=flow.mix.device)
        weights[there] = found.to(flow.mix)
        return flow.combined(weights)

    def looks_at(self, flow: Flow, there: Tensor) -> Tensor:
        """What the Weighting is called with."""
        return flow.gramian()[there][:, there]


class TorchJDRowWeighting(TorchJDWeighting):
    """A Weighting on the matrix of gradients (see :func:`from_torchjd`)."""

    needs: ClassVar[Need] = Need.ROWS

    def looks_at(self, flow: Flow, there: Tensor) -> Tensor:
        rows = flow.rows()
        return rows[there.to(rows.device)]


class TorchJDCrossWeighting(TorchJDWeighting):
    """A Weighting on products of two batches (see :func:`from_torchjd`)."""

    needs: ClassVar[Need] = Need.CROSS
    n_batches: ClassVar[int] = 2

    def looks_at(self, flow: Flow, there: Tensor) -> Tensor:
        return flow.cross()[there][:, there]


class TorchJDAggregator(_Wrapped):
    """An Aggregator on the gradients themselves (see :func:`from_torchjd`)."""

    needs: ClassVar[Need] = Need.ROWS

    def forward(self, flow: Flow) -> Flow:
        is_there = present(flow)
        rows = flow.rows()
        direction = self.call(rows[is_there.to(rows.device)])
        if direction.shape != rows.shape[1:]:
            raise BalanceError(
                f"{self.wrapped!r} returned {len(direction)} numbers for {rows.shape[1]} shared parameters; an "
                "Aggregator returns one per parameter"
            )
        return flow.combined(is_there, direction=direction.to(rows))


_LINKS: dict[str, type[_Wrapped]] = {
    "gramian": TorchJDWeighting,
    "rows": TorchJDRowWeighting,
    "cross": TorchJDCrossWeighting,
    "direction": TorchJDAggregator,
}


def from_torchjd(method: Any, on: Literal["gramian", "rows", "cross", "direction"] | None = None) -> Link:
    """Link that runs a method of TorchJD: for methods that only that library has, or for comparing with it.

    A method that is a function of the Gramian alone is used as such and needs no gradients kept; any other one gets the
    matrix of gradients. Its randomness and its state are its own.

    Args:
        method: an Aggregator or a Weighting of TorchJD 0.18, for example ``torchjd.aggregation.UPGrad()``; or any
            callable that turns a matrix of gradients (K, P) into a direction (P,).
        on: what it is called with and what it returns. "gramian": J J^T -> weights; "rows": J -> weights; "cross":
            J_1 J_2^T of two independent batches -> weights; "direction": J -> direction. Default: found out from the
            object; an unknown callable is taken to make a direction.

    Returns:
        the link; alone in ``chain(...)`` it is a balancer.

    Raises:
        BalanceError: something that cannot be called, a class instead of an object, an unknown ``on``; in a step, an
            answer of the wrong shape.

    Cost:
        K backward passes through the shared part; K times its parameters in memory; and the method's own.

    Distributed:
        task gradients are averaged over ranks first; random methods must be seeded alike on all ranks.

    Example:
        >>> from taskloom.balance.base import chain
        >>> chain(from_torchjd(lambda jacobian: jacobian.median(dim=0).values)).direction(torch.eye(3))
        tensor([0., 0., 0.])
    """
    if isinstance(method, type) or not callable(method):
        raise BalanceError(
            f"from_torchjd(): expected an Aggregator or a Weighting object, found {method!r}; make one first, for "
            "example torchjd.aggregation.UPGrad()"
        )
    if on is not None and on not in _LINKS:
        raise BalanceError(f"from_torchjd(): on must be one of {tuple(_LINKS)}, found {on!r}")
    if on is None:
        on_gramian = getattr(method, "gramian_weighting", None)  # what aggregators of Gramian methods are made with
        if callable(on_gramian):
            return TorchJDWeighting(on_gramian)
    return _LINKS[on or _statistic(method)](method)


def _statistic(method: Any) -> str:
    """What an object wants to be called with."""
    kinds = {kind.__name__ for kind in type(method).__mro__}
    if "Weighting" not in kinds:
        return "direction"
    if "_GramianWeighting" in kinds:
        return "gramian"
    if kinds & {"MoDoWeighting", "SDMGradWeighting"}:
        return "cross"
    inside = getattr(method, "weighting", None)
    if inside is not None and not hasattr(method, "fn"):  # one that smooths another; a composition looks at rows
        return _statistic(inside)
    return "rows"
