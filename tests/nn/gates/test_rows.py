from __future__ import annotations

import pytest
import torch
from torch import nn

from taskloom.errors import TaskError
from taskloom.nn.gates.rows import check_gate_input, gate_rows


def test_default_rows() -> None:
    torch.manual_seed(0)
    matrix, tokens, images = torch.randn(2, 3), torch.randn(2, 5, 3), torch.randn(2, 3, 4, 5)
    assert gate_rows(matrix, None) is matrix
    torch.testing.assert_close(gate_rows(tokens, None), tokens.sum(1) / 5)
    torch.testing.assert_close(gate_rows(images, None), images.flatten(2).sum(2) / 20)
    assert gate_rows(images, lambda x: x[:, 0, 0]).shape == (2, 5)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (torch.zeros(2, 3, 4, 5, 6), r"got \(2, 3, 4, 5, 6\) torch.float32"),
        (torch.zeros(2, 3, dtype=torch.int64), r"got \(2, 3\) torch.int64"),
        ({"ids": torch.zeros(2, 3)}, "got dict"),
    ],
    ids=["5 axes", "integers", "mapping"],
)
def test_what_is_no_rows(value: object, found: str) -> None:
    with pytest.raises(TaskError, match=f"gate input must be .batch, features.* {found}; give gate_input="):
        gate_rows(value, None)


def test_the_users_function_must_give_rows() -> None:
    with pytest.raises(TaskError, match=r"got \(2, 3, 8, 8\)"):
        gate_rows(torch.zeros(2, 3, 8, 8), lambda x: x)
    with pytest.raises(TaskError, match="gate_input must be a function without parameters, found Linear"):
        check_gate_input(nn.Linear(2, 2))
    check_gate_input(nn.Flatten())
