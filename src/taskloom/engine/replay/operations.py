"""How each kind of operation is replayed; what is not listed is left to autograd's own rule, task by task."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from taskloom.engine.replay import attention, elementwise, matrices, normalisation, shapes
from taskloom.engine.replay.site import Gradient, Maker, Operation, Site

__all__ = ["operation_at"]


def operation_at(site: Site) -> Operation:
    """The operation of a site."""
    maker = _MAKERS.get(site.name)
    found = None if maker is None else maker(site)
    return _task_by_task(site) if found is None else found


def _task_by_task(site: Site) -> Operation:
    """Autograd's own rule, in the precision of the graph."""

    def apply(gradients: Sequence[Tensor | None]) -> Sequence[Gradient]:
        n_tasks = next(one.shape[0] for one in gradients if one is not None)
        columns: list[list[Tensor]] = [[] for _ in site.wanted]
        for task in range(n_tasks):
            single = [None if one is None else one[task] for one in gradients]
            for column, one, is_wanted in zip(columns, site.own(single), site.wanted, strict=False):
                if one is not None and is_wanted:
                    column.append((one.to_dense() if one.is_sparse else one).to(site.dtype))
        return [torch.stack(column) if column else None for column in columns]

    return apply


_ENTRY_BY_ENTRY = (
    "Abs Celu Clamp ClampMin ClampMax Cos Div Elu Erf Exp Expm1 Gelu Hardsigmoid Hardswish Hardtanh LeakyRelu Log "
    "Log1P LogSigmoid MaskedFill Maximum Minimum Mish NativeDropout Neg Pow Reciprocal Relu Rsqrt Sigmoid Silu Sin "
    "Softplus Sqrt Tanh Threshold Where"
)
_MAKERS: dict[str, Maker] = {
    **{f"{name}Backward{n}": elementwise.scaled_entries for name in _ENTRY_BY_ENTRY.split() for n in (0, 1)},
    "AddBackward0": elementwise.added((1, 1)),
    "AddBackward1": elementwise.added((1, 1)),
    "SubBackward0": elementwise.added((1, -1)),
    "SubBackward1": elementwise.added((1, -1)),
    "MulBackward0": elementwise.multiplied,
    **dict.fromkeys("CloneBackward0 AliasBackward0 ToCopyBackward0".split(), shapes.same),
    **dict.fromkeys(
        "ViewBackward0 UnsafeViewBackward0 ReshapeAliasBackward0 SqueezeBackward0 SqueezeBackward1 SqueezeBackward2 "
        "UnsqueezeBackward0".split(),
        shapes.viewed,
    ),
    "ExpandBackward0": shapes.expanded,
    **dict.fromkeys("TBackward0 TransposeBackward0 PermuteBackward0".split(), shapes.permuted),
    **dict.fromkeys("SumBackward0 SumBackward1 MeanBackward0 MeanBackward1".split(), shapes.repeated),
    **dict.fromkeys("SelectBackward0 SliceBackward0".split(), shapes.part_of),
    **dict.fromkeys("UnbindBackward0 SplitBackward0 SplitWithSizesBackward0".split(), shapes.several_parts),
    "CatBackward0": shapes.concatenated,
    "StackBackward0": shapes.stacked,
    "MmBackward0": matrices.product,
    "AddmmBackward0": matrices.product_with_addition,
    "BmmBackward0": matrices.batched_product,
    "ConvolutionBackward0": matrices.convolution,
    "NativeLayerNormBackward0": normalisation.layer_norm,
    "NativeBatchNormBackward0": normalisation.batch_norm,
    **dict.fromkeys("SoftmaxBackward0 LogSoftmaxBackward0".split(), normalisation.softmax),
    **dict.fromkeys(
        "ScaledDotProductFlashAttentionForCpuBackward0 ScaledDotProductFlashAttentionBackward0 "
        "ScaledDotProductEfficientAttentionBackward0 ScaledDotProductCudnnAttentionBackward0".split(),
        attention.attention,
    ),
}
