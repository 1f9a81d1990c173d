from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from taskloom.errors import ExportError
from taskloom.report.html import page, write_report

Make = Callable[..., Any]


class Page(HTMLParser):
    """What a browser would find: elements with their attributes, and text outside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "br", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def written(make_results: Make) -> tuple[Any, Page]:
    results = make_results(tasks=6, epochs=4)
    return results, Page(page(results))


def test_answer_and_verdicts_are_those_of_the_results(written: tuple[Any, Page]) -> None:
    results, found = written
    assert results.answer() in found.text
    shown = {item["data-task"]: item["data-verdict"] for item in found.all("li") if "data-task" in item}
    assert shown == {gain.task: gain.verdict for gain in results.gains(results.best("together").candidate).tasks}


def test_names_of_users_are_text(written: tuple[Any, Page]) -> None:
    _, found = written
    for name in (
        "a/b <script>alert('x')</script>",
        "수학 점수",
        "tremor & gait",
        "<b>jitter</b>",
        "parkinsons & friends.csv",
    ):
        assert name in found.text
    assert len(found.all("script")) == 4  # mark as scripted, numbers, plotly.js, our own
    assert not found.all("b")


def test_nothing_is_loaded_from_elsewhere(written: tuple[Any, Page]) -> None:
    _, found = written
    for _, attributes in found.elements:
        for name in ("src", "href", "action", "srcset", "poster", "data"):
            assert not re.match(r"(https?:)?//", attributes.get(name) or "")
    assert "url(" not in Path(__file__).parents[2].joinpath("src/taskloom/report/template/page.css").read_text()
    policy = next(item for item in found.all("meta") if item.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in (policy["content"] or "")


def test_headings_are_in_order_and_ids_are_unique(written: tuple[Any, Page]) -> None:
    _, found = written
    levels = [int(name[1]) for name, _ in found.elements if re.fullmatch(r"h[1-6]", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert found.all("html") == [{"lang": "en"}]
    links = [item["href"] for item in found.all("a")]
    assert {str(link).removeprefix("#") for link in links} <= set(ids)


def test_sign_convention_stands_beside_every_gain(written: tuple[Any, Page]) -> None:
    _, found = written
    assert "Positive means that learning together is better" in found.text
    assert "Positive means multi-task is better." in found.text
    assert "positive = multi-task better" in found.text


def test_every_column_can_be_sorted(written: tuple[Any, Page]) -> None:
    _, found = written
    headers = [item for item in found.all("th") if item.get("scope") == "col"]
    assert headers
    assert all(item["aria-sort"] in ("none", "ascending", "descending") for item in headers)
    assert len([item for item in found.all("button") if item["type"] == "button"]) == len(headers)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"seeds": 1, "epochs": 4}, "one seed: no interval and no test"),
        ({"epochs": 4, "with_conflicts": False, "with_weights": False}, "Gradient cosines were not measured"),
        ({"epochs": 4, "missing": "motor UPDRS"}, "1 seed left out: the score is not finite"),
        ({"tasks": 1, "epochs": 4}, "1 task"),
        ({"epochs": 0}, "Verdict per task"),
        ({"tasks": 139, "seeds": 2, "epochs": 1, "candidates": ("single_task", "hard_sharing")}, "school 134"),
        ({"epochs": 4, "candidates": ("single_task", "pooled")}, "Pooled network"),
    ],
)
def test_unusual_comparisons(make_results: Make, arguments: dict[str, Any], said: str) -> None:
    found = Page(page(make_results(**arguments)))
    assert said in found.text
    assert "nan" not in re.findall(r"[a-z]+", found.text.lower())
    assert found.open == []


def test_only_single_task_networks(make_results: Make) -> None:
    found = Page(page(make_results(epochs=2, candidates=("single_task",))))
    assert "No candidate was compared with single-task networks." in found.text


def test_when_single_task_networks_are_best_the_verdicts_are_about_learning_together(make_results: Make) -> None:
    results = make_results(epochs=2, candidates=("single_task", "pooled", "ridge"))
    assert results.best().candidate == "single_task"
    found = Page(page(results))
    assert "Pooled network, the best way of learning together, against single-task networks" in found.text
    shown = {item["data-task"]: item["data-verdict"] for item in found.all("li") if "data-task" in item}
    assert shown == {gain.task: gain.verdict for gain in results.gains("pooled").tasks}


def test_report_is_written_at_once(make_results: Make, tmp_path: Path) -> None:
    results = make_results(tasks=1, epochs=2)
    path = tmp_path / "new folder" / "report.html"
    assert write_report(results, path) == path
    assert write_report(results, str(path)) == path
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert text.count("plotly.js v") >= 1


def test_a_place_that_cannot_be_written_is_said(make_results: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="cannot be written"):
        write_report(make_results(tasks=1, epochs=2), tmp_path / "file" / "report.html")


def test_gains_in_units_of_the_score(make_results: Make) -> None:
    results = make_results(tasks=2, epochs=2)
    zero = (pl.col("candidate") == "single_task") & (pl.col("seed") == 0)
    scores = results.scores.with_columns(value=pl.when(zero).then(0.0).otherwise(pl.col("value")))
    found = Page(page(replace(results, scores=scores)))
    assert "in units of the score" in found.text
