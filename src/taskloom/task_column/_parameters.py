"""Parameters of estimators as flags or numbers in their range, or an error that says which it is and its range.

A parameter of which nothing would come is refused too (:func:`refuse_unused`): who sets it expects something else.
"""

from __future__ import annotations

import inspect
import math
import reprlib
from typing import Any

import numpy as np

from taskloom.errors import DataError

__all__ = ["check_deviation", "check_flag", "check_number", "check_whole", "refuse_unused"]


def check_flag(name: str, value: Any, *, note: str = "") -> bool:
    """A parameter as True or False. Text is none, since ``"no"`` would count as true.

    Args:
        name: of the parameter, for the message.
        value: what the user gave; NumPy's truth values and the whole numbers 0 and 1 will do.
        note: what else the parameter may be, for the message.

    Raises:
        DataError: anything else.

    Example:
        >>> check_flag("fit_intercept", True), check_flag("fit_intercept", 0)
        (True, False)
        >>> check_flag("fit_intercept", "no")
        Traceback (most recent call last):
        taskloom.errors.DataError: fit_intercept='no'; expected True or False
    """
    if isinstance(value, bool | np.bool_) or (isinstance(value, int | np.integer) and value in (0, 1)):
        return bool(value)
    raise DataError(f"{name}={value!r}; expected True or False{note and f' ({note})'}")


def check_number(
    name: str, value: Any, *, least: float = 0.0, most: float = math.inf, is_open: bool = False, note: str = ""
) -> float:
    """A parameter as a finite number in its range.

    Args:
        name: of the parameter, for the message.
        value: what the user gave.
        least: smallest value; minus infinity for any number.
        most: largest value.
        is_open: whether ``least`` itself is forbidden.
        note: what the message says of the range beside its ends.

    Raises:
        DataError: no finite number, or one outside the range.

    Example:
        >>> check_number("alpha", 1), check_number("coef0", -2.5, least=-math.inf)
        (1.0, -2.5)
        >>> check_number("gamma", 1.5, most=1.0)
        Traceback (most recent call last):
        taskloom.errors.DataError: gamma=1.5; expected a number from 0 to 1
    """
    is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not is_number or not np.isfinite(value) or not least <= value <= most or (is_open and value == least):
        raise DataError(f"{name}={value!r}; expected a {_range(least, most, is_open)}{note and f' ({note})'}")
    return float(value)


def _range(least: float, most: float, is_open: bool) -> str:
    if math.isinf(least):
        return "finite number"
    if math.isfinite(most):
        return f"number {'above' if is_open else 'from'} {least:g} {'and up ' if is_open else ''}to {most:g}"
    return f"number {'above' if is_open else 'of at least'} {least:g}"


def check_whole(name: str, value: Any, *, least: int = 1, note: str = "") -> int:
    """A parameter as a whole number.

    Args:
        name: of the parameter, for the message.
        value: what the user gave.
        least: smallest value.
        note: what the message says beside the smallest value.

    Raises:
        DataError: no whole number (``10.0`` is none), or too small a one.

    Example:
        >>> check_whole("max_iter", 100)
        100
        >>> check_whole("max_iter", 0)
        Traceback (most recent call last):
        taskloom.errors.DataError: max_iter=0; expected a whole number of at least 1
    """
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_whole or value < least:
        raise DataError(f"{name}={value!r}; expected a whole number of at least {least}{note and f' ({note})'}")
    return int(value)


def refuse_unused(estimator: Any, *names: str, beside: str, instead: str = "") -> None:
    """Refuse parameters that were set though nothing comes of them. At its default a parameter was not set.

    Args:
        estimator: whose parameters they are.
        names: of the parameters.
        beside: what makes them useless, for the message.
        instead: what else to do, for the message.

    Raises:
        DataError: one of them is not what the signature has.

    Example:
        >>> from sklearn.linear_model import Ridge
        >>> refuse_unused(Ridge(), "max_iter", "solver", beside="n=2")
        >>> refuse_unused(Ridge(max_iter=5), "max_iter", beside="n=2", instead="solve by iterations")
        Traceback (most recent call last):
        taskloom.errors.DataError: max_iter=5 does nothing beside n=2; leave it out, or solve by iterations
    """
    parameters = inspect.signature(type(estimator)).parameters
    for name in names:
        value = getattr(estimator, name)
        if name in parameters and not np.array_equal(value, parameters[name].default):
            shown = " ".join(reprlib.repr(value).split())
            raise DataError(f"{name}={shown} does nothing beside {beside}; leave it out{instead and f', or {instead}'}")


def check_deviation(return_std: Any, include_noise: Any) -> bool:
    """Whether ``predict`` is asked for standard deviations, which alone have or have not the noise.

    Args:
        return_std: argument of ``predict``.
        include_noise: argument of ``predict``.

    Raises:
        DataError: no flags, or deviations without noise where none are asked for.

    Example:
        >>> check_deviation(True, False), check_deviation(False, True)
        (True, False)
    """
    has_deviation, has_noise = check_flag("return_std", return_std), check_flag("include_noise", include_noise)
    if not (has_deviation or has_noise):
        raise DataError(
            "include_noise=False does nothing beside return_std=False; leave it out, or set return_std=True"
        )
    return has_deviation
