"""Checks at the door of every statistic."""

from __future__ import annotations

import numpy as np
import pytest

from taskloom.errors import DataError
from taskloom.metrics.statistics.base import finite_vector, tail_share


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_named_by_its_place(broken: float) -> None:
    with pytest.raises(DataError, match=r"gains: found (nan|inf) at position 1"):
        finite_vector([1.0, broken], "gains")


def test_only_vectors() -> None:
    with pytest.raises(DataError, match=r"shape \(1, 2\)"):
        finite_vector([[1.0, 2.0]], "gains")


def test_rounding_does_not_break_ties() -> None:
    null = np.array([0.3, -0.3, 0.1])
    assert tail_share(null, 0.1 + 0.2, scale=0.3, alternative="greater") == 1 / 3
    assert tail_share(null, 0.1 + 0.2, scale=0.3, alternative="two_sided") == 2 / 3
    assert tail_share(null, -0.1 - 0.2, scale=0.3, alternative="less") == 1 / 3
