"""Search spaces: values stay inside their bounds, and wrong bounds are refused."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from taskloom.errors import StudyError
from taskloom.study.space import Choice, LogRange, Range, default_settings, settings_at

shares = st.floats(0.0, 1.0, exclude_max=True)
positive = st.floats(1e-12, 1e12)


@given(positive, positive, shares)
def test_values_lie_inside_the_bounds(a, b, share):
    low, high = min(a, b), max(a, b)
    assume(low < high)
    for kind in (Range, LogRange):
        assert low <= kind("x", low, high, default=low).at(share) <= high


def test_a_logarithmic_range_is_even_in_the_logarithm():
    parameter = LogRange("x", 1e-4, 1e0, default=1e-2)
    assert [parameter.at(share) for share in (0.0, 0.25, 0.5)] == pytest.approx([1e-4, 1e-3, 1e-2])
    assert math.isclose(Range("x", -1.0, 3.0, default=0.0).at(0.5), 1.0)


@given(st.lists(st.integers(), min_size=1, unique=True), shares)
def test_every_value_of_a_choice_has_the_same_share(values, share):
    parameter = Choice("x", tuple(values), default=values[0])
    assert parameter.at(share) == values[int(share * len(values))]
    assert {parameter.at((place + 0.5) / len(values)) for place in range(len(values))} == set(values)


def test_settings_by_name():
    space = [Range("a", 0.0, 1.0, default=0.5), Choice("b", ("x", "y"), default="y")]
    assert default_settings(space) == {"a": 0.5, "b": "y"}
    assert settings_at(space, [0.25, 0.0]) == {"a": 0.25, "b": "x"}
    with pytest.raises(ValueError, match="shorter"):
        settings_at(space, [0.25])


@pytest.mark.parametrize(
    "make",
    [
        lambda: Range("rate", 1.0, 0.0, default=0.5),
        lambda: Range("rate", 0.0, 1.0, default=2.0),
        lambda: LogRange("rate", 1e-3, 1e-1, default=1.0),
        lambda: LogRange("rate", 0.0, 1e-1, default=1e-2),
        lambda: Choice("rate", (1, 2), default=3),
        lambda: Choice("rate", (), default=3),
    ],
)
def test_wrong_bounds_are_refused_by_name(make):
    with pytest.raises(StudyError, match="'rate'"):
        make()
