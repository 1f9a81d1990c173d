"""The relative gain, on which Delta_m and every verdict rest."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskloom.errors import DataError
from taskloom.metrics import Metric, relative_gain

positive = st.floats(1e-6, 1e6)


@given(value=positive, reference=positive, factor=st.floats(1e-3, 1e3))
def test_does_not_depend_on_the_unit(value: float, reference: float, factor: float) -> None:
    gain = relative_gain(value, reference, lower_is_better=True)
    scaled = relative_gain(factor * value, factor * reference, lower_is_better=True)
    assert scaled == pytest.approx(gain, rel=1e-9, abs=1e-9)


@given(value=positive, reference=positive)
def test_direction_turns_the_sign(value: float, reference: float) -> None:
    gain = relative_gain(value, reference, lower_is_better=True)
    assert relative_gain(value, reference, lower_is_better=False) == -gain
    assert (gain > 0) == (value < reference)


def test_scores_that_are_negative_on_both_sides_keep_their_direction() -> None:
    assert relative_gain(-3.0, -2.0, lower_is_better=True) == 50.0
    assert relative_gain(-3.0, -2.0, lower_is_better=False) == -50.0


def test_a_reference_of_zero_is_refused_and_nan_stays_nan() -> None:
    with pytest.raises(DataError, match=r"divides by 0\.0"):
        relative_gain(1.0, 0.0, lower_is_better=True)
    assert math.isnan(relative_gain(math.nan, 1.0, lower_is_better=True))


def test_a_metric_without_a_formula_says_so() -> None:
    with pytest.raises(NotImplementedError):
        Metric()(np.zeros(1), np.zeros(1))
