"""Pieces that several sections are made of: a section with its heading, a figure, a choice, a fold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from taskloom.report.markup import Html, element, join
from taskloom.report.words import VerdictWords

__all__ = ["choice", "controls", "facts", "figure", "fold", "plot", "section", "symbol"]


def section(identifier: str, heading: str, *children: str | None) -> Html:
    """A section with a heading of the second level."""
    title = element("h2", {"id": f"{identifier}-heading"}, heading)
    return element("section", {"id": identifier, "aria-labelledby": f"{identifier}-heading"}, title, *children)


def plot(identifier: str, description: str) -> Html:
    """The place where the page's script draws a figure; the description is read instead of it."""
    return element("div", {"id": identifier, "class": "plot", "role": "img", "aria-label": description})


def figure(identifier: str, description: str, *caption: str | None) -> Html:
    """One figure with its caption."""
    return element("figure", {}, plot(identifier, description), element("figcaption", {}, *caption))


def choice(identifier: str, label: str, options: Iterable[tuple[str, str]], chosen: str | None = None) -> Html:
    """A labelled list to choose from; ``options`` are pairs of value and text."""
    entries = [element("option", {"value": value, "selected": value == chosen}, text) for value, text in options]
    return element("label", {}, label, element("select", {"id": identifier}, *entries))


def controls(*children: str | None) -> Html:
    """The row of choices above a figure; without a script there is nothing to choose and it is not shown."""
    return element("div", {"class": "controls"}, *children)


def fold(summary: str, *children: str | None) -> Html:
    """Detail that is folded away until it is asked for; print shows it."""
    return element("details", {}, element("summary", {}, summary), *children)


def facts(pairs: Sequence[tuple[str, str | None]]) -> Html:
    """A list of terms and their values; terms without a value are left out."""
    lines = [join([element("dt", {}, term), element("dd", {}, value)]) for term, value in pairs if value]
    return element("dl", {}, *lines)


def symbol(words: VerdictWords) -> Html:
    """The sign of a verdict; the word stands beside it or is read out."""
    return element("span", {"class": f"symbol {words.key}", "aria-hidden": "true"}, words.symbol)
