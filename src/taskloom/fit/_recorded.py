"""A function over many networks that is recorded once it has been called often enough to repay it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch.func import vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

__all__ = ["OverMembers"]

# Recording costs about as much as 100 ordinary calls and halves the cost of what follows; a training that has made this
# many steps usually makes hundreds.
_CALLS_BEFORE_RECORDING = 40


class OverMembers:
    """``torch.func.vmap`` of a function over the member axis of all its tensors; arguments may be None.

    A step of small networks spends most of its time in the dispatch of ``vmap`` and ``grad``. Their result is a fixed
    list of tensor operations for fixed shapes: after a number of calls it is recorded, and from then on only these
    operations run - the same ones on the same numbers.

    Args:
        function: pure; tensors in, tensors out, in any nesting of dictionaries and tuples.
        records: whether repeated calls are recorded.
    """

    def __init__(self, function: Callable[..., Any], *, records: bool = False) -> None:
        self._function = function
        self._records = records
        self._key: Any = None
        self._calls = 0
        self._recorded: Callable[..., Any] | None = None

    def __call__(self, *arguments: Any) -> Any:
        if not self._records:
            return self._mapped(arguments)
        leaves, structure = pytree.tree_flatten(arguments)
        key = (structure, tuple((leaf.shape, leaf.dtype) if isinstance(leaf, Tensor) else leaf for leaf in leaves))
        if key != self._key:
            self._key, self._calls, self._recorded = key, 0, None
        self._calls += 1
        if self._recorded is None and self._calls > _CALLS_BEFORE_RECORDING:
            self._recorded = self._record(leaves, structure)
        if self._recorded is None:
            return self._mapped(arguments)
        with torch.no_grad():
            return self._recorded([leaf for leaf in leaves if isinstance(leaf, Tensor)])

    def _mapped(self, arguments: tuple[Any, ...]) -> Any:
        dims = tuple(None if argument is None else 0 for argument in arguments)
        return vmap(self._function, in_dims=dims, randomness="error")(*arguments)

    def _record(self, leaves: list[Any], structure: Any) -> Callable[..., Any]:
        is_tensor = [isinstance(leaf, Tensor) for leaf in leaves]
        result_structure: list[Any] = []

        def flat(*tensors: Tensor) -> list[Tensor]:
            rest = iter(tensors)
            filled = [next(rest) if here else leaf for here, leaf in zip(is_tensor, leaves, strict=True)]
            results, found = pytree.tree_flatten(self._mapped(pytree.tree_unflatten(filled, structure)))
            result_structure.append(found)
            return results

        graph = make_fx(flat)(*[leaf for leaf in leaves if isinstance(leaf, Tensor)])
        _without_detach(graph)

        def run(tensors: list[Tensor]) -> Any:
            return pytree.tree_unflatten(graph(*tensors), result_structure[0])

        return run


def _without_detach(graph: fx.GraphModule) -> None:
    """Drop operations that only matter to autograd, which does not watch the recorded operations."""
    for node in list(graph.graph.nodes):
        if node.op == "call_function" and node.target is torch.ops.aten.detach.default:
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code()
    graph.recompile()
