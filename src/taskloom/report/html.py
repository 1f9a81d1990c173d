"""The report as one HTML file that needs nothing else: no network, no server, no second file.

Style sheet, script, plotly.js and the numbers stand in the page. A content security policy in its head forbids every
connection, so that a report about confidential data cannot carry anything out. Without a script the answer, the
verdicts and the tables are still there.
"""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from taskloom.errors import ExportError
from taskloom.report.figures import figure_numbers, numbers_as_json
from taskloom.report.markup import Html, element, join, raw
from taskloom.report.reading import Reading, read
from taskloom.report.sections import answer, candidates, sharing, study, training

if TYPE_CHECKING:
    from taskloom.study.results import Results

__all__ = ["page", "write_report"]

_SCRIPTS = ("page", "tables", "intervals", "gains", "curves", "conflicts", "weights", "start")

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:; font-src data:; "
    "base-uri 'none'; form-action 'none'"
)

_ENTRIES = {
    "verdicts": "Verdict per task",
    "gains": "Gains",
    "candidates": "Candidates",
    "sharing": "Sharing",
    "curves": "Learning curves",
    "conflicts": "Gradient conflicts",
    "weights": "Loss weights",
    "diagnostics": "Learning speed",
    "labelled": "Labelled rows",
    "notices": "Worth knowing",
    "repeat": "Settings",
}


def write_report(results: Results, path: str | os.PathLike[str]) -> Path:
    """Write the report of a comparison as one self-contained HTML file.

    The file opens offline in any current browser, on a phone, in print, in light and dark. All its numbers come from
    ``results``. It is written beside its place first and then moved there, so that a half-written report is never
    seen.

    Args:
        results: the results of :func:`taskloom.compare` or :meth:`taskloom.Results.load`.
        path: file to write; missing folders are made; an existing file is replaced.

    Returns:
        the path of the file.

    Raises:
        ExportError: the place cannot be written.

    Example:
        >>> import taskloom as tl
        >>> results = tl.Results.load("taskloom-runs/digits")  # doctest: +SKIP
        >>> write_report(results, "report.html")  # doctest: +SKIP
        PosixPath('report.html')
    """
    target = Path(path)
    text = page(results)
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_text(text, encoding="utf-8")
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise ExportError(
            f"the report cannot be written to {str(target)!r}: {error.strerror or error}; expected a file in a folder "
            "that can be written, on a disk with room; name another place"
        ) from error
    return target


def page(results: Results) -> str:
    """Write the page as text; see :func:`write_report`."""
    from plotly.offline import get_plotlyjs

    reading = read(results)
    numbers = figure_numbers(results, reading)
    sections = {
        "verdicts": answer.verdicts(reading),
        "gains": answer.gains(reading),
        "candidates": candidates.candidates(reading, results.settings),
        "sharing": sharing.sharing(reading, results.settings),
        "curves": training.curves(reading, numbers),
        "conflicts": training.conflicts(reading, numbers),
        "weights": training.weights(reading, numbers),
        "diagnostics": training.diagnostics(reading),
        "labelled": study.labelled(results, reading),
        "notices": study.notices(results.settings),
        "repeat": study.repeat(results, reading),
    }
    present = {name: written for name, written in sections.items() if written}
    script = "\n".join(_template(f"{name}.js") for name in _SCRIPTS)
    body = element(
        "body",
        {},
        element("a", {"class": "skip", "href": "#content"}, "Skip to the verdicts"),
        element(
            "div",
            {"class": "sheet"},
            answer.header(reading, results.settings),
            _contents(list(present)),
            element("main", {"id": "content", "tabindex": "-1"}, *present.values()),
            element("footer", {}, _footer(results)),
        ),
        element("script", {"type": "application/json", "id": "numbers"}, numbers_as_json(numbers)),
        element("script", {}, raw(get_plotlyjs())),
        element("script", {}, raw(f'"use strict";\n(() => {{\n{script}\n}})();')),
    )
    return f"<!doctype html>\n{element('html', {'lang': 'en'}, _head(reading), body)}\n"


def _head(reading: Reading) -> Html:
    return element(
        "head",
        {},
        element("meta", {"charset": "utf-8"}),
        element("meta", {"http-equiv": "Content-Security-Policy", "content": _POLICY}),
        element("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        element("meta", {"name": "color-scheme", "content": "light dark"}),
        element("meta", {"name": "generator", "content": "taskloom"}),
        element("title", {}, f"{reading.title} – taskloom report"),
        element("link", {"rel": "icon", "href": "data:,"}),
        element("style", {}, raw(_template("page.css"))),
        element("script", {}, raw('document.documentElement.classList.add("scripted");')),
    )


def _contents(names: list[str]) -> Html:
    links = [element("li", {}, element("a", {"href": f"#{name}"}, _ENTRIES[name])) for name in names]
    return element("nav", {"aria-label": "Contents"}, element("ol", {}, *links))


def _footer(results: Results) -> Html:
    version = (results.environment.get("versions") or {}).get("taskloom")
    return join(
        [
            f"Written by taskloom{f' {version}' if version else ''}. ",
            "This file is complete in itself: it opens without a network and sends nothing.",
        ]
    )


def _template(name: str) -> str:
    return files("taskloom.report").joinpath("template", name).read_text(encoding="utf-8")
