from __future__ import annotations

import pytest
import torch
from torch import nn

from taskloom.errors import TaskError
from taskloom.nn import MLP


def test_shapes() -> None:
    encoder = MLP(5, (16, 8), dropout=0.1)
    assert (encoder.in_features, encoder.out_features, len(encoder)) == (5, 8, 2)
    assert encoder(torch.zeros(1, 5)).shape == (1, 8)
    assert sum(isinstance(part, nn.Dropout) for part in encoder.modules()) == 2
    assert not any(isinstance(part, nn.Dropout) for part in MLP(5).modules())


def test_no_hidden_layer_passes_the_inputs() -> None:
    encoder = MLP(5, ())
    assert encoder.out_features == 5
    assert torch.equal(encoder(torch.ones(2, 5)), torch.ones(2, 5))


def test_bad_sizes() -> None:
    with pytest.raises(TaskError, match="widths"):
        MLP(0)
    with pytest.raises(TaskError, match="widths"):
        MLP(3, (4, 0))
    with pytest.raises(TaskError, match="dropout"):
        MLP(3, dropout=1.0)
