"""Compilation by numba where it is installed; the same source runs as plain NumPy where it is not.

``pip install taskloom[fast]`` brings numba; the environment variable ``TASKLOOM_NO_NUMBA=1`` leaves it aside. The first
call of a solver compiles for several seconds, once per installation: machine code is kept beside the source. Numba
looks at the age of one file only, so a compiled function calls compiled functions of its own file and of no other one
(a test checks it); a change never meets old code.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["IS_COMPILED", "compiled", "compiled_in_any_order"]

Function = TypeVar("Function", bound=Callable[..., Any])


def _numba() -> Any:
    if os.environ.get("TASKLOOM_NO_NUMBA", "") not in ("", "0"):
        return None
    try:
        import numba
    except ImportError:
        return None
    return numba


_NUMBA = _numba()
IS_COMPILED = _NUMBA is not None


def compiled(function: Function) -> Function:
    """The function as machine code, made at its first call; the function itself without numba."""
    return _compiled(function, {})


def compiled_in_any_order(function: Function) -> Function:
    """The same, where the terms of sums may be added in any order, several at once; NaN and infinity stay."""
    return _compiled(function, {"fastmath": {"reassoc", "contract", "nsz"}})


def _compiled(function: Function, options: dict[str, Any]) -> Function:
    if _NUMBA is None:
        return function
    try:
        found: Function = _NUMBA.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder that can be written to: compile in every process
        found = _NUMBA.njit(**options)(function)
    return found
