"""What the encoders of sequences have in common: how they begin (tokens, padding) and how they end (pooling)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn.encoders._carry import State, closed, opened

__all__ = ["Pooling", "SequenceBegin", "SequenceEnd"]

Pooling = Literal["mean", "first"]


class SequenceBegin(nn.Module):
    """Read a sequence with or without padding; look up tokens, add positions.

    Args:
        width: width d of the features.
        vocabulary: number of tokens, when the inputs are token numbers; None: the inputs are features.
        max_length: number of learned positions; None: no positions.
    """

    def __init__(self, width: int, *, vocabulary: int | None = None, max_length: int | None = None) -> None:
        super().__init__()
        self.width = width
        self.tokens = None if vocabulary is None else nn.Embedding(vocabulary, width)
        self.positions = None if max_length is None else nn.Embedding(max_length, width)

    def forward(self, inputs: Any) -> State:
        """Features (n, N, d), with the padding (n, N) where there is one.

        Args:
            inputs: (n, N, d) features or (n, N) token numbers; or a pair of them and padding (n, N), True where a
                position is to be ignored.
        """
        sequence, rest = opened(inputs)
        if len(rest) > 1 or (rest and (rest[0].dtype != torch.bool or rest[0].shape != sequence.shape[:2])):
            raise TaskError(
                f"padding must be bool of shape {tuple(sequence.shape[:2])}, True where a position is to be ignored, "
                f"found {[(str(part.dtype), tuple(part.shape)) for part in rest]}"
            )
        features = self._features(sequence)
        if self.positions is not None:
            length, most = features.shape[1], self.positions.num_embeddings
            if length > most:
                raise TaskError(f"sequences of {length} positions, the encoder has max_length={most}")
            features = features + self.positions(torch.arange(length, device=features.device))
        return closed(features, rest)

    def _features(self, sequence: Tensor) -> Tensor:
        if self.tokens is not None:
            if sequence.ndim != 2:
                raise TaskError(f"expected token numbers (n, N), found {tuple(sequence.shape)}")
            found: Tensor = self.tokens(sequence.long())
            return found
        if sequence.ndim != 3 or sequence.shape[2] != self.width:
            raise TaskError(
                f"expected sequences (n, N, {self.width}), found {tuple(sequence.shape)}; give vocabulary= to read "
                "token numbers"
            )
        return sequence


class SequenceEnd(nn.Module):
    """Leave the padding behind; give every position, the mean over those that are not padding, or the first.

    Args:
        pool: ``"mean"``, ``"first"``, or None for every position.
    """

    def __init__(self, pool: Pooling | None) -> None:
        super().__init__()
        if pool not in ("mean", "first", None):
            raise TaskError(f"pool must be 'mean', 'first' or None, found {pool!r}")
        self.pool = pool

    def forward(self, state: State) -> Tensor:
        """(n, N, d), or (n, d) when pooled."""
        features, rest = opened(state)
        if self.pool is None:
            return features
        if self.pool == "first":
            return features[:, 0]
        if not rest:
            return features.mean(1)
        real: Tensor = (~rest[0]).to(features.dtype).unsqueeze(2)
        return (features * real).sum(1) / real.sum(1).clamp(min=1)
