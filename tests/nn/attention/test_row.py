from __future__ import annotations

import pytest
import torch

from taskloom.errors import TaskError
from taskloom.nn import RowAttention


def test_vectors_and_equal_lengths_stay() -> None:
    vectors, tokens = torch.zeros(2, 3), torch.zeros(2, 5, 3)
    assert RowAttention().resize(vectors, torch.zeros(2, 7)) is vectors
    assert RowAttention().resize(tokens, torch.zeros(2, 5, 7)) is tokens


def test_tokens_are_pooled_or_interpolated() -> None:
    tokens = torch.tensor([[[1.0], [4.0], [2.0], [3.0]]])
    assert RowAttention().resize(tokens, torch.zeros(1, 2, 9)).flatten().tolist() == [4.0, 3.0]
    assert RowAttention().resize(tokens, torch.zeros(1, 8, 9)).shape == (1, 8, 1)


def test_parts_act_on_the_last_axis() -> None:
    attention = RowAttention(reduction=2)
    tokens = torch.zeros(2, 5, 6)
    assert attention.mask(6, 4)(tokens).shape == (2, 5, 4)
    assert attention.norm(4)(attention.refine(6, 4)(tokens)).shape == (2, 5, 4)


def test_bad_settings() -> None:
    with pytest.raises(TaskError, match="reduction must be 1 or more, found 0"):
        RowAttention(reduction=0)
    with pytest.raises(TaskError, match="refine_norm must be 'shared' or 'per_task', found 'group'"):
        RowAttention(refine_norm="group")  # type: ignore[arg-type]
