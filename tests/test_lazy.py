"""Lazy names: looked up once, never hidden by a submodule of the same name, and kind to a typing mistake."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskloom._lazy import MissingExtraError, require
from taskloom.errors import TaskloomError


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package below taskloom with a function, a file and a package that share the name ``weave``."""
    import taskloom

    folder = tmp_path / "_loom_for_tests"
    (folder / "weave").mkdir(parents=True)
    (folder / "__init__.py").write_text(
        textwrap.dedent(
            """
            from taskloom._lazy import attach

            names = {"weave": "weave.weave", "thread": "thread"}
            __getattr__, __dir__, __all__ = attach(__name__, names, modules=["tool"])
            """
        )
    )
    (folder / "weave" / "__init__.py").write_text("")
    (folder / "weave" / "weave.py").write_text("def weave():\n    return 'woven'\n")
    (folder / "thread.py").write_text("def thread():\n    return 'thread'\n")
    (folder / "tool.py").write_text("answer = 42\n")
    monkeypatch.setattr(taskloom, "__path__", [*taskloom.__path__, str(tmp_path)])
    yield "taskloom._loom_for_tests"
    for name in [name for name in sys.modules if name.startswith("taskloom._loom_for_tests")]:
        del sys.modules[name]
    taskloom.__dict__.pop("_loom_for_tests", None)


def test_names_are_imported_when_used(package: str) -> None:
    loom = importlib.import_module(package)
    assert f"{package}.thread" not in sys.modules
    assert loom.thread() == "thread"
    assert loom.weave() == "woven"
    assert loom.tool.answer == 42
    assert loom.__all__ == ["thread", "tool", "weave"]
    assert {"thread", "tool", "weave"} <= set(dir(loom))


@pytest.mark.parametrize("first", ["thread", "weave", "weave.weave"])
def test_a_submodule_does_not_hide_the_function_of_its_name(package: str, first: str) -> None:
    loom = importlib.import_module(package)
    importlib.import_module(f"{package}.{first}")
    assert loom.thread() == "thread"
    assert loom.weave() == "woven"
    importlib.import_module(f"{package}.weave.weave")
    assert loom.weave() == "woven"


def test_from_import_and_star_import_work(package: str) -> None:
    namespace: dict[str, object] = {}
    exec(f"from {package} import *\nfrom {package}.weave.weave import weave as direct", namespace)
    assert namespace["weave"] is namespace["direct"]
    assert namespace["tool"] is sys.modules[f"{package}.tool"]


def test_an_unknown_name_gets_the_nearest_one(package: str) -> None:
    loom = importlib.import_module(package)
    with pytest.raises(AttributeError, match=r"has no attribute 'waeve'\. Did you mean 'weave'\?"):
        loom.waeve  # noqa: B018
    assert not hasattr(loom, "__wrapped__")


def test_an_ordinary_attribute_can_be_set(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loom = importlib.import_module(package)
    monkeypatch.setattr(loom, "weave", len)
    assert loom.weave is len


def test_a_missing_extra_names_the_line_that_installs_it() -> None:
    with pytest.raises(MissingExtraError, match=r'pip install "taskloom\[fast\]"') as caught:
        require("no_such_module", extra="fast", purpose="compiled solvers")
    assert isinstance(caught.value, TaskloomError)
    assert isinstance(caught.value, ImportError)


def test_a_broken_installation_is_not_called_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_there.py").write_text("import not_there_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all") as caught:
        require("half_there", extra="fast", purpose="compiled solvers")
    assert not isinstance(caught.value, MissingExtraError)
