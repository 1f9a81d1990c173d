"""Attention: the shares of every query, which fused kernels compute anew in every backward pass, are computed once.

    P = softmax(s Q K^T),    dV = P^T D,    dS = P o (D V^T - r),    dQ = s dS K,    dK = s dS^T Q

with r the sum of P o (D V^T) over the keys of a query.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from taskloom.engine.replay.site import Gradient, Operation, Site

__all__ = ["attention"]

_MOST_SHARES = 1 << 26
"""Shares of all queries that are held at once; longer sequences are left to the fused kernel."""


def attention(site: Site) -> Operation | None:
    """Scaled dot-product attention without dropout."""
    node = site.node
    query, key, value = (site.saved(name) for name in ("query", "key", "value"))
    n_shares = math.prod(query.shape[:-1]) * key.shape[-2]
    dropout = float(getattr(node, "_saved_dropout_p", 0.0))
    has_other_form = query.ndim != 4 or query.shape[:-2] != key.shape[:-2] or any(site.wanted[3:])
    if has_other_form or dropout or n_shares > _MOST_SHARES:
        return None
    given = getattr(node, "_saved_scale", None)
    scale = 1 / math.sqrt(query.shape[-1]) if given is None else float(given)
    scores = (query * scale) @ key.transpose(-1, -2)
    if node._saved_is_causal:
        scores = scores.masked_fill(scores.new_ones(scores.shape[-2:], dtype=torch.bool).triu(1), -torch.inf)
    mask = getattr(node, "_saved_attn_mask", None)
    mask = getattr(node, "_saved_attn_bias", None) if mask is None else mask
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    n_pairs = math.prod(query.shape[:2])  # of sequences and heads
    shares = scores.softmax(-1).to(site.dtype).reshape(n_pairs, *scores.shape[-2:])
    query, key = ((one.to(site.dtype) * scale).reshape(n_pairs, *one.shape[-2:]) for one in (query, key))
    turned = value.to(site.dtype).reshape(n_pairs, *value.shape[-2:]).transpose(1, 2).contiguous()
    shapes = [tuple(site.saved(name).shape) for name in ("query", "key", "value")]
    extra = [None] * (len(site.wanted) - 3)

    def apply(gradients: Sequence[Tensor | None]) -> Sequence[Gradient]:
        gradient = gradients[0]
        if gradient is None:
            return [None, None, None, *extra]
        n_tasks = gradient.shape[0]
        found = [gradient.new_empty(n_tasks, *shape) for shape in shapes]
        for task in range(n_tasks):  # together, every task would get a copy of the shares
            own = gradient[task].reshape(n_pairs, *gradient.shape[-2:])
            steep = torch.ops.aten._softmax_backward_data(torch.bmm(own, turned), shares, -1, shares.dtype)
            of_query, of_key, of_value = (one[task].view(n_pairs, *one.shape[-2:]) for one in found)
            torch.bmm(steep, key, out=of_query)
            torch.bmm(steep.transpose(1, 2), query, out=of_key)
            torch.bmm(shares.transpose(1, 2), own, out=of_value)
        return [*found, *extra]

    return apply
