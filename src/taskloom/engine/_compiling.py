"""Calls from functions that ``torch.compile`` compiles.

Task gradients are read from the autograd graph, which does not exist while a function is traced. A call from a traced
function therefore leaves the compiled region: what comes before and after it is compiled, the call runs as it is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import torch

__all__ = ["uncompiled"]

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def uncompiled(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The function, with a break in the compiled region around every call that is traced."""

    @functools.wraps(function)
    def called(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        if torch.compiler.is_compiling():
            outside = torch.compiler.disable(function)  # looks at gradients: compile without fullgraph=True
            return cast("Result", outside(*arguments, **named))
        return function(*arguments, **named)

    return called
