"""HTML that is safe by construction: every text is escaped unless it was made by :func:`element`.

Names of tasks and columns are whatever a person typed. A page that is put together from strings has to remember to
escape each of them; here plain ``str`` is always text and only :class:`Html` is markup.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping

__all__ = ["Html", "element", "join", "raw"]

_VOID = frozenset({"br", "hr", "input", "meta", "link"})


class Html(str):
    """Text that is markup already.

    Example:
        >>> element("p", {}, Html("<b>kept</b>"), "<b>shown</b>")
        '<p><b>kept</b>&lt;b&gt;shown&lt;/b&gt;</p>'
    """

    __slots__ = ()


def element(name: str, attributes: Mapping[str, str | int | bool | None] | None = None, *children: str | None) -> Html:
    """Make one element.

    Args:
        name: tag name.
        attributes: attribute -> value; ``True`` gives a bare attribute, ``None`` and ``False`` leave it out.
        children: texts (escaped), :class:`Html` (kept) or None (nothing).

    Returns:
        the element as markup.

    Example:
        >>> element("a", {"href": "#x", "hidden": False}, "a < b")
        '<a href="#x">a &lt; b</a>'
    """
    written = "".join(
        f" {key}" if value is True else f' {key}="{html.escape(str(value), quote=True)}"'
        for key, value in (attributes or {}).items()
        if value is not None and value is not False
    )
    if name in _VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def join(parts: Iterable[str | None], separator: str = "") -> Html:
    """Put parts one after another, escaping those that are plain text.

    Example:
        >>> join(["a&b", None, element("br")])
        'a&amp;b<br>'
    """
    written = [part if isinstance(part, Html) else html.escape(part, quote=False) for part in parts if part is not None]
    return Html(separator.join(written))


def raw(text: str) -> Html:
    """Declare text of our own (style sheet, script) to be markup. Never give it text from a user.

    Example:
        >>> element("style", {}, raw("a > b {}"))
        '<style>a > b {}</style>'
    """
    return Html(text)
