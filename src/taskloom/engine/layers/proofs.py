"""Which parameters a layer rule may take: those of which every use in the graph is that of a known layer.

Two things have to be shown of a parameter, and both are read from the graph instead of being believed of a module:

* coverage: every path on which a gradient reaches it begins with a use that was found. Tied weights, functional use of
  ``module.weight`` and penalties inside a loss are further uses, and show;
* ownership: that use is the product (convolution, look-up) of a known layer, in which the parameter stands where the
  rule expects it. Hooks that change inputs or outputs, a patched ``forward`` and parametrisations are operations of
  their own, before or after; the product that the rule looks at is the one that was computed.

What does not pass goes to the parameter path, with the reason, and stays exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from taskloom.engine.layers.capture import is_stored_elsewhere, saved
from taskloom.engine.layers.graph import Graph
from taskloom.engine.layers.owners import MIXED, ByRow, Owner
from taskloom.engine.layers.rows import axes_of, shape_of

__all__ = ["Call", "Kind", "Layer", "Remaining", "find_layers"]

Kind = Literal["linear", "convolution", "embedding"]


@dataclass(frozen=True)
class Call:
    """One use of a layer in the forward pass.

    Args:
        node: the operation.
        owner: whose gradient reaches its result.
        shape: shape of its result.
        dtype: of its result, and of the gradient that it is handed.
    """

    node: Any
    owner: Owner
    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class Layer:
    """Parameters that a rule may take, with all their uses.

    Args:
        kind: what it computes.
        weight: the weight.
        bias: the bias, if all its uses are those of the weight; else it is on the parameter path.
        places: positions of weight and bias among the parameters.
        calls: the uses, at least one.
        is_turned: linear layers: the weight has shape (outputs, inputs), as in ``nn.Linear``; False for ``x @ weight``.
    """

    kind: Kind
    weight: Tensor
    bias: Tensor | None
    places: tuple[int, ...]
    calls: tuple[Call, ...]
    is_turned: bool = True

    def inputs(self) -> list[Tensor]:
        """Input of every call: rows (n, i) of a linear layer, images of a convolution, indices of an embedding."""
        return [saved(call.node, _SAVED_INPUT[call.node.name()]) for call in self.calls]


@dataclass(frozen=True)
class Remaining:
    """A parameter on the parameter path.

    Args:
        place: position among the parameters.
        reason: why no rule takes it.
    """

    place: int
    reason: str


@dataclass
class _Uses:
    """Uses of one parameter that are all of one sort, or why they are not."""

    sort: tuple[Kind, str] | None = None
    nodes: list[Any] = field(default_factory=list)
    is_turned: bool = False
    reason: str = ""


def find_layers(graph: Graph, parameters: Sequence[Tensor]) -> tuple[list[Layer], list[Remaining]]:
    """Layers that rules may take, and the parameters that remain. Those that no loss reaches are in neither."""
    uses = {
        place: _uses_of(graph, parameter) for place, parameter in enumerate(parameters) if id(parameter) in graph.leaves
    }
    biases = {  # operation -> position of the bias that it adds
        node: place for place, found in uses.items() if _is(found, "bias") for node in found.nodes
    }
    layers: list[Layer] = []
    taken: set[int] = set()
    for place, found in uses.items():
        if found.sort is None or found.sort[1] != "weight":
            continue
        found.reason = _objection(found, parameters[place])
        if found.reason:
            continue
        bias = biases.get(found.nodes[0])
        if bias is not None and not _rides(uses[bias], found, parameters[bias], parameters[place]):
            bias = None
        calls = tuple(
            Call(node, _of_rows(owner), shape_of(node), node._input_metadata[0].dtype)
            for node in found.nodes
            if (owner := graph.owner(node)) is not None
        )
        if not calls:  # no gradient flows where no loss reaches
            found.reason = "no loss reaches it"
            continue
        places = (place,) if bias is None else (place, bias)
        added = None if bias is None else parameters[bias]
        layers.append(Layer(found.sort[0], parameters[place], added, places, calls, found.is_turned))
        taken.update(places)
    rest = [
        Remaining(place, found.reason or "its layer is on the parameter path")
        for place, found in uses.items()
        if place not in taken
    ]
    return layers, rest


def _of_rows(owner: Owner) -> Owner:
    """Rules know rows of the first axis alone."""
    return MIXED if isinstance(owner, ByRow) and owner.axis else owner


def _is(uses: _Uses, role: str) -> bool:
    return uses.sort is not None and uses.sort[1] == role


def _uses_of(graph: Graph, parameter: Tensor) -> _Uses:
    """Uses of a parameter, looking through transpositions and casts of the parameter itself."""
    found = _Uses()
    if getattr(parameter, "_backward_hooks", None):
        found.reason = "has a hook, which wants to see its gradient"
        return found
    if parameter.is_complex():
        found.reason = "complex numbers"
        return found
    waiting = [(user, position, False) for user, position in graph.users[graph.accumulators[id(parameter)]]]
    turns = set()
    while waiting:
        node, position, is_turned = waiting.pop()
        name = node.name()
        turn = _turn(node, name, parameter)
        if turn is not None:
            waiting.extend((user, where, is_turned != turn) for user, where in graph.users[node])
            continue
        sort = _SORTS.get((name, position))
        if sort is None:
            found.reason = f"used by {_readable(name)}"
        elif found.sort not in (None, sort):
            found.reason = "used in different ways (tied)"
        else:
            found.sort = sort
            found.nodes.append(node)
            turns.add(is_turned)
    if len(turns) > 1:
        found.reason = "used as it is and transposed"
    if found.reason:
        found.sort = None
    found.nodes.reverse()  # the walk begins at the last use
    found.is_turned = True in turns
    return found


def _turn(node: Any, name: str, parameter: Tensor) -> bool | None:
    """Whether an operation transposes a matrix; False for a cast, None for an operation that does more."""
    if name == "ToCopyBackward0":
        return False
    if parameter.ndim != 2:
        return None
    if name == "TBackward0":
        return True
    if name == "TransposeBackward0":
        return len(set(axes_of((node._saved_dim0, node._saved_dim1), 2))) == 2
    if name == "PermuteBackward0":
        return axes_of(node._saved_dims, 2) == (1, 0)
    return None


def _objection(found: _Uses, weight: Tensor) -> str:
    """Why a rule cannot take a weight although all its uses are known; empty if it can."""
    assert found.sort is not None
    kind = found.sort[0]
    if kind != "linear" and found.is_turned:
        return "transposed"
    if kind == "linear" and weight.ndim != 2:
        return "not a matrix"
    for node in found.nodes:
        name = node.name()
        if is_stored_elsewhere(node, _SAVED_INPUT[name]):
            return "its input is stored elsewhere (checkpointing)"
        if name == "AddmmBackward0" and not (node._saved_alpha == 1 and node._saved_beta == 1):
            return "scaled product"
        if kind == "convolution" and node._saved_transposed:
            return "transposed convolution"
        if kind == "embedding" and (node._saved_sparse or node._saved_scale_grad_by_freq):
            return "sparse gradient or gradient scaled by frequency"
    return ""


def _rides(bias: _Uses, weight: _Uses, added: Tensor, matrix: Tensor) -> bool:
    """Whether the bias is used exactly where the weight is."""
    assert weight.sort is not None
    n_outputs = matrix.shape[0] if weight.is_turned or weight.sort[0] != "linear" else matrix.shape[1]
    return (
        bias.sort == (weight.sort[0], "bias")
        and len(bias.nodes) == len(weight.nodes)
        and set(bias.nodes) == set(weight.nodes)
        and tuple(added.shape) == (n_outputs,)
        and added.dtype == matrix.dtype
        and added.device == matrix.device
    )


def _readable(name: str) -> str:
    return name.removeprefix("torch::autograd::").partition("Backward")[0]


_SORTS: dict[tuple[str, int], tuple[Kind, str]] = {
    ("AddmmBackward0", 2): ("linear", "weight"),
    ("AddmmBackward0", 0): ("linear", "bias"),
    ("MmBackward0", 1): ("linear", "weight"),
    ("ConvolutionBackward0", 1): ("convolution", "weight"),
    ("ConvolutionBackward0", 2): ("convolution", "bias"),
    ("EmbeddingBackward0", 0): ("embedding", "weight"),
}
_SAVED_INPUT = {
    "AddmmBackward0": "mat1",
    "MmBackward0": "self",
    "ConvolutionBackward0": "input",
    "EmbeddingBackward0": "indices",
}
