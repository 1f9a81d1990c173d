"""Networks that mix the features of K encoders: cross-stitch."""

from __future__ import annotations

from _architectures.case import Case

__all__ = ["CASES"]

CASES: list[Case] = []
