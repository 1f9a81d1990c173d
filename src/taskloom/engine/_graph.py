"""Reading the autograd graph of the losses: which leaves it reaches, and which forks lie on the way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

__all__ = ["Reached", "reached_by"]


@dataclass(frozen=True)
class Reached:
    """What a walk from some losses found.

    Args:
        leaves: tensors that would receive a gradient, in the order in which they were found.
        gates: gates of the forks on the way (:mod:`taskloom.nn.fork`).
        forks: nodes of these forks in the graph.
    """

    leaves: tuple[Tensor, ...]
    gates: tuple[Any, ...]
    forks: tuple[Any, ...] = ()


def reached_by(losses: Iterable[Tensor], *, stop_at_forks: bool = False) -> Reached:
    """Walk the graph from the losses towards the leaves; each node is visited once."""
    leaves: dict[int, Tensor] = {}
    gates: dict[int, Any] = {}
    forks: list[Any] = []
    seen: set[Any] = set()
    waiting = [loss.grad_fn for loss in losses]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)  # only the nodes that accumulate gradients have one
        if leaf is not None:
            leaves.setdefault(id(leaf), leaf)
            continue
        gate = getattr(node, "gate", None)
        if gate is not None and hasattr(gate, "weight") and hasattr(gate, "task"):
            gates.setdefault(id(gate), gate)
            forks.append(node)
            if stop_at_forks:
                continue
        waiting.extend(following for following, _ in node.next_functions)
    return Reached(tuple(leaves.values()), tuple(gates.values()), tuple(forks))
