from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from rich.console import Console

from taskloom.report.text import console_summary

Make = Callable[..., Any]


def shown(results: Any, width: int = 200) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(console_summary(results))
    return capture.get()


def test_answer_verdicts_and_candidates(make_results: Make) -> None:
    results = make_results(epochs=2)
    text = shown(results)
    assert " ".join(results.answer().split()) in " ".join(text.split())
    for gain in results.gains(results.best("together").candidate).tasks:
        line = next(line for line in text.splitlines() if gain.task in line)
        assert gain.verdict in line.lower()
    for candidate in results.settings["candidates"]:
        assert candidate["title"][1:] in text
    assert "Positive means that learning together is better" in text


def test_names_are_no_markup(make_results: Make) -> None:
    assert "[red]price[/red]" in shown(make_results(tasks=["[red]price[/red]", "b"], epochs=2))


def test_many_tasks_show_the_extremes(make_results: Make) -> None:
    results = make_results(tasks=40, epochs=1, with_conflicts=False)
    text = shown(results)
    assert "Highest and lowest gains" in text
    named = [gain.task for gain in results.gains(results.best("together").candidate).tasks if f" {gain.task} " in text]
    assert len(named) == 10
    counts = [int(number) for number in re.findall(r"[▲▼■○] (\d+) ", text)]
    assert sum(counts) == 40


def test_one_seed(make_results: Make) -> None:
    assert "one seed: no interval and no test" in shown(make_results(seeds=1, epochs=2))


def test_no_column_is_lost_on_a_narrow_terminal(make_results: Make) -> None:
    for tasks in (1, 2):
        text = shown(make_results(tasks=tasks, epochs=2), width=80)
        assert "parameters" in text
        assert "inference" in text
        assert max(len(line) for line in text.splitlines()) <= 80
