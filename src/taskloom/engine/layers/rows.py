"""Which operations keep rows apart: their gradient in row i depends on row i of the gradient of their result alone.

Row means an index of the first axis, or a group of neighbouring indices where the first axis is a multiple of the rows
(a batch of sequences laid end to end). An operation that is not listed mixes rows, as far as this file knows. Rows may
also stand in another axis for a while (heads side by side in one product): a few operations are known there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from taskloom.engine.layers.owners import ByRow

__all__ = ["axes_of", "handed_on", "keeps_rows", "shape_of", "signed"]


def shape_of(node: Any, output: int = 0) -> tuple[int, ...]:
    """Shape of an output of an operation of the forward pass."""
    return tuple(node._input_metadata[output].shape)


def signed(value: int) -> int:
    """A number that a node has saved; negative ones come as unsigned 64-bit numbers."""
    return int(value) - (1 << 64) if value >= 1 << 63 else int(value)


def axes_of(value: Any, n_axes: int) -> tuple[int, ...]:
    """Axes that a node has saved, as numbers from 0."""
    axes = () if value is None else value if isinstance(value, tuple | list) else (value,)
    return tuple(signed(axis) % max(n_axes, 1) for axis in axes)


def keeps_rows(node: Any, name: str, position: int, n_rows: int) -> bool:
    """Whether an operation keeps rows apart on the way to one of its inputs.

    Args:
        node: the operation, in whose result rows are apart.
        name: its name.
        position: which of its inputs.
        n_rows: number of rows.
    """
    rule = _RULES.get(name)
    if rule is None:
        return False
    child, output = node.next_functions[position]
    inside, outside = shape_of(child, output), shape_of(node)
    if not inside or not outside or inside[0] % n_rows or outside[0] % n_rows:
        return False
    return rule(node, position, inside, outside)


def handed_on(node: Any, name: str, position: int, owner: ByRow) -> ByRow | None:
    """Whose rows are in the gradient that an operation hands to one of its inputs; None if they are mixed.

    Args:
        node: the operation.
        name: its name.
        position: which of its inputs.
        owner: whose rows are in the gradient of its result.
    """
    if owner.axis == 0 and keeps_rows(node, name, position, owner.n_rows):
        return owner
    child, output = node.next_functions[position]
    inside, outside = shape_of(child, output), shape_of(node)
    axis = _axis_inside(node, name, position, owner, inside, outside)
    if axis is None or inside[axis] % owner.n_rows:
        return None
    return owner if axis == owner.axis else replace(owner, axis=axis)


def _axis_inside(
    node: Any, name: str, position: int, owner: ByRow, inside: Sequence[int], outside: Sequence[int]
) -> int | None:
    """The axis of an input in which the rows of the result stand."""
    axis = owner.axis
    if axis >= len(outside) or outside[axis] % owner.n_rows:
        return None
    if name in _ORDER_STAYS:  # what comes before the axis stays in front
        before, start = math.prod(outside[:axis]), 0
        while start < len(inside) and (math.prod(inside[:start]) != before or inside[start] % owner.n_rows):
            start += 1
        return start if start < len(inside) else None
    if name == "PermuteBackward0":
        return axes_of(node._saved_dims, len(outside))[axis]
    if name in ("TransposeBackward0", "TBackward0") and len(outside) > 1:
        pair = (0, 1) if name == "TBackward0" else axes_of((node._saved_dim0, node._saved_dim1), len(outside))
        return pair[1] if axis == pair[0] else pair[0] if axis == pair[1] else axis
    if _RULES.get(name) is _same_rows and len(inside) == len(outside) and inside[axis] == outside[axis]:
        return axis
    if axis == 1 and len(outside) == 2 and (name, position) in _OF_COLUMNS and inside[-1] == outside[1]:
        return len(inside) - 1  # columns of the right factor, and of what is added
    return None


Rule = Callable[[Any, int, Sequence[int], Sequence[int]], bool]


def _same_rows(node: Any, position: int, inside: Sequence[int], outside: Sequence[int]) -> bool:
    """Element by element: broadcasting over other axes is summed within a row, over rows or new axes it is not."""
    return len(inside) == len(outside) and inside[0] == outside[0]


def _own_product(node: Any, position: int, inside: Sequence[int], outside: Sequence[int]) -> bool:
    """A product for every row; within a row, everything depends on everything."""
    return len(inside) == len(outside) and inside[0] == outside[0]


def _any_axes(node: Any, position: int, inside: Sequence[int], outside: Sequence[int]) -> bool:
    """The first axis stays where it is; other axes may come and go."""
    return inside[0] == outside[0]


def _order_stays(node: Any, position: int, inside: Sequence[int], outside: Sequence[int]) -> bool:
    """The order of elements stays, so that a row is the same stretch of them before and after."""
    return True


def _other_axes(attribute: str) -> Rule:
    def rule(node: Any, position: int, inside: Sequence[int], outside: Sequence[int]) -> bool:
        axes = axes_of(getattr(node, attribute), len(inside))
        return bool(axes) and 0 not in axes and inside[0] == outside[0]

    return rule


def _new_axis(node: Any, position: int, inside: Sequence[int], outside: Sequence[int]) -> bool:
    return 0 not in axes_of(node._saved_dim, len(outside)) and inside[0] == outside[0]


def _swaps(node: Any, position: int, inside: Sequence[int], outside: Sequence[int]) -> bool:
    return 0 not in axes_of((node._saved_dim0, node._saved_dim1), len(inside))


def _permutes(node: Any, position: int, inside: Sequence[int], outside: Sequence[int]) -> bool:
    return axes_of(node._saved_dims, len(inside))[0] == 0


def _within_rows(node: Any, position: int, inside: Sequence[int], outside: Sequence[int]) -> bool:
    return position == 0 and len(node._saved_normalized_shape) < len(inside)


def _input_at(place: int) -> Rule:
    def rule(node: Any, position: int, inside: Sequence[int], outside: Sequence[int]) -> bool:
        return position == place and inside[0] == outside[0]

    return rule


def _bias_or_input(node: Any, position: int, inside: Sequence[int], outside: Sequence[int]) -> bool:
    return position == 1 or (position == 0 and tuple(inside) == tuple(outside))


def _queries(node: Any, position: int, inside: Sequence[int], outside: Sequence[int]) -> bool:
    return position < 3 and inside[0] == outside[0]


_ELEMENTWISE = (
    "Abs Add Celu Clamp ClampMin ClampMax Clone Cos Div Elu Erf Exp Expm1 Gelu Glu Hardsigmoid Hardswish Hardtanh "
    "HuberLoss LeakyRelu Lerp Log Log1P LogSigmoid MaskedFill Maximum Minimum Mish MseLoss Mul NativeDropout Neg Pow "
    "Reciprocal Relu Rsqrt Rsub Sigmoid Silu Sin SmoothL1Loss Softplus Sqrt Sub Tanh Threshold ToCopy "
    "Where BinaryCrossEntropyWithLogits Expand Alias"
)
_ORDER_STAYS = frozenset(
    "ViewBackward0 UnsafeViewBackward0 ReshapeAliasBackward0 SqueezeBackward0 SqueezeBackward1 SqueezeBackward2 "
    "UnsqueezeBackward0".split()
)
_OF_COLUMNS = frozenset((("AddmmBackward0", 0), ("AddmmBackward0", 2), ("MmBackward0", 1)))
_RULES: dict[str, Rule] = {
    **{f"{name}Backward{version}": _same_rows for name in _ELEMENTWISE.split() for version in (0, 1)},
    **dict.fromkeys(("BmmBackward0", "BaddbmmBackward0"), _own_product),
    **dict.fromkeys(_ORDER_STAYS, _order_stays),
    **dict.fromkeys(
        "SumBackward1 MeanBackward1 LogsumexpBackward0 SoftmaxBackward0 LogSoftmaxBackward0 CatBackward0".split(),
        _other_axes("_saved_dim"),
    ),
    **dict.fromkeys("SliceBackward0 SplitBackward0 SplitWithSizesBackward0".split(), _other_axes("_saved_dim")),
    **dict.fromkeys("SelectBackward0 UnbindBackward0".split(), _other_axes("_saved_dim")),
    "StackBackward0": _new_axis,
    "TransposeBackward0": _swaps,
    "PermuteBackward0": _permutes,
    "NativeLayerNormBackward0": _within_rows,
    "MmBackward0": _input_at(0),
    "AddmmBackward0": _bias_or_input,
    **dict.fromkeys(
        "ConvolutionBackward0 MaxPool2DWithIndicesBackward0 AvgPool2DBackward0 AdaptiveAvgPool2DBackward0 "
        "UpsampleNearest2DBackward0 UpsampleBilinear2DBackward0 NllLossBackward0".split(),
        _input_at(0),
    ),
    **dict.fromkeys(
        "ScaledDotProductFlashAttentionForCpuBackward0 ScaledDotProductFlashAttentionBackward0 "
        "ScaledDotProductEfficientAttentionBackward0 ScaledDotProductCudnnAttentionBackward0".split(),
        _queries,
    ),
}
