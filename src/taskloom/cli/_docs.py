"""Read the one-line summary and the source of a method from its docstring: it is written once, there."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

__all__ = ["source", "summary"]

_SECTION = re.compile(r"^[A-Z][A-Za-z ]*:\s*$")


def summary(documented: Callable[..., object]) -> str:
    """First line of a docstring, without markup.

    Example:
        >>> summary(summary)
        'First line of a docstring, without markup.'
    """
    text = (inspect.getdoc(documented) or "").split("\n\n")[0]
    return _plain(text)


def source(documented: Callable[..., object]) -> str:
    """The section ``Source:`` of a docstring as one line; of its module's where it has none; or nothing.

    Example:
        >>> source(source)
        ''
    """
    module = inspect.getmodule(documented)
    for text in (inspect.getdoc(documented), module.__doc__ if module else None):
        found = _section(text or "", "Source")
        if found:
            return found
    return ""


def _section(text: str, name: str) -> str:
    lines: list[str] = []
    inside = False
    for line in inspect.cleandoc(text).splitlines():
        if _SECTION.match(line):
            inside = line.strip() == f"{name}:"
        elif inside:
            lines.append(line)
    return _plain(" ".join(lines))


def _plain(text: str) -> str:
    without_roles = re.sub(r":\w+:`~?([^`]+)`", r"\1", text)
    return re.sub(r"\s+", " ", without_roles.replace("``", "").replace("`", "")).strip()
