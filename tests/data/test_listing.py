"""Printed tables."""

from __future__ import annotations

import numpy as np

from taskloom.data._listing import LabelledRows, Listing


def test_wide_letters_are_aligned():
    lines = str(Listing(("name", "rows"), (("서울", 3), ("abcd", 12)))).splitlines()
    assert lines[2] == "서울     3"
    assert lines[3] == "abcd    12"


def test_many_tasks_show_the_smallest():
    rows = LabelledRows(
        tuple(f"t{k}" for k in range(50)),
        ("train", "test"),
        np.stack([np.arange(50), np.ones(50)], axis=1).astype(int)[::-1],
    )
    text = str(rows)
    assert len(text.splitlines()) == 23
    assert "t49" in text
    assert "t0 " not in text
    assert "of 50" in text
    assert len(rows.records()) == 100
