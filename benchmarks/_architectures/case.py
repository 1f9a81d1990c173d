"""What is compared: one architecture of the library and the same equations written the usual way.

A family is a file of this folder with a list of cases:

    CASES = [Case(name="cross-stitch, MLP", make=make_cross_stitch, target=1.3)]

``make(n_tasks)`` builds a :class:`Pair`: two modules with the same weights that map the same inputs to
``{task: tensor}``, one of the library, one with the loops over tasks and experts or encoders that multi-task libraries
usually have. A family takes part once benchmarks/architectures.py imports its list (``FAMILIES`` there).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

__all__ = ["Case", "Pair", "copy_weights"]


@dataclass(frozen=True)
class Pair:
    """Two modules to compare; called as ``module(inputs) -> {task: tensor}`` in training mode.

    Args:
        ours: the model of the library.
        peer: the same equations with loops.
        inputs: one batch.
        agree: whether both hold the same weights, so that their outputs must agree (the run stops if they do not).
        floor: a module that does only what no way of writing can avoid (the encoders, say), timed beside them.
    """

    ours: nn.Module
    peer: nn.Module
    inputs: Any
    agree: bool = True
    floor: nn.Module | None = None


@dataclass(frozen=True)
class Case:
    """One row of the table for each number of tasks.

    Args:
        name: architecture and encoder.
        make: number of tasks -> what is compared; called under a fixed torch seed.
        n_tasks: numbers of tasks.
        target: how many times faster than the peer the library should be; None: no aim.
    """

    name: str
    make: Callable[[int], Pair]
    n_tasks: tuple[int, ...] = (2, 5, 10)
    target: float | None = None


def copy_weights(source: nn.Module, destination: nn.Module, *, names: Mapping[str, str] | None = None) -> None:
    """Give ``destination`` the weights and buffers of ``source``.

    Args:
        source: a part of the library's model.
        destination: the corresponding part of the peer.
        names: name there -> name here, where the two differ; by default all names are equal.
    """
    state: dict[str, Tensor] = source.state_dict()
    if names is not None:
        state = {there: state[here] for there, here in names.items()}
    destination.load_state_dict(state)
