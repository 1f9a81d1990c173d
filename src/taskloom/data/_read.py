"""From a file to a frame: what kind of file it is, its encoding, its separator, whether every line is sound."""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from taskloom.data._columns import shorten
from taskloom.data._infer import missing_texts
from taskloom.errors import DataError, nearest

__all__ = ["FileContents", "read_file"]

_SEPARATORS = (",", ";", "\t", "|")
_SEPARATOR_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


@dataclass(frozen=True)
class FileContents:
    """A table from a file and what was noticed while reading it.

    Example:
        >>> FileContents(pl.DataFrame({"a": [1.0]}), ()).frame.shape
        (1, 1)
    """

    frame: pl.DataFrame
    notices: tuple[str, ...]


def read_file(path: str | Path, *, separator: str | None = None, encoding: str | None = None) -> FileContents:
    """Read a CSV, TSV or Parquet file, compressed by gzip or not.

    Raises:
        DataError: the file is missing, empty, unreadable, ragged, badly quoted, or in another encoding.
    """
    place = Path(path)
    content = _bytes(place)
    if content[:4] == b"PAR1":
        return _parquet(place, content)
    if content[:2] == b"PK" or content[:4] == b"\xd0\xcf\x11\xe0":
        raise DataError(
            f"{place} is a spreadsheet or zip archive, not a table of text; save it as CSV or Parquet first"
        )
    text = _text(place, content, encoding)
    return _csv(place, text, separator)


def _bytes(path: Path) -> bytes:
    if path.is_dir():
        raise DataError(f"{path} is a folder; give the path of a CSV or Parquet file in it")
    if not os.path.lexists(path):
        try:
            near = nearest(path.name, [entry.name for entry in path.parent.iterdir() if entry.is_file()])
        except OSError:
            near = f" There is no folder {str(path.parent)!r} either."
        raise DataError(f"there is no file {str(path)!r}.{near} Check the path")
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path} cannot be read ({error}); check that it is complete and that you may read it"
        ) from error
    if not content.strip():
        raise DataError(f"{path} is empty; a table needs a line of column names and rows below it")
    return content


def _parquet(path: Path, content: bytes) -> FileContents:
    try:
        frame = pl.read_parquet(io.BytesIO(content))
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} is no sound Parquet file ({reason}); write it again, or use CSV") from error
    return FileContents(frame, ())


def _text(path: Path, content: bytes, encoding: str | None) -> str:
    marked = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    chosen = encoding or marked
    try:
        text = content.decode(chosen)
    except LookupError:
        raise DataError(f"encoding {chosen!r} is not known; use for example 'utf-8', 'cp1252', 'latin-1'") from None
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        advice = (
            "give the encoding it was saved in, for example encoding='cp1252' (Western Europe), 'cp949' (Korea), "
            "'cp932' (Japan)"
            if encoding is None
            else "give another encoding, or save the file as UTF-8"
        )
        raise DataError(
            f"{path} is not {'UTF-8' if encoding is None else encoding} text: byte 0x{content[error.start]:02x} in "
            f"line {line} "
            f"fits no character; {advice}"
        ) from None
    if "\x00" in text:
        raise DataError(f"{path} holds zero bytes, so it is no text file; give a CSV, TSV or Parquet file")
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _csv(path: Path, text: str, separator: str | None) -> FileContents:
    chosen = _separator(path, text, separator)
    header = _check_lines(path, text, chosen)
    names, notices = _names(path, header)
    try:
        frame = pl.read_csv(
            io.BytesIO(_below_header(text, chosen).encode()),
            separator=chosen,
            has_header=False,
            new_columns=names,
            infer_schema=False,
        )
    except pl.exceptions.NoDataError:
        frame = pl.DataFrame(schema=dict.fromkeys(names, pl.String))
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} cannot be read as CSV ({reason}); check separator and quotes") from error
    frame = frame.filter(~pl.all_horizontal(pl.all().is_null())) if len(names) > 1 else frame
    if len(frame) == 0:
        raise DataError(f"{path} has a line of column names but no rows; a table needs at least 10 rows per task")
    typed, more = _numbers(frame, decimal_comma=chosen != ",")
    return FileContents(typed, (*notices, *more))


def _separator(path: Path, text: str, given: str | None) -> str:
    if given is not None:
        if len(given) != 1:
            raise DataError(f"separator must be one character, found {given!r}; for a tab write '\\t'")
        return given
    sample = [line for line in text[:200_000].split("\n") if line.strip()][:100]
    best, best_score = "", (0.0, 0)
    for candidate in _SEPARATORS:
        try:
            rows = [row for row in csv.reader(sample, delimiter=candidate) if row]
        except csv.Error:
            continue
        width = len(rows[0])
        if width < 2:
            continue
        score = (sum(len(row) == width for row in rows) / len(rows), width)
        if score > best_score:
            best, best_score = candidate, score
    if not best:
        raise DataError(
            f"{path} has only one column: its first line {sample[0][:60]!r} has no comma, semicolon, tab or bar; a "
            "table needs "
            "features and targets. If another character separates the columns, say separator=' '"
        )
    return best


def _check_lines(path: Path, text: str, separator: str) -> list[str]:
    """Check that every line has as many cells as the header, and that quotes are sound; returns the header."""
    if '"' not in text:
        lines = text.split("\n")
        first = next(number for number, line in enumerate(lines) if line.strip())
        width = lines[first].count(separator)
        counts = np.fromiter((line.count(separator) for line in lines), np.int64, len(lines))
        for number in np.flatnonzero(counts != width):
            if number > first and lines[number].strip():
                raise _ragged(path, int(number) + 1, int(counts[number]) + 1, width + 1, separator)
        return lines[first].split(separator)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    header: list[str] = []
    start = 1
    try:
        for row in reader:
            if not header:
                header = row
            elif row and len(row) != len(header) and (len(row) > 1 or row[0].strip()):
                raise _ragged(path, start, len(row), len(header), separator)
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path} is badly quoted from line {start} on ({error}); a cell that holds a quote is written "
            '"like ""this""". Correct the line, or save the file again as CSV'
        ) from None
    return header


def _ragged(path: Path, line: int, found: int, expected: int, separator: str) -> DataError:
    name = _SEPARATOR_NAMES.get(separator, repr(separator))
    return DataError(
        f"line {line} of {path} has {found} cells, its header {expected} (separator: {name}); every line needs the "
        "same number. "
        "Correct the line (a cell that holds the separator goes in quotes), or give another separator"
    )


def _below_header(text: str, separator: str) -> str:
    """The lines after the header (a quoted name may hold line breaks)."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    next(row for row in reader if any(cell.strip() for cell in row))
    pieces = text.split("\n", reader.line_num)
    return pieces[-1].lstrip("\n") if len(pieces) > reader.line_num else ""


def _names(path: Path, header: list[str]) -> tuple[list[str], list[str]]:
    names = [cell.strip().strip('"').strip() for cell in header]
    empty = [place for place, name in enumerate(names) if not name]
    notices = []
    for place in empty:
        names[place] = f"(column {place + 1})"
    if empty:
        notices.append(f"columns without a name were called {shorten(tuple(names[place] for place in empty))}")
    duplicates = tuple(sorted({name for name in names if names.count(name) > 1}))
    if duplicates:
        places = [place + 1 for place, name in enumerate(names) if name == duplicates[0]]
        raise DataError(
            f"{path} has duplicate columns: {shorten(duplicates)} (columns {', '.join(map(str, places))}); give "
            "every column "
            "its own name"
        )
    if all(re.fullmatch(r"[-+]?[\d.]+(?:[eE][-+]?\d+)?", name) for name in names):
        notices.append("the column names are all numbers: if the file has no line of names, add one")
    return names, notices


def _numbers(frame: pl.DataFrame, *, decimal_comma: bool) -> tuple[pl.DataFrame, list[str]]:
    """Turn columns of numbers into numbers; everything else stays text."""
    columns, commas = [], []
    for series in frame:
        plain = series.str.strip_chars()
        plain = plain.set(plain.str.to_lowercase().is_in(sorted(missing_texts)), None)
        number = plain.cast(pl.Float64, strict=False)
        if decimal_comma and number.null_count() > plain.null_count():
            swapped = plain.str.replace_all(r"^([-+]?\d*),(\d+)$", "${1}.${2}")
            by_comma = swapped.cast(pl.Float64, strict=False)
            if by_comma.null_count() == plain.null_count():
                number = by_comma
                commas.append(series.name)
        is_number = number.null_count() == plain.null_count() < len(plain)
        if is_number and not plain.str.contains(r"^[-+]?0\d").any():
            columns.append(number.alias(series.name))
        else:
            columns.append(plain)
    notices = [f"decimal commas read as points in: {shorten(tuple(commas))}"] if commas else []
    return pl.DataFrame(columns), notices
