"""The report in a real browser: headless Chromium driven by Playwright, with every connection refused."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser

Make = Callable[..., Any]

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
PHONE = {"width": 375, "height": 812}
DESK = {"width": 1280, "height": 900}


def chromium() -> str | None:
    """Where Chromium is: the environment variable TASKLOOM_CHROMIUM, Debian's place, or the path."""
    places = (os.environ.get("TASKLOOM_CHROMIUM"), "/usr/bin/chromium", shutil.which("chromium"))
    return next((place for place in places if place and Path(place).exists()), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    executable = chromium()
    if executable is None:
        pytest.skip("no Chromium: install Debian's chromium, or set TASKLOOM_CHROMIUM to a browser")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=executable, args=list(FLAGS))
        yield started
        started.close()


@pytest.fixture(scope="module")
def report(make_results: Make, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    from taskloom.report.html import write_report

    results = make_results(tasks=4, epochs=12)
    return results, write_report(results, tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(scope="module")
def report_of_many(make_results: Make, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    from taskloom.report.html import write_report

    results = make_results(
        tasks=139, seeds=2, epochs=2, candidates=("single_task", "hard_sharing", "hard_sharing_uncertainty")
    )
    return results, write_report(results, tmp_path_factory.mktemp("many") / "report.html")


@contextmanager
def opened(browser: Any, path: Path, *, size: dict[str, int] = DESK, scheme: str = "light") -> Iterator[Any]:
    """Open the page without a network; fail on whatever it says on the console and on every request it makes."""
    context = browser.new_context(viewport=size, color_scheme=scheme, offline=True)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    page.on("request", lambda request: None if request.url.startswith(("file:", "data:")) else said.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_selector(".plot .main-svg", state="attached")
    yield page
    context.close()
    assert said == []


def wait_until(page: Any, expression: str) -> None:
    """Wait for an expression to be true (``wait_for_function`` needs the ``eval`` that the page forbids)."""
    for _ in range(100):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never true: {expression}")


def numbers_in(page: Any, table: str, column: int) -> list[float | None]:
    """Values of a column in the order shown, read from the digits that a person sees."""
    cells = page.locator(f"#{table} tbody tr > :nth-child({column + 1})").all_inner_texts()
    found = []
    for cell in cells:
        first = cell.strip().splitlines()[0].replace("−", "-").replace(",", "")
        number = re.match(r"[+-]?\d+(\.\d+)?", first)
        found.append(None if number is None else float(number[0]))
    return found


def test_answer_and_verdicts_are_those_of_the_results(browser: Any, report: tuple[Any, Path]) -> None:
    results, path = report
    with opened(browser, path) as page:
        assert page.locator("#answer").inner_text() == results.answer()
        gains = results.gains(results.best("together").candidate)
        items = page.locator(".verdicts > li")
        assert items.count() == len(gains.tasks)
        for position, gain in enumerate(gains.tasks):
            item = items.nth(position)
            assert item.locator(".task").inner_text() == gain.task
            assert item.locator(".word").inner_text().lower().startswith(gain.verdict)
            shown = item.locator(".gain").inner_text().replace("−", "-").removesuffix(" %")
            assert float(shown) == pytest.approx(gain.mean, abs=0.051)


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("which", ["report", "report_of_many"])
def test_every_figure_is_drawn(
    browser: Any, request: pytest.FixtureRequest, which: str, size: dict[str, int], scheme: str
) -> None:
    _, path = request.getfixturevalue(which)
    with opened(browser, path, size=size, scheme=scheme) as page:
        drawn = page.evaluate(
            """[...document.querySelectorAll('.plot')].map((plot) => ({
                id: plot.id, width: plot.getBoundingClientRect().width,
                svg: plot.querySelector('.main-svg')?.getBoundingClientRect().width ?? 0,
                marks: plot.querySelectorAll('.main-svg :is(path.point, path.js-line, .hm image)').length,
            }))"""
        )
        assert {entry["id"] for entry in drawn} >= {"plot-gains", "plot-candidates", "plot-curves", "plot-conflicts"}
        for entry in drawn:
            assert entry["marks"] > 0, entry
            assert 0 < entry["svg"] <= entry["width"] + 1, entry
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]


def test_tables_sort_by_click_and_by_keyboard(browser: Any, report: tuple[Any, Path]) -> None:
    results, path = report
    with opened(browser, path) as page:
        headers = page.locator("#table-candidates thead th")
        count = len(results.settings["candidates"])
        deltas = numbers_in(page, "table-candidates", 1)
        assert deltas == sorted(deltas, key=lambda value: -(value or 0.0))
        assert headers.nth(1).get_attribute("aria-sort") == "descending"

        headers.nth(1).locator("button").click()
        deltas = numbers_in(page, "table-candidates", 1)
        assert len(deltas) == count
        assert deltas == sorted(deltas, key=lambda value: value or 0.0)
        assert headers.nth(1).get_attribute("aria-sort") == "ascending"

        headers.nth(2).locator("button").focus()
        page.keyboard.press("Enter")
        scores = numbers_in(page, "table-candidates", 2)
        assert scores == sorted(scores, key=lambda value: -(value or 0.0))
        page.keyboard.press("Space")
        assert numbers_in(page, "table-candidates", 2) == scores[::-1]
        assert headers.nth(1).get_attribute("aria-sort") == "none"
        assert headers.nth(2).get_attribute("aria-sort") == "ascending"

        headers.nth(0).locator("button").click()
        names = [name.splitlines()[0] for name in page.locator("#table-candidates tbody th").all_inner_texts()]
        assert names == sorted(names, key=str.casefold)


def test_missing_values_are_last_in_both_orders(browser: Any, report_of_many: tuple[Any, Path]) -> None:
    _, path = report_of_many
    with opened(browser, path) as page:
        button = (
            page.locator("#table-candidates thead th").nth(2).locator("button")
        )  # tasks above 0: none for the reference
        for _ in range(2):
            button.click()
            values = numbers_in(page, "table-candidates", 2)
            assert values[-1] is None
            assert None not in values[:-1]


def test_figures_and_tables_follow_the_choice_of_candidate(browser: Any, report: tuple[Any, Path]) -> None:
    results, path = report
    with opened(browser, path) as page:
        page.locator("#gains-candidate").select_option("pooled")
        page.get_by_text("The gains as a table").click()
        shown = dict(
            zip(
                page.locator("#table-gains tbody th").all_inner_texts(), numbers_in(page, "table-gains", 2), strict=True
            )
        )
        assert shown == {gain.task: pytest.approx(gain.mean, abs=0.051) for gain in results.gains("pooled").tasks}
        drawn = page.evaluate("document.getElementById('plot-gains').data.slice(1).flatMap((trace) => trace.x)")
        assert sorted(drawn) == pytest.approx(sorted(gain.mean for gain in results.gains("pooled").tasks), rel=1e-3)

        page.locator("#curves-candidate").select_option("single_task")
        page.locator("#curves-task").select_option("1")
        assert page.evaluate("document.getElementById('plot-curves').layout.annotations.length") == 1

        page.locator("#conflicts-view").select_option("matrix")
        slider = page.locator("#conflicts-epoch")
        assert slider.is_visible()
        slider.focus()
        before = page.evaluate("document.getElementById('plot-conflicts').data[0].z[0][1]")
        page.keyboard.press("End")
        assert page.locator("#conflicts-epoch-shown").inner_text() == "12"
        assert page.evaluate("document.getElementById('plot-conflicts').data[0].z[0][1]") != before


def test_dark_applies_and_is_followed_while_open(browser: Any, report: tuple[Any, Path]) -> None:
    _, path = report
    colours = """() => [getComputedStyle(document.body).backgroundColor,
                        document.getElementById('plot-curves').layout.font.color]"""
    with opened(browser, path, scheme="dark") as page:
        dark = page.evaluate(colours)
        assert sum(int(part) for part in re.findall(r"\d+", dark[0])) < 150
        page.emulate_media(color_scheme="light")
        wait_until(page, f"document.getElementById('plot-curves').layout.font.color !== '{dark[1]}'")
        light = page.evaluate(colours)
        assert sum(int(part) for part in re.findall(r"\d+", light[0])) > 700


def test_keyboard_reaches_the_content_and_sees_where_it_is(browser: Any, report: tuple[Any, Path]) -> None:
    _, path = report
    with opened(browser, path) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "content"
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
        page.keyboard.press("Enter")
        assert page.locator("details").first.get_attribute("open") is not None


def test_names_of_users_do_nothing(browser: Any, report: tuple[Any, Path]) -> None:
    _, path = report
    with opened(browser, path) as page:
        dialogs: list[str] = []
        page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        labels = page.locator("#plot-gains .ytick text").all_text_contents()
        assert any("<script>" in label for label in labels)
        assert page.locator("main script").count() == 0
        assert dialogs == []


def test_print_shows_all_on_light_paper(browser: Any, report: tuple[Any, Path], tmp_path: Path) -> None:
    _, path = report
    with opened(browser, path, scheme="dark") as page:
        state = """() => [document.querySelectorAll('details:not([open])').length,
                          getComputedStyle(document.body).backgroundColor,
                          document.getElementById('plot-candidates').layout.width]"""
        before = page.evaluate(state)
        page.evaluate(f"window.addEventListener('beforeprint', () => (window.printed = ({state})()))")
        page.pdf(path=tmp_path / "report.pdf", format="A4")
        folded, background, width = page.evaluate("window.printed")
        assert folded == 0
        assert background == "rgb(252, 252, 250)"
        assert width < 700
        wait_until(page, "!('printing' in document.documentElement.dataset)")
        assert page.evaluate(state) == before


def test_without_a_script_the_answer_and_the_tables_are_there(browser: Any, report: tuple[Any, Path]) -> None:
    results, path = report
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(path.as_uri())
    assert page.locator("#answer").inner_text() == results.answer()
    assert page.locator("#table-candidates tbody tr").count() == len(results.settings["candidates"])
    assert page.locator(".plot").first.is_hidden()
    context.close()
