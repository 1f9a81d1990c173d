from __future__ import annotations

import torch
from torch import nn

from taskloom.nn import PooledHead


def test_mean_over_positions() -> None:
    features = torch.randn(2, 4, 5, 6, dtype=torch.float64)
    layer = nn.Linear(4, 3).double()
    torch.testing.assert_close(PooledHead(layer)(features), layer(features.mean((2, 3))), rtol=1e-12, atol=1e-12)
    assert PooledHead(layer)(features[..., 0]).shape == (2, 3)
