"""Summaries and sources are read from docstrings."""

from __future__ import annotations

from taskloom.cli._docs import source, summary


def documented() -> None:
    """Project conflicts away with :func:`~taskloom.fork` and ``mean``.

    Longer text.

    Args:
        none: at all.
    Source:
        Yu et al., Gradient Surgery,
        NeurIPS 2020, Algorithm 1.
    Example:
        >>> documented()
    """


def bare() -> None:
    pass


def test_the_summary_is_the_first_line_without_markup():
    assert summary(documented) == "Project conflicts away with taskloom.fork and mean."
    assert summary(bare) == ""


def test_the_source_is_its_section_on_one_line():
    assert source(documented) == "Yu et al., Gradient Surgery, NeurIPS 2020, Algorithm 1."
    assert source(bare) == ""
