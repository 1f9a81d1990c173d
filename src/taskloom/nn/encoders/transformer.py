"""A transformer encoder for sequences: every position looks at all others that are not padding."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn._attention import attend
from taskloom.nn.cost import layer_macs
from taskloom.nn.encoders._blocks import whole_numbers
from taskloom.nn.encoders._carry import State, closed, opened
from taskloom.nn.encoders._sequence import Pooling, SequenceBegin, SequenceEnd

__all__ = ["TransformerEncoder"]


class TransformerEncoder(nn.Sequential):
    """An encoder for sequences of features or token numbers; one stage per layer.

    Normalisation comes before each part of a layer and once at the end (pre-LN):

        u = x + attention(norm(x)),   x' = u + W_2 gelu(W_1 norm(u))

    Inputs are (n, N, width), or (n, N) token numbers with a vocabulary; alone, or in a pair with the padding (n, N),
    bool, True where a position is to be ignored. Features are (n, N, width), or (n, width) when pooled; features at
    padding mean nothing. Stages other than the last give the padding on, if there is one, as the second item of a
    tuple.

    Args:
        width: width d of the features.
        heads: number of attention heads, a divisor of the width; default 4.
        layers: number of layers; default 2.
        inner: width of the hidden layer W_1; default 4 d, as in the paper.
        vocabulary: number of tokens; default None: the inputs are features.
        max_length: number of learned positions; default None: no positions, the order does not count.
        dropout: probability of dropping an attention weight or an output of a part; default 0.
        pool: ``"mean"`` over the positions that are not padding, ``"first"`` position, or None for every position.

    Raises:
        TaskError: a number below 1, heads that do not divide the width, a dropout outside [0, 1), or inputs of another
            shape.

    Differs from the paper:
        normalisation before each part instead of behind it, GELU instead of ReLU, learned positions; as most encoders
        since.

    Source:
        A. Vaswani et al., Attention Is All You Need, NeurIPS 2017, arXiv:1706.03762.

    Example:
        >>> import torch
        >>> encoder = TransformerEncoder(8, heads=2, vocabulary=100, max_length=16, pool="mean")
        >>> padding = torch.tensor([[False, False, False], [False, True, True]])
        >>> encoder((torch.ones(2, 3, dtype=torch.int64), padding)).shape
        torch.Size([2, 8])
    """

    def __init__(
        self,
        width: int,
        *,
        heads: int = 4,
        layers: int = 2,
        inner: int | None = None,
        vocabulary: int | None = None,
        max_length: int | None = None,
        dropout: float = 0.0,
        pool: Pooling | None = None,
    ) -> None:
        sizes = [width, heads, layers, 4 * width if inner is None else inner]
        width, heads, layers, inner = whole_numbers(sizes, what="TransformerEncoder sizes")
        if width % heads:
            raise TaskError(f"heads must divide the width, found {heads} heads and width {width}")
        if not 0.0 <= dropout < 1.0:
            raise TaskError(f"dropout must lie in [0, 1), found {dropout!r}")
        stages: list[list[nn.Module]] = [
            [
                _Residual(width, _Attention(width, heads, dropout), dropout),
                _Residual(width, _Inner(width, inner), dropout),
            ]
            for _ in range(layers)
        ]
        begin = SequenceBegin(width, vocabulary=vocabulary, max_length=max_length)
        stages[0][0] = nn.Sequential(begin, stages[0][0])
        stages[-1].append(nn.Sequential(_LastNorm(width), SequenceEnd(pool)))
        super().__init__(*(nn.Sequential(*stage) for stage in stages))
        self.in_features = self.out_features = width

    def pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """Attention and hidden layer of each layer (without the normalisation and pooling at the end)."""
        return [(stage[0], stage[1]) for stage in self.children() if isinstance(stage, nn.Sequential)]


class _Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, features: Tensor, rest: tuple[Any, ...]) -> Tensor:
        split = self.query_key_value(features).unflatten(2, (3, self.heads, -1))  # (n, N, 3, h, d / h)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
        seen = ~rest[0][:, None, None, :] if rest else None
        rate = self.dropout if self.training else 0.0
        mixed = attend(query, key, value, mask=seen, dropout=rate)
        result: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return result


@layer_macs.register
def _attention_macs(layer: _Attention, inputs: tuple[Any, ...], *, output: Any) -> int:
    """The two products of queries, keys and values; the linear layers are counted as layers of their own."""
    n, length, width = output.shape
    return int(2 * n * length * length * width)


class _Inner(nn.Module):
    """Two linear layers with GELU between them, at every position."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.first = nn.Linear(width, inner)
        self.second = nn.Linear(inner, width)

    def forward(self, features: Tensor, rest: tuple[Any, ...]) -> Tensor:
        result: Tensor = self.second(F.gelu(self.first(features)))
        return result


class _Residual(nn.Module):
    """``x + dropout(part(norm(x)))``; what travels along passes unchanged."""

    def __init__(self, width: int, part: nn.Module, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.part = part
        self.dropout = nn.Dropout(dropout)

    def forward(self, state: State) -> State:
        features, rest = opened(state)
        return closed(features + self.dropout(self.part(self.norm(features), rest)), rest)


class _LastNorm(nn.LayerNorm):
    """Layer normalisation of the features; what travels along passes unchanged."""

    def forward(self, state: State) -> State:  # type: ignore[override]
        features, rest = opened(state)
        return closed(super().forward(features), rest)
