"""Attention with its own widths for queries, keys and values, and the residual blocks made of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from taskloom.errors import TaskError
from taskloom.nn.cost import layer_macs

__all__ = ["Attention", "CrossAttention", "LearnedTokens", "SelfAttention", "attend"]

_SPREAD = 0.02


def attend(
    queries: Tensor, keys: Tensor, values: Tensor, *, mask: Tensor | None = None, dropout: float = 0.0
) -> Tensor:
    """``softmax(q k^T / sqrt(d)) v``, by torch's fused operation where there is one.

    Args:
        queries: (n, heads, N, d).
        keys: (n, heads, M, d).
        values: (n, heads, M, d_v).
        mask: bool, True where a key counts; broadcast to (n, heads, N, M).
        dropout: probability of dropping a weight.
    """
    if torch.compiler.is_compiling() or torch._C._functorch.maybe_current_level() is None:
        return functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, dropout_p=dropout)
    # for several networks at once the fused operation is a loop over them
    scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return functional.dropout(scores.softmax(-1), dropout) @ values


class LearnedTokens(nn.Module):
    """A learned array of vectors, drawn from N(0, 0.02^2).

    Args:
        n_tokens: number of vectors.
        width: length of each.
    """

    def __init__(self, n_tokens: int, width: int) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.empty(n_tokens, width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the vectors anew."""
        nn.init.normal_(self.tokens, std=_SPREAD)

    def forward(self, n_rows: int) -> Tensor:
        """The vectors for each row of a batch, (n_rows, n_tokens, width)."""
        return self.tokens.expand(n_rows, *self.tokens.shape)


class Attention(nn.Module):
    """``softmax(q k^T / sqrt(d)) v`` over several heads, between linear maps.

    Args:
        query_width: width Q of the queries and of the result.
        source_width: width C of what keys and values are made of.
        width: inner width of queries and keys, and of values; a multiple of ``n_heads``.
        n_heads: number of heads.

    Raises:
        TaskError: the heads do not divide the width.
    """

    def __init__(self, query_width: int, source_width: int, *, width: int, n_heads: int) -> None:
        super().__init__()
        if n_heads < 1 or width % n_heads:
            raise TaskError(f"n_heads={n_heads} does not divide the channels {width}; choose a divisor of {width}")
        self.n_heads = n_heads
        self.query = nn.Linear(query_width, width)
        self.key = nn.Linear(source_width, width)
        self.value = nn.Linear(source_width, width)
        self.out = nn.Linear(width, query_width)

    def forward(self, queries: Tensor, source: Tensor, *, ignored: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            queries: (n, N, Q).
            source: (n, M, C).
            ignored: bool (n, M), True where a token of the source does not count (padding).

        Returns:
            (n, N, Q).
        """
        mask = None if ignored is None else ~ignored[:, None, None, :]
        q, k, v = self._heads(self.query(queries)), self._heads(self.key(source)), self._heads(self.value(source))
        mixed = attend(q, k, v, mask=mask)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out

    def _heads(self, tokens: Tensor) -> Tensor:
        heads: Tensor = tokens.unflatten(-1, (self.n_heads, -1))
        return heads.transpose(1, 2)  # (n, heads, N, d)


def _feed_forward(width: int, widening: int) -> nn.Sequential:
    inner = widening * width
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))


class _Block(nn.Module):
    def reset_parameters(self) -> None:
        """Weights from N(0, 0.02^2), biases 0: how the attention blocks of this family start."""
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.normal_(part.weight, std=_SPREAD)
                nn.init.zeros_(part.bias)


class CrossAttention(_Block):
    """``z + attention(norm z, norm x)``, then ``+ mlp(z)``: tokens z look at tokens x of another kind.

    Args:
        query_width: width of z.
        source_width: width of x.
        n_heads: number of heads; the inner width is that of z.
        widening: how much wider the hidden layer of the perceptron is.
        residual: add z itself; False for queries that only say where to look.
    """

    def __init__(
        self, query_width: int, source_width: int, *, n_heads: int, widening: int = 1, residual: bool = True
    ) -> None:
        super().__init__()
        self.residual = residual
        self.norm_queries = nn.LayerNorm(query_width)
        self.norm_source = nn.LayerNorm(source_width)
        self.attention = Attention(query_width, source_width, width=query_width, n_heads=n_heads)
        self.feed_forward = _feed_forward(query_width, widening)
        self.reset_parameters()

    def forward(self, queries: Tensor, source: Tensor, *, ignored: Tensor | None = None) -> Tensor:
        found: Tensor = self.attention(self.norm_queries(queries), self.norm_source(source), ignored=ignored)
        found = queries + found if self.residual else found
        out: Tensor = found + self.feed_forward(found)
        return out


class SelfAttention(_Block):
    """``z + attention(norm z, norm z)``, then ``+ mlp(z)``.

    Args:
        width: width of the tokens.
        n_heads: number of heads.
        widening: how much wider the hidden layer of the perceptron is.
    """

    def __init__(self, width: int, *, n_heads: int, widening: int = 1) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, width, width=width, n_heads=n_heads)
        self.feed_forward = _feed_forward(width, widening)
        self.reset_parameters()

    def forward(self, tokens: Tensor, *, ignored: Tensor | None = None) -> Tensor:
        normed = self.norm(tokens)
        tokens = tokens + self.attention(normed, normed, ignored=ignored)
        out: Tensor = tokens + self.feed_forward(tokens)
        return out


@layer_macs.register
def _attention_macs(layer: Attention, inputs: tuple[Any, ...], *, output: Any) -> int:
    """The two products of queries, keys and values; the linear layers are counted as layers of their own."""
    n_rows, n_queries, _ = output.shape
    return int(2 * n_rows * n_queries * inputs[1].shape[1] * layer.query.out_features)


@layer_macs.register
def _token_macs(layer: LearnedTokens, inputs: tuple[Any, ...], *, output: Any) -> int:
    return 0
