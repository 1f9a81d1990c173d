"""Measurements that outlive a run: every cell is written when it is finished, and a further run goes on from there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["Record"]

Row = dict[str, Any]


class Record:
    """The rows of one part in a file of several parts."""

    def __init__(self, path: Path, part: str, *, setting: dict[str, Any], again: bool = False) -> None:
        """Where the rows are kept.

        Args:
            path: of the file; it need not exist.
            part: its name in the file.
            setting: versions; rows that were measured under others are left out.
            again: whether rows of the part are forgotten.
        """
        self._path, self._part, self._setting = path, part, setting
        if again:
            self._write([])

    def row(self, cell: Row, measure: Callable[[], Row]) -> Row:
        """What is known about a cell, measured now if nothing is.

        Args:
            cell: names and sizes that say what is measured.
            measure: the rest of the row.
        """
        for row in self._rows():
            if all(row.get(name) == value for name, value in cell.items()):
                return row
        found: Row = {**cell, **measure(), "load": round(os.getloadavg()[0], 2)}
        self._write([*self._rows(), found])  # read again: others may have written meanwhile
        return found

    def _rows(self) -> list[Row]:
        part = self._file().get(self._part)
        return part["rows"] if part is not None and part["setting"] == self._setting else []

    def _file(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._path.read_text()) if self._path.exists() else {}
        return found

    def _write(self, rows: list[Row]) -> None:
        whole = {**self._file(), self._part: {"setting": self._setting, "rows": rows}}
        beside = self._path.with_suffix(f".{os.getpid()}.part")
        beside.write_text(json.dumps(whole, indent=1) + "\n")
        beside.replace(self._path)  # at once: a run that is stopped leaves the old file or the new one
