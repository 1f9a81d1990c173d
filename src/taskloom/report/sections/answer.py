"""The answer in two sentences, the verdict per task, and how much each task gains."""

from __future__ import annotations

from collections import Counter
from typing import Any

from taskloom.report.figures import MANY_TASKS
from taskloom.report.markup import Html, element, join
from taskloom.report.reading import GainRow, Reading
from taskloom.report.sections._parts import choice, controls, figure, fold, plot, section, symbol
from taskloom.report.tables import Cell, Column, table
from taskloom.report.words import (
    SIGN_CONVENTION,
    VERDICTS,
    count,
    gain,
    interval,
    number,
    probability,
    verdict_words,
)

__all__ = ["gains", "header", "verdicts"]

_LIST_LENGTH = 12


def header(reading: Reading, settings: dict[str, Any]) -> Html:
    """Title, the answer, and the size of the comparison in one line."""
    data = settings.get("data", {})
    features = data.get("n_features")
    sizes = [
        f"{len(reading.tasks)} task{_plural(len(reading.tasks))}",
        f"{count(data.get('n_rows'))} rows" if data.get("n_rows") is not None else None,
        f"{count(features)} feature{_plural(features)}" if features else None,
        f"{len(reading.candidates)} candidate{_plural(len(reading.candidates))}",
        f"{len(reading.seeds)} seed{_plural(len(reading.seeds))}",
        f"{settings['budget']} of tuning each" if settings.get("budget") else None,
    ]
    return element(
        "header",
        {},
        element("p", {"class": "brand"}, "taskloom"),
        element("h1", {}, reading.title),
        element("p", {"class": "answer", "id": "answer"}, reading.answer),
        element("ul", {"class": "facts"}, *(element("li", {}, size) for size in sizes if size)),
    )


def verdicts(reading: Reading) -> Html:
    """One verdict per task, in words and with a symbol, for the candidate in focus."""
    rows = reading.gains.get(reading.focus, ())
    if not rows:
        return section(
            "verdicts", "Verdict per task", element("p", {}, "No candidate was compared with single-task networks.")
        )
    return section(
        "verdicts",
        "Verdict per task",
        element("p", {"class": "lead"}, _focus_sentence(reading)),
        _verdict_list(rows, reading) if len(rows) <= _LIST_LENGTH else _tally(rows),
        _notes(reading),
        fold("What the four verdicts mean", _meanings()),
    )


def gains(reading: Reading) -> Html:
    """The dot-and-interval figure of the gains, with the numbers as a table."""
    rows = reading.gains.get(reading.focus, ())
    if not rows:
        return Html("")
    many = len(rows) > MANY_TASKS
    return section(
        "gains",
        "How much each task gains",
        element(
            "p",
            {},
            "The gain is the change of the task's test score ",
            "in percent of the tuned single-task networks' score" if reading.is_relative else "in units of the score",
            ", paired seed by seed. ",
            element("span", {"class": "sign"}, SIGN_CONVENTION),
        ),
        controls(
            choice("gains-candidate", "Candidate", _candidates(reading), reading.focus),
            choice("gains-order", "Order", [("gain", "Largest gain first"), ("given", "As given")], "gain")
            if 1 < len(rows) <= MANY_TASKS
            else None,
        ),
        plot("plot-gains-all", f"Gains of all {len(rows)} tasks in order of size, with 95 % intervals.")
        if many
        else None,
        figure(
            "plot-gains",
            "Gain per task with its 95 % interval and the value of every seed; the table below has the numbers.",
            "Large mark: mean over seeds; line: 95 % t interval; small rings: single seeds. ",
            "The shaded band is the margin inside which a difference does not matter.",
            " Above all tasks in order; below the ten highest and the ten lowest by name." if many else None,
        ),
        fold("The gains as a table", _gain_table(rows, reading)),
    )


def _focus_sentence(reading: Reading) -> Html:
    title = element("strong", {}, reading.candidate(reading.focus).title)
    against = _inside(reading.candidate(reading.reference).title)
    if reading.focus == reading.best:
        return join([title, f", the best of all candidates, against {against}, both tuned alike."])
    best = _inside(reading.candidate(reading.best).title)
    parts = [", the best way of learning together, against ", against, ", both tuned alike."]
    if reading.best != reading.reference:
        parts.append(f" The best of all candidates is another one: {best}.")
    return join([title, *parts])


def _inside(title: str) -> str:
    """A title in the middle of a sentence."""
    return title if title[1:2].isupper() else title[:1].lower() + title[1:]


def _verdict_list(rows: tuple[GainRow, ...], reading: Reading) -> Html:
    items = []
    for row in rows:
        words = verdict_words(row.verdict, row.flag)
        items.append(
            element(
                "li",
                {"class": words.key, "data-task": row.task, "data-verdict": row.verdict},
                symbol(words),
                element("span", {"class": "task"}, row.task),
                element("span", {"class": "gain"}, gain(row.mean, is_relative=reading.is_relative)),
                element(
                    "span",
                    {"class": "said"},
                    element("span", {"class": f"word {words.key}"}, words.word),
                    *(f" · {remark}" for remark in _remarks(row)),
                ),
                element(
                    "span", {"class": "range"}, f"95 %: {interval(row.low, row.high, is_relative=reading.is_relative)}"
                ),
            )
        )
    return element("ol", {"class": "verdicts"}, *items)


def _tally(rows: tuple[GainRow, ...]) -> Html:
    counted = Counter(row.verdict for row in rows)
    suspected = sum(row.flag == "suspected" for row in rows)
    items = [
        element(
            "li",
            {"data-verdict": verdict.key},
            element("b", {}, count(counted.get(verdict.key, 0))),
            symbol(verdict),
            element("span", {"class": f"word {verdict.key}"}, f" {verdict.word}"),
        )
        for verdict in VERDICTS
    ]
    text = (
        f"{suspected} of the inconclusive tasks are suspected of negative transfer: every seed lost."
        if suspected
        else None
    )
    return join([element("ul", {"class": "tally"}, *items), element("p", {"class": "quiet"}, text) if text else None])


def _meanings() -> Html:
    lines = [
        element("li", {}, symbol(verdict), element("strong", {}, f" {verdict.word}: "), verdict.meaning, ".")
        for verdict in VERDICTS
    ]
    return join(
        [
            element("ul", {"class": "notices"}, *lines),
            element(
                "p",
                {"class": "quiet"},
                "Better and worse need both an interval on one side of zero and an exact sign-flip test, corrected ",
                "for ",
                "the number of tasks (Holm). With few seeds such a test cannot reject anything; the note then says ",
                "how many ",
                "seeds it takes. Inconclusive is not the same as no difference.",
            ),
        ]
    )


def _remarks(row: GainRow) -> list[str]:
    """What stands beside a verdict: how many seeds gained, the test, and what must be known."""
    gained = sum(value > 0 for value in row.seeds if value is not None)
    remarks = [f"{gained} of {row.n} seeds gained" if row.n > 1 else ""]
    if row.corrected_p is not None and "not testable" not in row.note:
        remarks.append(f"corrected p {probability(row.corrected_p)}")
    return [remark for remark in (*remarks, row.note) if remark]


def _notes(reading: Reading) -> Html | None:
    """What must be known about all verdicts together."""
    if not reading.notes:
        return None
    return element("div", {"class": "quiet"}, *(element("p", {}, note) for note in reading.notes))


def _gain_table(rows: tuple[GainRow, ...], reading: Reading) -> Html:
    columns = (
        Column("Task"),
        Column("Verdict"),
        Column("Mean gain", numeric=True, note="positive = multi-task better"),
        Column("95 % interval", numeric=True),
        Column("Corrected p", numeric=True, note="sign-flip test"),
        Column("Seeds", numeric=True, note="paired runs"),
        Column("Every seed", note="gain"),
    )
    lines = []
    for row in rows:
        words = verdict_words(row.verdict, row.flag)
        seeds = ", ".join(number(value, 2) if value is not None else "–" for value in row.seeds)
        shown = join([symbol(words), f" {words.word}", element("small", {}, row.note) if row.note else None])
        lines.append(
            [
                Cell.text(row.task),
                Cell(shown, words.word),
                Cell(gain(row.mean, is_relative=reading.is_relative), row.mean),
                Cell(interval(row.low, row.high, is_relative=reading.is_relative), row.low),
                Cell(probability(row.corrected_p), row.corrected_p),
                Cell(count(row.n), float(row.n)),
                Cell(seeds, row.mean),
            ]
        )
    return element("div", {"id": "gains-table"}, table("table-gains", "Gain per task", columns=columns, rows=lines))


def _candidates(reading: Reading) -> list[tuple[str, str]]:
    return [(row.name, row.title) for row in reading.candidates if row.name in reading.gains]


def _has(reading: Reading, name: str) -> bool:
    return any(row.name == name for row in reading.candidates)


def _plural(number: float | None) -> str:
    return "" if number == 1 else "s"
