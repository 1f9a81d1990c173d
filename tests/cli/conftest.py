"""A small table, and a comparison that answers at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.text import Text

import taskloom as tl
import taskloom.report


class InstantResults:
    """Stands for the results of a comparison, with the methods that the commands call."""

    def report(self, path: Path) -> Path:
        path.write_text("<html>")
        return path

    def answer(self) -> str:
        return "Yes, it is better. [bold]Sharing[/bold] helps."


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """An empty working folder with a small table."""
    monkeypatch.chdir(tmp_path)
    lines = ["x,z,patient,price,sold"]
    lines += [
        f"{7 * i % 60 / 10},{i * i % 23},p{i % 12},{i * 37 % 101 / 7},{'yes' if i * 13 % 7 > 3 else 'no'}"
        for i in range(60)
    ]
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.fixture
def compared(monkeypatch) -> list[dict[str, object]]:
    """Replaces the comparison; every call is recorded."""
    calls: list[dict[str, object]] = []

    def compare(data: tl.MultiTaskData, **options: object) -> InstantResults:
        calls.append({"data": data, **options})
        return InstantResults()

    monkeypatch.setitem(vars(tl), "compare", compare)
    monkeypatch.setitem(vars(taskloom.report), "console_summary", lambda results: Text(results.answer()))
    return calls
