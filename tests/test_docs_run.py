"""Every Python block of the README and the guide runs, and every command in them is one that exists.

The blocks of one page run in order and in one namespace, in an empty folder that holds the tables the pages speak of.
``compare`` is given the smallest budget; everything else is as printed.
"""

from __future__ import annotations

import functools
import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import taskloom as tl

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.rst"))]


def blocks(page: Path, language: str) -> Iterator[tuple[int, str]]:
    """Line number and text of every block of a language on a page."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".md":
        pattern = re.compile(rf"^```{language}\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
    else:
        pattern = re.compile(rf"^\.\. code-block:: {language}\n\n?(?P<code>(?:[ ]+\S.*\n|\n)+)", re.MULTILINE)
    for match in pattern.finditer(text):
        yield text.count("\n", 0, match.start("code")), textwrap.dedent(match["code"])


WITH_PYTHON = [page for page in PAGES if any(blocks(page, "python"))]
WITH_COMMANDS = [page for page in PAGES if any(blocks(page, "console"))]


def commands(page: Path) -> list[str]:
    """Command lines of taskloom on a page, without the prompt and without comments."""
    lines = [line for _, block in blocks(page, "console") for line in block.splitlines()]
    plain = [line.removeprefix("$ ").partition(" #")[0].strip() for line in lines]
    return [line for line in plain if re.match(r"(\S*/)?taskloom ", line)]


def write_tables(folder: Path) -> None:
    """The tables that the pages speak of: 150 rows, every column that a command names."""
    generator = np.random.default_rng(0)
    lines = ["age,income,school,patient,maths,reading,motor,total,a,b"]
    for row in range(150):
        age, income = generator.normal(size=2)
        noise = generator.normal(scale=0.3, size=4)
        targets = [age + income, age - income, age + 0.5, 2 * income]
        maths, reading, motor, total = (value + extra for value, extra in zip(targets, noise, strict=True))
        numbers = [maths, reading, motor, total, maths + noise[1], reading + noise[0]]
        school, patient = ["north", "south", "east"][row % 3], f"p{row // 5}"
        lines.append(f"{age:.4f},{income:.4f},{school},{patient}," + ",".join(f"{number:.4f}" for number in numbers))
    for name in ("marks.csv", "visits.csv", "data.csv"):
        (folder / name).write_text("\n".join(lines) + "\n")


def small(compare: Any) -> Any:
    """``compare`` with the smallest budget that still compares something."""
    return functools.partial(
        compare, candidates=["single_task", "hard_sharing"], seeds=2, budget="1 trial", progress=False
    )


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.name)
def test_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_tables(tmp_path)
    if "tl.compare" in page.read_text(encoding="utf-8") or page.name == "run_folder.rst":
        monkeypatch.setattr(tl, "compare", small(tl.compare))
    if page.name == "run_folder.rst":
        tl.compare(tl.read_table("marks.csv", targets=["maths", "reading"]), out="taskloom-runs/marks")
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for line, code in blocks(page, "python"):
        exec(compile("\n" * line + code, str(page), "exec"), namespace)
    if page.name == "README.md":
        assert (tmp_path / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("page", "command"),
    [pytest.param(page, command, id=f"{page.name}: {command}") for page in WITH_COMMANDS for command in commands(page)],
)
def test_commands_exist(page: Path, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsed by the real parser, not run."""
    typer_main = pytest.importorskip("typer.main")
    from taskloom.cli.app import app

    monkeypatch.chdir(tmp_path)
    write_tables(tmp_path)
    name, *arguments = shlex.split(command)[1:]
    known = typer_main.get_command(app).commands
    assert name in known, f"{page.name} speaks of 'taskloom {name}'"
    known[name].make_context(name, arguments)


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in [*PAGES, ROOT / "ARCHITECTURE.md"]:
        named = set(re.findall(r"(?:`|\$ )make ([a-z]+)", page.read_text(encoding="utf-8")))
        assert named <= targets, page.name


def test_links_between_files_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            if target == "docs/_static/report.png" and not (ROOT / target).exists():
                continue  # drawn from a finished demonstration
            assert (ROOT / target).exists(), f"{page.name}: {target}"


def test_the_page_of_candidates_is_the_list() -> None:
    from taskloom.study.catalogue import catalogue

    named = re.findall(r"^   \* - ``(\w+)``$", (ROOT / "docs" / "candidates.rst").read_text(), re.MULTILINE)
    assert named == [candidate.name for candidate in catalogue()]


def test_every_public_name_is_in_the_reference() -> None:
    text = (ROOT / "docs" / "api" / "index.rst").read_text()
    listed = set(re.findall(r"^   (\w+)$", text, re.MULTILINE))
    assert set(tl.__all__) - set(tl.__dict__["__lazy_modules__"]) == listed


def test_every_architecture_is_built_on_its_page() -> None:
    from taskloom import nn

    public = {name: getattr(nn, name) for name in nn.__all__}
    names = {name for name, one in public.items() if isinstance(one, type) and issubclass(one, nn.MultiTaskModel)}
    page = ROOT / "docs" / "architectures.rst"
    table = page.read_text().partition("What they are built from")[0]
    code = "".join(text for _, text in blocks(page, "python"))
    architectures = names - {"MultiTaskModel"}
    assert architectures == {name for name in names if re.search(rf"\b(tl|nn)\.{name}\(", code)}
    assert architectures - {"Deferred"} <= set(re.findall(r"\w+", table))  # which stands for any of them
