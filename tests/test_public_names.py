"""Public names: they exist, the stubs agree, and each is documented and called as the house rules say."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import taskloom as tl

SOURCE = Path(__file__).parents[1] / "src"

FIRST_WEEK = (
    "Task Regression Binary Multiclass MultiTaskData read_table fit compare Candidate Results demo "
    "balance chain equal fixed uncertainty pcgrad measure fork "
    "HardSharing Independent SoftSharing HardSoftMix Conditioned Pooled "
    "delta_m transfer_report nn losses metrics data couplings testing "
).split()


@cache
def stubs() -> ModuleType:
    specification = importlib.util.spec_from_file_location(
        "write_stubs", Path(__file__).parents[1] / "tools" / "write_stubs.py"
    )
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


PACKAGES = sorted(stubs().lazy_packages())


def public_objects() -> list[tuple[str, Any]]:
    """Every public name of every package, once per object, as (package.name, object)."""
    seen: dict[int, tuple[str, Any]] = {}
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in module.__all__:
            try:
                found = getattr(module, name)
            except (AttributeError, ImportError):
                continue  # a name that does not exist fails in a test of its own
            if not inspect.ismodule(found):
                seen.setdefault(id(found), (f"{package}.{name}", found))
    return list(seen.values())


OBJECTS = public_objects()


def is_interface(found: Any) -> bool:
    return getattr(found, "_is_protocol", False)


def is_called_by_users(found: Any) -> bool:
    """Functions and classes; not records (``Multiclass(5, labels)``), exceptions, and interfaces."""
    if inspect.isclass(found):
        return not (issubclass(found, BaseException) or hasattr(found, "__dataclass_fields__") or is_interface(found))
    return inspect.isroutine(found)


def each(is_wanted: Callable[[Any], bool]) -> pytest.MarkDecorator:
    wanted = [pytest.param(label, found, id=label) for label, found in OBJECTS if is_wanted(found)]
    return pytest.mark.parametrize(("label", "found"), wanted)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_exists(package: str) -> None:
    module = importlib.import_module(package)
    missing = {}
    for name in module.__all__:
        try:
            getattr(module, name)
        except (AttributeError, ImportError) as error:
            missing[name] = str(error)
    assert not missing


@pytest.mark.parametrize("package", PACKAGES)
def test_the_stub_agrees(package: str) -> None:
    file = stubs().lazy_packages()[package].with_suffix(".pyi")
    assert file.exists(), f"{package} has no stub: run `make stubs`"
    tree = ast.parse(file.read_text())
    imported = {alias.asname for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert imported == set(importlib.import_module(package).__all__)
    assert file.read_text() == stubs().stub(package), "stale: run `make stubs`"


@pytest.mark.parametrize("name", FIRST_WEEK)
def test_what_a_first_week_needs_is_one_dot_away(name: str) -> None:
    assert name in tl.__all__
    assert getattr(tl, name) is not None


@each(lambda found: inspect.isclass(found) or inspect.isroutine(found))
def test_documented_with_an_example(label: str, found: Any) -> None:
    text = inspect.getdoc(found) or ""
    assert text, f"{label} has no docstring"
    first = text.split("\n\n")[0]
    assert first.endswith((".", "?", "!", ":")), f"{label}: the docstring begins with a sentence: {first!r}"
    if is_interface(found):
        return  # nothing to run
    assert re.search(r"^Examples?:$", text, re.MULTILINE), f"{label} has no Example section"
    assert ">>>" in text, f"{label}: the example is not one that runs"


@each(lambda found: inspect.isclass(found) and not found.__module__.startswith("taskloom.testing."))
def test_methods_are_documented(label: str, found: type) -> None:
    """An override may inherit its docstring. Law suites are left out: the names of tests say what they test."""
    bare = [
        name
        for name, method in vars(found).items()
        if not name.startswith("_")
        and (inspect.isroutine(method) or isinstance(method, property | classmethod | staticmethod))
        and not inspect.getdoc(getattr(found, name))
    ]
    assert not bare, f"methods of {label} without a docstring: {bare}"


@each(is_called_by_users)
def test_called_by_names(label: str, found: Any) -> None:
    """At most two positional parameters, and no ``**kwargs``."""
    parameters = list(inspect.signature(found).parameters.values())
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    assert not [p for p in parameters if p.kind is p.VAR_KEYWORD], f"{label} takes **kwargs"
    assert len(positional) <= 2, f"{label}: everything after the first two parameters is keyword-only: {positional}"


def test_the_version_is_written_once() -> None:
    text = (SOURCE / "taskloom" / "__init__.py").read_text()
    assert f'__version__ = "{tl.__version__}"' in text
    citation = (SOURCE.parent / "CITATION.cff").read_text()
    assert f"version: {tl.__version__}\n" in citation
