"""The list of methods, read from the library itself: a method that joins a package joins the list."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

from taskloom.cli._docs import source, summary

__all__ = ["Entry", "catalogue"]


@dataclass(frozen=True)
class Entry:
    """One method: its name, what it does in one line, and where it comes from.

    Example:
        >>> Entry("ridge", "independent ridge regression", "").name
        'ridge'
    """

    name: str
    summary: str
    source: str


def catalogue() -> dict[str, tuple[Entry, ...]]:
    """All methods by section: candidates, baselines, balancers, architectures.

    Example:
        >>> "Balancers" in catalogue()
        True
    """
    return {
        "Candidates (compare --candidates, fit --candidate)": tuple(_candidates(baselines=False)),
        "Baselines (compared with, too)": tuple(_candidates(baselines=True)),
        "Balancers": tuple(_balancers()),
        "Architectures": tuple(_architectures()),
    }


def _candidates(*, baselines: bool) -> Iterator[Entry]:
    from taskloom.study.catalogue import catalogue as all_candidates

    for candidate in all_candidates():
        if (candidate.family == "baseline") == baselines:
            yield Entry(candidate.name, candidate.summary, candidate.source)


def _balancers() -> Iterator[Entry]:
    """Functions of ``taskloom.balance`` that make a link or a balancer."""
    for name, value in _public("taskloom.balance"):
        if inspect.isfunction(value) and name != "chain":
            made = str(inspect.signature(value).return_annotation)
            if made.rsplit(".", 1)[-1].strip("'>") in {"Balancer", "Link"}:
                yield Entry(name, summary(value), source(value))


def _architectures() -> Iterator[Entry]:
    """Networks of ``taskloom.nn``."""
    from taskloom.nn.model import MultiTaskModel

    for name, value in _public("taskloom.nn"):
        if inspect.isclass(value) and issubclass(value, MultiTaskModel) and value is not MultiTaskModel:
            yield Entry(name, summary(value), source(value))


def _public(package: str) -> Iterator[tuple[str, object]]:
    module: ModuleType = importlib.import_module(package)
    for name in sorted(module.__all__):
        yield name, getattr(module, name)
