from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from taskloom.report.markup import Html, element, join


class Collector(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.attributes: dict[str, str | None] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.update(attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


# NUL and carriage returns are replaced by every HTML parser; they are no way to write markup.
texts = st.text(st.characters(exclude_characters="\x00\r", exclude_categories=("Cs",)))


@given(texts)
def test_any_text_stays_text(text: str) -> None:
    page = Collector()
    page.feed(element("p", {"title": text}, text))
    page.close()
    assert page.tags == ["p"]
    assert page.text == text
    assert page.attributes == {"title": text}


def test_markup_is_kept_and_nothing_is_left_out() -> None:
    assert join(["<", Html("<br>"), None, ">"], " ") == "&lt; <br> &gt;"


def test_attributes_that_are_false_or_none_are_left_out() -> None:
    assert element("input", {"disabled": True, "hidden": False, "value": None, "min": 0}) == '<input disabled min="0">'
