"""Which rule a layer follows in a replay."""

from __future__ import annotations

import math

import torch
from torch import Generator

from taskloom.engine.layers.convolution import ConvolutionForm
from taskloom.engine.layers.embedding import EmbeddingRows
from taskloom.engine.layers.linear import LinearForm, LinearGhost
from taskloom.engine.layers.part import Part
from taskloom.engine.layers.plan import rule_of
from taskloom.engine.layers.pool import Lease
from taskloom.engine.layers.proofs import Layer
from taskloom.engine.replay.sketched import ConvolutionSketch, LinearSketch

__all__ = ["can_be_sketched", "exact_part", "rounded_part", "sketched_part"]


def exact_part(layer: Layer, n_tasks: int, lease: Lease) -> Part:
    """The part of a layer by the rule that is cheapest."""
    if layer.kind == "embedding":
        return EmbeddingRows(layer, n_tasks, lease)
    if layer.kind == "convolution":
        return ConvolutionForm(layer, n_tasks, lease)
    form = rule_of(layer, n_tasks, "auto", by_row=False) == "form"
    return LinearForm(layer, n_tasks, lease) if form else LinearGhost(layer, n_tasks, lease)


def rounded_part(layer: Layer, n_tasks: int, lease: Lease, *, dtype: torch.dtype) -> Part:
    """The same for gradients in some precision, in which products with a kernel are then made as well."""
    part = exact_part(layer, n_tasks, lease)
    if isinstance(part, LinearGhost):
        part.dtype = dtype
    return part


def sketched_part(
    layer: Layer, n_tasks: int, lease: Lease, *, size: int, generator: Generator, dtype: torch.dtype
) -> Part:
    """The part of a layer with projected inputs; the exact one where projecting gains nothing."""
    if not can_be_sketched(layer, size):
        return rounded_part(layer, n_tasks, lease, dtype=dtype)
    kind = ConvolutionSketch if layer.kind == "convolution" else LinearSketch
    return kind(layer, n_tasks, lease, size=size, generator=generator, dtype=dtype)


def can_be_sketched(layer: Layer, size: int) -> bool:
    """Whether projecting the inputs to this many numbers saves at least half of the weight gradients."""
    if layer.kind == "embedding":
        return False
    if layer.kind == "convolution":
        is_plain = all(int(call.node._saved_groups) == 1 for call in layer.calls)
        return is_plain and 2 * size <= math.prod(layer.weight.shape[1:])
    n_rows = sum(math.prod(call.shape[:-1]) for call in layer.calls)
    width = layer.weight.numel() // layer.calls[0].shape[-1]
    return 2 * size <= width and size < n_rows  # inputs of few rows are cheap as they are
