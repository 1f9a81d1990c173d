"""Who shares what: the parts of every network, the tasks that use them, what predictions cost, what gates chose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from taskloom.report.markup import Html, element, join
from taskloom.report.reading import Reading
from taskloom.report.sections._parts import facts, fold, section
from taskloom.report.words import count, number, percent

__all__ = ["sharing"]

_MOST_PARTS = 40


def sharing(reading: Reading, settings: Mapping[str, Any]) -> Html | None:
    """One fold per network; None for results without descriptions of networks."""
    networks: Mapping[str, Any] = settings.get("networks") or {}
    folds = [
        fold(row.title, _costs(networks[row.name], networks.get(reading.reference)), *_drawn(networks[row.name]))
        for row in reading.candidates
        if row.name in networks and row.name != reading.reference
    ]
    if not folds:
        return None
    return section(
        "sharing",
        "Who shares what",
        element(
            "p",
            {},
            "The network of the best seed of every candidate. A dot says that a task uses a part: that its loss "
            "reaches the part's parameters. Learned structures are shown as they were learned.",
        ),
        *folds,
    )


def _costs(network: Mapping[str, Any], reference: Mapping[str, Any] | None) -> Html:
    parameters, macs = network["parameters"], network["macs"]
    apart = None if reference is None else reference["macs"]["joint"]
    together = f"{count(macs['joint'])} for all tasks"
    if apart:
        together += f", {percent(100 * macs['joint'] / apart - 100)} against single-task networks"
    compression = network["learned"].get("compression")
    factors = None if compression is None else f"{number(compression, 2)} times the weights that they generate"
    alone = ", ".join(f"{task}: {count(value)}" for task, value in macs["tasks"].items())
    return facts(
        [
            ("parameters", f"{count(parameters['total'])}, of which {count(parameters['shared'])} shared"),
            ("parameters of the factors", factors),
            ("multiply-adds per row", together),
            ("for one task alone", alone if len(macs["tasks"]) <= 12 else None),
            ("not counted", ", ".join(macs["not_counted"]) or None),
        ]
    )


def _drawn(network: Mapping[str, Any]) -> list[Html]:
    tasks = list(network["macs"]["tasks"])
    parts = network["parts"]
    drawn = [_map(parts, tasks)] if parts else []
    learned = network["learned"]
    if "gates" in learned:
        drawn += _gates(learned["gates"])
    if "task_correlation" in learned:
        drawn.append(_matrix("Correlation of the tasks' weights", learned["task_correlation"], tasks, tasks))
    for stage, weights in (learned.get("mixing") or {}).items():
        if len(weights) == len(tasks):
            drawn.append(_matrix(f"Who reads whom after stage {stage}", weights, tasks, tasks))
    for task, depths in (learned.get("mixture") or {}).items():
        rows = [f"depth {depth + 1}" for depth in range(len(depths))]
        drawn.append(_matrix(f"Which layer {task} runs where", depths, rows, _numbered("layer", depths)))
    drawn += _edges(learned.get("edges") or [], tasks)
    return drawn


def _map(parts: Sequence[Mapping[str, Any]], tasks: Sequence[str]) -> Html:
    """Parts against tasks, a dot where a task uses a part."""
    shown = list(parts)[:_MOST_PARTS]
    rows = []
    used = element("span", {"role": "img", "aria-label": "uses it"}, "●")
    for part in shown:
        cells = [element("td", {}, used if task in part["tasks"] else None) for task in tasks]
        size = element("td", {"class": "numeric"}, count(part["parameters"]))
        rows.append(element("tr", {}, element("th", {"scope": "row"}, part["name"]), size, *cells))
    left = len(parts) - len(shown)
    return join(
        [
            _grid("Parts and the tasks that use them", ["part", "parameters", *tasks], rows),
            element("p", {"class": "quiet"}, f"and {left} smaller parts") if left else None,
        ]
    )


def _edges(levels: Sequence[Sequence[Mapping[str, float]]], tasks: Sequence[str]) -> list[Html]:
    """Shares of the nodes that every node, and in the end every head, reads: one table per depth of a graph."""
    found = []
    for depth, level in enumerate(levels, start=1):
        parents = sorted({int(parent) for row in level for parent in row})
        heads = depth == len(levels) and len(level) == len(tasks)
        rows = list(tasks) if heads else [f"node {place + 1}" for place in range(len(level))]
        values = [[row.get(str(parent)) for parent in parents] for row in level]
        columns = [f"node {parent + 1}" for parent in parents]
        found.append(_matrix(f"What reads which node of depth {depth}", values, rows, columns))
    return found


def _numbered(name: str, rows: Sequence[Sequence[float]]) -> list[str]:
    return [f"{name} {place + 1}" for place in range(max(map(len, rows), default=0))]


def _gates(gates: Mapping[str, Any]) -> list[Html]:
    """Mean weights of the experts per task, one table per level."""
    tasks = list(gates)
    levels = min((len(rows) for rows in gates.values()), default=0)
    found = []
    for level in range(levels):
        weights = [gates[task][level]["weights"] for task in tasks]
        if any(row is None for row in weights):
            continue
        width = max(len(row) for row in weights)
        title = "How tasks weigh the experts" + (f", level {level + 1}" if levels > 1 else "")
        full = [[*row, *[None] * (width - len(row))] for row in weights]
        found.append(_matrix(title, full, tasks, [str(expert + 1) for expert in range(width)]))
    return found


def _matrix(title: str, values: Sequence[Sequence[float | None]], rows: Sequence[str], columns: Sequence[str]) -> Html:
    """Numbers with a shade that follows their size; the sign is in the number."""
    largest = max((abs(value) for row in values for value in row if value is not None), default=0.0) or 1.0
    written = []
    for name, row in zip(rows, values, strict=True):
        cells = []
        for value in row:
            shade = 0 if value is None else round(60 * abs(value) / largest)
            style = f"background: color-mix(in srgb, var(--accent) {shade}%, transparent)"
            cells.append(element("td", {"class": "numeric", "style": style}, "" if value is None else number(value, 2)))
        written.append(element("tr", {}, element("th", {"scope": "row"}, name), *cells))
    return _grid(title, ["", *columns], written)


def _grid(title: str, heads: Sequence[str], rows: Sequence[Html]) -> Html:
    head = element("thead", {}, element("tr", {}, *(element("th", {"scope": "col"}, name) for name in heads)))
    body = element("table", {"class": "wide"}, element("caption", {}, title), head, element("tbody", {}, *rows))
    return element("div", {"class": "scroll", "tabindex": "0", "role": "region", "aria-label": title}, body)
