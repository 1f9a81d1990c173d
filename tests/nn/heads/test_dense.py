from __future__ import annotations

import pytest
import torch

from taskloom.errors import TaskError
from taskloom.nn import DenseHead


def test_sizes() -> None:
    features = torch.randn(2, 4, 5, 6)
    assert DenseHead(4, 3)(features).shape == (2, 3, 5, 6)
    assert DenseHead(4, 3, scale=3)(features).shape == (2, 3, 15, 18)
    assert DenseHead(4, 3, size=(17, 9))(features).shape == (2, 3, 17, 9)


def test_constant_features_stay_constant() -> None:
    head = DenseHead(4, 1, size=(7, 3)).double()
    output = head(torch.ones(1, 4, 3, 3, dtype=torch.float64))
    expected = head.outputs.weight.sum() + head.outputs.bias
    torch.testing.assert_close(output, expected.expand(1, 1, 7, 3), rtol=1e-12, atol=1e-12)


def test_bad_sizes() -> None:
    with pytest.raises(TaskError, match=r"size .* or scale .*, not both"):
        DenseHead(4, 1, size=(2, 2), scale=2)
    with pytest.raises(TaskError, match="numbers of 1 or more, found in_channels=4, n_outputs=0"):
        DenseHead(4, 0)
    with pytest.raises(TaskError, match="scale=0"):
        DenseHead(4, 1, scale=0)
