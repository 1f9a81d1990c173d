"""What the comparison rests on: labelled rows, notices, settings, and how to repeat it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from statistics import fmean
from typing import TYPE_CHECKING, Any

from taskloom.report.markup import Html, element, join
from taskloom.report.reading import Reading
from taskloom.report.sections._parts import facts, fold, section
from taskloom.report.tables import Cell, Column, table
from taskloom.report.words import count, number

if TYPE_CHECKING:
    from taskloom.study.results import Results

__all__ = ["labelled", "notices", "repeat"]

_PARTS = ("train", "validation", "test")
_RUNS_SHOWN = 60


def labelled(results: Results, reading: Reading) -> Html | None:
    """Labelled rows per task and part of the split."""
    rows: dict[tuple[str, str], list[int]] = {}
    for line in results.labelled.iter_rows(named=True):
        rows.setdefault((line["task"], line["part"]), []).append(int(line["rows"]))
    if not rows:
        return None
    most = max(fmean(values) for values in rows.values()) or 1.0
    columns = [Column("Task"), Column("Kind"), *(Column(part.capitalize(), numeric=True) for part in _PARTS)]
    lines = [
        [
            Cell.text(task.name),
            Cell.text(task.kind),
            *(_rows_cell(rows.get((task.name, part)), most) for part in _PARTS),
        ]
        for task in reading.tasks
    ]
    return section(
        "labelled",
        "Labelled rows",
        element(
            "p",
            {},
            "Rows with a label, per task and part of the split. All candidates saw the same rows; where the number ",
            "differs ",
            "between seeds, the mean is shown with its range.",
        ),
        table("table-labelled", "Labelled rows per task and part", columns=columns, rows=lines),
    )


def _rows_cell(values: list[int] | None, most: float) -> Cell:
    if not values:
        return Cell("0", 0.0)
    mean, low, high = fmean(values), min(values), max(values)
    spread = element("small", {}, f"{count(low)} to {count(high)}") if low != high else None
    bar = element("span", {"class": "bar", "style": f"width:{100 * mean / most:.1f}%", "aria-hidden": "true"})
    return Cell(join([count(mean), spread, bar]), mean)


def notices(settings: Mapping[str, Any]) -> Html | None:
    """What was noticed about the data and the comparison."""
    found = settings.get("notices") or ()
    if not found:
        return None
    items = [element("li", {}, str(notice)) for notice in found]
    return section("notices", "Worth knowing", element("ul", {"class": "notices"}, *items))


def repeat(results: Results, reading: Reading) -> Html:
    """Settings, data, versions, and the command that runs it all again."""
    settings, environment = results.settings, results.environment
    data = settings.get("data", {})
    command = settings.get("command")
    seeds = ", ".join(str(seed) for seed in reading.seeds)
    return section(
        "repeat",
        "Settings, and how to repeat this",
        element("pre", {"tabindex": "0", "aria-label": "Command"}, element("code", {}, str(command)))
        if command
        else None,
        facts(
            [
                ("Data", data.get("source")),
                ("Fingerprint of the data", data.get("fingerprint")),
                ("Split", settings.get("split")),
                ("Tuning budget", _budget(settings)),
                ("Seeds", seeds),
                ("Base seed", _text(settings.get("seed"))),
                ("Main task", settings.get("main") or None),
                ("Level of the tests", _text(settings.get("alpha"))),
                ("Margin of equivalence", f"{100 * float(settings['margin']):g} %" if "margin" in settings else None),
                ("Compared with", settings.get("reference")),
            ]
        ),
        fold("Tasks", _task_table(settings)),
        fold("Features", _feature_table(data)) if data.get("features") else None,
        fold("Tuned settings of every run", *_tuned(results, reading)) if not results.runs.is_empty() else None,
        fold("Versions and machine", facts(_environment(environment))),
    )


def _budget(settings: Mapping[str, Any]) -> str | None:
    budget, trials = settings.get("budget"), settings.get("trials")
    if budget is None:
        return None
    extra = f" ({trials} trials were made)" if trials is not None and f"{trials} trial" not in str(budget) else ""
    return f"{budget} for every candidate{extra}"


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _task_table(settings: Mapping[str, Any]) -> Html:
    columns = (Column("Task"), Column("Kind"), Column("Main metric"), Column("All metrics"), Column("Role"))
    rows = []
    for task in settings["tasks"]:
        metrics = [
            f"{metric['name']} ({'lower' if metric['lower_is_better'] else 'higher'} is better)"
            for metric in task.get("metrics", ())
        ]
        labels = ", ".join(str(label) for label in task.get("labels") or ())
        kind = join([str(task["kind"]), element("small", {}, labels) if labels else None])
        rows.append(
            [
                Cell.text(str(task["name"])),
                Cell(kind, str(task["kind"])),
                Cell.text(str(task["metric"])),
                Cell.text(", ".join(metrics)),
                Cell.text("auxiliary" if task.get("auxiliary") else "scored"),
            ]
        )
    return table("table-tasks", "Tasks", columns=columns, rows=rows)


def _feature_table(data: Mapping[str, Any]) -> Html:
    columns = (Column("Column"), Column("Kind"), Column("Note"))
    rows = [
        [Cell.text(str(feature["name"])), Cell.text(str(feature["kind"])), Cell.text(str(feature.get("note") or ""))]
        for feature in data["features"]
    ]
    return table("table-features", "Features", columns=columns, rows=rows)


def _tuned(results: Results, reading: Reading) -> list[Html]:
    """The settings each run was tuned to; runs that differ only in seed and share their settings stand in one row."""
    titles = {row.name: row.title for row in reading.candidates}
    grouped: dict[tuple[str, str, str], list[int]] = {}
    for line in results.runs.iter_rows(named=True):
        grouped.setdefault((line["candidate"], line["task"] or "", line["settings"] or ""), []).append(
            int(line["seed"])
        )
    shown = list(grouped.items())[:_RUNS_SHOWN]
    columns = (Column("Candidate"), Column("Task"), Column("Seeds"), Column("Settings"))
    rows = [
        [
            Cell.text(titles.get(candidate, candidate)),
            Cell.text(task or "all tasks, one network"),
            Cell(", ".join(str(seed) for seed in sorted(set(seeds))), float(min(seeds))),
            Cell.text(_settings_text(text)),
        ]
        for (candidate, task, text), seeds in shown
    ]
    written = [table("table-runs", "Tuned settings", columns=columns, rows=rows)]
    if len(grouped) > len(shown):
        rest = f"{len(grouped) - len(shown):,} more are in the run folder's table of runs."
        written.append(element("p", {"class": "quiet"}, rest))
    return written


def _settings_text(text: str) -> str:
    try:
        loaded = json.loads(text) if text else {}
    except json.JSONDecodeError:
        return text
    if not isinstance(loaded, dict):
        return text
    return " · ".join(f"{key.replace('_', ' ')} {_setting(value)}" for key, value in loaded.items())


def _setting(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, float):
        return number(value)
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_setting(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return " × ".join(_setting(inner) for inner in value)
    return str(value)


def _environment(environment: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    pairs: list[tuple[str, str | None]] = []
    for key, value in environment.items():
        if isinstance(value, Mapping):
            pairs += [(str(name), _text(inner)) for name, inner in value.items()]
        else:
            pairs.append((str(key).replace("_", " ").capitalize(), _text(value)))
    return pairs
