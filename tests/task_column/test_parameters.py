"""Parameters in their range, or an error with the name, what was given and the range."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from taskloom.errors import DataError
from taskloom.task_column import check_deviation, check_flag, check_number, check_whole, refuse_unused


@pytest.mark.parametrize("value", [1, 1.0, np.float32(1), np.int8(1)], ids=lambda value: type(value).__name__)
def test_numbers_of_any_type(value: Any) -> None:
    found = check_number("alpha", value, most=1.0)
    assert found == 1.0
    assert type(found) is float


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf, True, None, "1", [1.0], np.ones(1)], ids=str)
def test_what_is_no_number_in_the_range(value: Any) -> None:
    with pytest.raises(DataError, match=r"^alpha=.*; expected a number of at least 0 \(each of them\)$"):
        check_number("alpha", value, note="each of them")


def test_how_ranges_are_said() -> None:
    for limits, words in (
        ({"is_open": True}, "a number above 0$"),
        ({"least": 1.0}, "a number of at least 1$"),
        ({"least": 1.0, "most": 2.0}, "a number from 1 to 2$"),
        ({"most": 2.0, "is_open": True}, "a number above 0 and up to 2$"),
        ({"least": -math.inf}, "a finite number$"),
    ):
        with pytest.raises(DataError, match=words):
            check_number("alpha", math.nan, **limits)  # type: ignore[arg-type]
    with pytest.raises(DataError):
        check_number("alpha", 0.0, is_open=True)
    assert check_number("alpha", 0.0) == 0.0


def test_whole_numbers() -> None:
    assert check_whole("max_iter", np.int64(3)) == 3
    for value in (0, 1.0, True, "1", None):
        with pytest.raises(DataError, match=r"max_iter=.*; expected a whole number of at least 1 \(turns\)"):
            check_whole("max_iter", value, note="turns")


@pytest.mark.parametrize("value", [True, np.True_, 1, np.int64(1)], ids=lambda value: type(value).__name__)
def test_flags_of_any_type(value: Any) -> None:
    assert check_flag("optimise", value) is True
    assert check_flag("optimise", type(value)(0)) is False


@pytest.mark.parametrize("value", ["no", "True", "", None, 2, -1, 1.0, [True], np.array([True])], ids=repr)
def test_what_is_no_flag(value: Any) -> None:
    with pytest.raises(DataError, match=r"^optimise=.*; expected True or False \(or later\)$"):
        check_flag("optimise", value, note="or later")


class Machine:
    def __init__(self, mu: float = 1.0, *, graph: Any = None, mode: str = "mean") -> None:
        self.mu, self.graph, self.mode = mu, graph, mode


@pytest.mark.parametrize("machine", [Machine(), Machine(1), Machine(np.float64(1.0))], ids=["plain", "whole", "numpy"])
def test_defaults_were_not_set(machine: Machine) -> None:
    refuse_unused(machine, "mu", "graph", "mode", beside="a matrix")


@pytest.mark.parametrize(
    ("machine", "shown"),
    [(Machine(2.0), "mu=2.0"), (Machine(graph=np.eye(2)), "graph=array"), (Machine(mode="max"), "mode='max'")],
    ids=["number", "array", "text"],
)
def test_what_was_set_without_any_use(machine: Machine, shown: str) -> None:
    with pytest.raises(DataError, match=rf"^{shown}.* does nothing beside a matrix; leave it out, or wait") as caught:
        refuse_unused(machine, "mu", "graph", "mode", beside="a matrix", instead="wait")
    assert "\n" not in str(caught.value)


def test_subclasses_that_fix_a_parameter() -> None:
    class Fixed(Machine):
        def __init__(self) -> None:
            super().__init__(3.0)

    refuse_unused(Fixed(), "mu", beside="a matrix")


def test_deviations() -> None:
    assert check_deviation(np.True_, False) is True
    assert check_deviation(0, 1) is False
    with pytest.raises(DataError, match="include_noise=False does nothing beside return_std=False"):
        check_deviation(False, False)
