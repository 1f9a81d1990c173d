"""Bidirectional LSTM for sequences: every position is read from the left and from the right."""

from __future__ import annotations

from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from taskloom.errors import TaskError
from taskloom.nn.encoders._blocks import whole_numbers
from taskloom.nn.encoders._carry import State, closed, opened
from taskloom.nn.encoders._sequence import Pooling, SequenceBegin, SequenceEnd

__all__ = ["BiLSTM"]


class BiLSTM(nn.Sequential):
    """An encoder for sequences of features or token numbers; one stage per layer.

    Inputs are (n, N, in_features), or (n, N) token numbers with a vocabulary; alone, or in a pair with the padding
    (n, N), bool, True where a position is to be ignored. Padding stands at the end of a sequence and changes nothing.
    Features are (n, N, 2 hidden), zero at padding, or (n, 2 hidden) when pooled. Stages other than the last give the
    padding on, if there is one, as the second item of a tuple.

    Args:
        in_features: width of the inputs, or of the learned vectors of tokens.
        hidden: width of each direction; default 64.
        layers: number of layers; default 2.
        vocabulary: number of tokens; default None: the inputs are features.
        dropout: probability of dropping a feature between layers; default 0.
        pool: ``"mean"`` over the positions that are not padding, ``"first"`` position, or None for every position.

    Raises:
        TaskError: a width below 1, a dropout outside [0, 1), inputs of another shape, padding that is not at the end,
            or a sequence that is all padding.

    Source:
        S. Hochreiter, J. Schmidhuber, Long Short-Term Memory, Neural Computation 9, 1997; A. Graves, J. Schmidhuber,
        Neural Networks 18, 2005, for two directions.

    Example:
        >>> import torch
        >>> encoder = BiLSTM(8, 5, layers=2, vocabulary=100, pool="mean")
        >>> padding = torch.tensor([[False, False, False], [False, True, True]])
        >>> encoder.out_features, encoder((torch.ones(2, 3, dtype=torch.int64), padding)).shape
        (10, torch.Size([2, 10]))
    """

    def __init__(
        self,
        in_features: int,
        hidden: int = 64,
        *,
        layers: int = 2,
        vocabulary: int | None = None,
        dropout: float = 0.0,
        pool: Pooling | None = None,
    ) -> None:
        in_features, hidden, layers = whole_numbers([in_features, hidden, layers], what="BiLSTM sizes")
        if not 0.0 <= dropout < 1.0:
            raise TaskError(f"dropout must lie in [0, 1), found {dropout!r}")
        stages: list[list[nn.Module]] = []
        for level in range(layers):
            layer = _Layer(2 * hidden if level else in_features, hidden, dropout=dropout if level else 0.0)
            stages.append([layer] if level else [SequenceBegin(in_features, vocabulary=vocabulary), layer])
        stages[-1].append(SequenceEnd(pool))
        super().__init__(*(nn.Sequential(*stage) for stage in stages))
        self.in_features = in_features
        self.out_features = 2 * hidden


class _Layer(nn.Module):
    """Dropout and one bidirectional layer; sequences with padding are packed."""

    def __init__(self, width: int, hidden: int, *, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(width, hidden, batch_first=True, bidirectional=True)

    def forward(self, state: State) -> State:
        features, rest = opened(state)
        features = self.dropout(features)
        if not rest:
            return closed(self.lstm(features)[0], ())
        padding = rest[0]
        if bool((padding[:, :-1] & ~padding[:, 1:]).any()) or bool(padding[:, 0].any()):
            raise TaskError("padding must be at the end of a sequence, and every sequence needs a position without it")
        lengths = (~padding).sum(1).cpu()
        packed = pack_padded_sequence(features, lengths, batch_first=True, enforce_sorted=False)
        found, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=features.shape[1])
        return closed(found, rest)
