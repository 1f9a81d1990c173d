"""Names that are imported when they are first used, and the error for a part that is not installed.

A package ``__init__`` names what it exports and where each name lives; nothing is imported until a name is used::

    __getattr__, __dir__, __all__ = attach(__name__, {"pcgrad": "mix.pcgrad", "uncertainty": "scale.uncertainty"})

A function may have the name of the file or package it lives in (``taskloom.fit`` the function, ``taskloom/fit/`` the
package). Python binds a submodule to its parent when the submodule is imported, which would hide the function from
then on; :func:`attach` keeps public names from being hidden in this way. ``from taskloom.fit.fit import fit`` and
``import taskloom.fit`` work as always.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from taskloom.errors import TaskloomError, nearest

__all__ = ["MissingExtraError", "attach", "require"]


class MissingExtraError(TaskloomError, ImportError):
    """A feature needs a package that belongs to an extra which is not installed.

    Example:
        >>> issubclass(MissingExtraError, ImportError)
        True
    """


class _LazyPackage(ModuleType):
    """A package whose public names are not overwritten by submodules of the same name."""

    def __setattr__(self, name: str, value: object) -> None:
        lazy_names = self.__dict__.get("__lazy_names__", {})
        if name in lazy_names and isinstance(value, ModuleType) and value.__name__ == f"{self.__name__}.{name}":
            return
        super().__setattr__(name, value)


def attach(
    package_name: str, names: Mapping[str, str], *, modules: Sequence[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Make the public names of a package load when they are first used.

    Args:
        package_name: ``__name__`` of the package.
        names: public name -> submodule that defines it, relative to the package (``"mix.pcgrad"``).
        modules: submodules that are public themselves (``"losses"`` for ``taskloom.losses``).

    Returns:
        ``__getattr__``, ``__dir__`` and ``__all__`` for the package to bind at its top level.

    Example:
        >>> import json
        >>> getattr_, dir_, all_ = attach("json", {"JSONDecoder": "decoder"}, modules=["tool"])
        >>> getattr_("JSONDecoder") is json.JSONDecoder, all_
        (True, ['JSONDecoder', 'tool'])
    """
    package = sys.modules[package_name]
    lazy_names = dict(names)
    public = sorted({*lazy_names, *modules})
    if type(package) is ModuleType and package_name.partition(".")[0] == __name__.partition(".")[0]:
        package.__class__ = _LazyPackage
        package.__dict__["__lazy_names__"] = lazy_names
        package.__dict__["__lazy_modules__"] = tuple(modules)

    def __getattr__(name: str) -> Any:  # noqa: N807
        if name in modules:
            return importlib.import_module(f"{package_name}.{name}")
        if name not in lazy_names:
            hint = "" if name.startswith("_") else nearest(name, public)
            raise AttributeError(f"module {package_name!r} has no attribute {name!r}.{hint}")
        value = getattr(importlib.import_module(f"{package_name}.{lazy_names[name]}"), name)
        package.__dict__[name] = value
        return value

    def __dir__() -> list[str]:  # noqa: N807
        return sorted({*package.__dict__, *public})

    return __getattr__, __dir__, public


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import a package that belongs to an optional extra, or say how to install it.

    Args:
        module: name of the module to import, for example ``"numba"``.
        extra: extra of taskloom that brings it, for example ``"fast"``.
        purpose: what needs it; begins the error message.

    Returns:
        the imported module.

    Raises:
        MissingExtraError: the module is not installed; the message has the line that installs it.

    Example:
        >>> require("json", extra="fast", purpose="reading settings").__name__
        'json'
        >>> require("no_such_module", extra="fast", purpose="compiled solvers")
        Traceback (most recent call last):
        taskloom._lazy.MissingExtraError: compiled solvers: the package 'no_such_module' is not installed. ...
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise  # the package is there, but something that it needs is not: that is another problem
        raise MissingExtraError(
            f'{purpose}: the package {module!r} is not installed. Install it with: pip install "taskloom[{extra}]"'
        ) from error
