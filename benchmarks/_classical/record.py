"""Measurements that outlive a run: every cell is written when it is finished, and a further run goes on from there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["Record"]

Row = dict[str, Any]


def _is_of(cell: Row, row: Row) -> bool:
    return all(row.get(name) == value for name, value in cell.items())


class Record:
    """The rows of one part in a file of several parts."""

    def __init__(self, path: Path, part: str, *, setting: dict[str, Any], again: bool = False) -> None:
        """Where the rows are kept.

        Args:
            path: of the file; it need not exist.
            part: its name in the file.
            setting: versions; rows that were measured under others are left out.
            again: whether cells that are known are measured again.
        """
        self._path, self._part, self._setting, self._again = path, part, setting, again

    def row(self, cell: Row, measure: Callable[[], Row]) -> Row:
        """What is known about a cell, measured now if nothing is.

        Args:
            cell: names and sizes that say what is measured.
            measure: the rest of the row.
        """
        known = [row for row in self._rows() if _is_of(cell, row)]
        if known and not self._again:
            return known[0]
        found: Row = {**cell, **measure(), "load": round(os.getloadavg()[0], 2)}
        rows = self._rows()  # read again: others may have written meanwhile
        places = [place for place, row in enumerate(rows) if _is_of(cell, row)] or [len(rows)]
        rows[places[0] : places[0] + 1] = [found]
        self._write(rows)
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
