"""The fork: the seam between the shared part of a network and the part of one task.

A fork is the identity in the forward pass. In the backward pass it multiplies the gradient of its task by a number,
the gate, that may still be set after the forward pass. One ordinary backward pass then gives every head its own
gradient and the shared part the weighted sum:

    d/dtheta = sum_k gate_k (dz/dtheta)^T dl_k/dz,    d/dphi_k = dl_k/dphi_k

A gate is a tensor that is read when the backward pass reaches it, so that nothing waits for the host. Forks cost
nothing unless they are asked for: outside :func:`gates` a fork returns its argument.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from taskloom.errors import EngineError, nearest

__all__ = ["Gate", "Gates", "fork", "forks_are_open", "gates"]


class Gate:
    """The factor of one task's gradient at a fork; None leaves the gradient as it is."""

    __slots__ = ("task", "weight")

    def __init__(self, task: str) -> None:
        self.task = task
        self.weight: Tensor | float | None = None


class Gates:
    """The gates of one forward pass, by task.

    Example:
        >>> opened = Gates()
        >>> opened.of("a") is opened.of("a")
        True
    """

    def __init__(self) -> None:
        self._gates: dict[str, Gate] = {}
        # whoever has compiled anything has this module loaded; loading it takes seconds
        self.mark = _marked_untraced() if "torch._dynamo" in sys.modules else _marked

    def of(self, task: str) -> Gate:
        """The gate of a task; made when it is first asked for."""
        return self._gates.setdefault(task, Gate(task))

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks that have a gate."""
        return tuple(self._gates)

    def set(self, weights: Mapping[str, Tensor | float]) -> None:
        """Set the factors; tasks that are not named keep theirs.

        Raises:
            EngineError: no fork of the forward pass has this task.
        """
        for task, weight in weights.items():
            if task not in self._gates:
                raise EngineError(f"no fork was passed for the task {task!r}.{nearest(task, self._gates)}")
            self._gates[task].weight = weight


_OPEN: ContextVar[Gates | None] = ContextVar("open gates", default=None)
# contexts that are open in any thread: compilers can look at a number, but not at a context variable
_N_OPEN = 0
_COUNTING = Lock()


def _opened() -> Gates | None:
    """The gates that record a forward pass now."""
    return None if _N_OPEN == 0 else _OPEN.get()


def _count(change: int) -> None:
    global _N_OPEN
    with _COUNTING:
        _N_OPEN += change


class _Fork(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(features: Tensor, gate: Gate) -> Tensor:
        return features.view_as(features)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Gate], output: Tensor) -> None:
        ctx.gate = inputs[1]  # the engine finds the gates of a graph by this attribute

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        weight = ctx.gate.weight
        if weight is None:
            return gradient, None
        if isinstance(weight, Tensor):
            weight = weight.to(gradient.device, gradient.dtype)
        return gradient * weight, None


def _marked(features: Tensor, gate: Gate) -> Tensor:
    result: Tensor = _Fork.apply(features, gate)  # type: ignore[no-untyped-call]
    return result


@cache
def _marked_untraced() -> Callable[[Tensor, Gate], Tensor]:
    """The same in a compiled network: compilers would read the gate when they trace, and never again."""
    untraced: Callable[[Tensor, Gate], Tensor] = torch.compiler.disable(_marked)
    return untraced


def forks_are_open() -> bool:
    """Whether a forward pass now is recorded by :func:`gates`; otherwise a fork returns its argument.

    Architectures that can compute tasks together, except where each has forks of its own, ask for it.

    Example:
        >>> with gates():
        ...     forks_are_open()
        True
    """
    return _opened() is not None


def fork(z: Tensor, task: str) -> Tensor:
    """Mark where the shared part ends and the part of one task begins.

    Call it in an architecture with a cut, once per task. It returns its argument; inside :func:`gates` it returns a
    view whose gradient is multiplied by the gate of the task.

    Args:
        z: features, any shape. What is no tensor passes unchanged.
        task: name of the task that reads the result.

    Returns:
        the same values.

    Example:
        >>> z = torch.ones(2, requires_grad=True)
        >>> with gates() as opened:
        ...     a, b = fork(z, "a").sum(), fork(z, "b").sum()
        >>> opened.set({"a": 10.0})
        >>> (a + b).backward()
        >>> z.grad
        tensor([11., 11.])
    """
    opened = _opened()
    return z if opened is None or not isinstance(z, Tensor) else opened.mark(z, opened.of(task))


@contextmanager
def gates(model: nn.Module | None = None, weights: Mapping[str, Tensor | float] | None = None) -> Iterator[Gates]:
    """Record the forks of the forward passes inside, so that their gates can be set before the backward pass.

    Args:
        model: checked to have a cut; without one its forks, if any, do not separate shared from task parameters.
        weights: factors to begin with, task -> number; default: all 1.

    Yields:
        the gates; :meth:`Gates.set` works after the context has ended, until the backward pass.

    Raises:
        EngineError: the model has no cut.

    Example:
        >>> z = torch.ones((), requires_grad=True)
        >>> with gates(weights={"a": 0.5}):
        ...     fork(z, "a").backward()
        >>> z.grad
        tensor(0.5000)
    """
    if model is not None and not getattr(model, "has_cut", True):
        raise EngineError(
            f"{type(model).__name__} has no cut: no feature tensor separates its shared parameters from those of the "
            "tasks, so gates cannot weigh them apart. Use taskloom.balance without gates"
        )
    opened = Gates()
    for task in _names(weights):
        opened.of(task)
    opened.set(weights or {})
    token = _OPEN.set(opened)
    _count(1)
    try:
        yield opened
    finally:
        _count(-1)
        _OPEN.reset(token)


def _names(weights: Mapping[str, Tensor | float] | None) -> Iterable[str]:
    return () if weights is None else weights
