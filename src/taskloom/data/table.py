"""Tables from files: read, inferred, checked, and turned into :class:`MultiTaskData`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from taskloom.data._frame import Roles, build, build_features
from taskloom.data._schema import Schema
from taskloom.data.multitask import MultiTaskData
from taskloom.task import Task

__all__ = ["MultiTaskData", "read_features", "read_table"]


def read_table(
    path: str | Path,
    *,
    targets: str | Task | Sequence[str | Task],
    task_column: str | None = None,
    group_column: str | None = None,
    time_column: str | None = None,
    kinds: Mapping[str, str] | None = None,
    drop: Sequence[str] = (),
    separator: str | None = None,
    encoding: str | None = None,
) -> MultiTaskData:
    r"""Read a CSV, TSV or Parquet file (``.gz`` too) with several targets, or with one target and a task column.

    What the columns are is inferred, and :meth:`MultiTaskData.describe` shows it. Everything ignored or assumed is
    in ``notices``. The rules:

    *Missing* is an empty cell, ``NA``, ``N/A``, ``#N/A``, ``NaN``, ``null``, ``?`` (in any case of letters).

    *Features.* Numbers are numeric, truth values categories. Text is a date if every value is one (ISO, ``31.12.2024``,
    ``12/31/2024``); a category if at most max(20, n / 5) values differ and they are short; else free text, which is
    ignored. Numbers with leading zeros (``007``) are text. Ignored with a notice: constant columns and identifiers
    (all values differ, and they are short texts, or integers in a column named like ``id``, ``index``, ``row``).

    *Targets.* Two values: binary (the smaller number, or the first in the alphabet, is the negative class). Text:
    multiclass. Integers: multiclass if there are at most 10 different ones and they run without a gap from 0 or 1
    (codes such as 0, 1, 2 or stars 1 to 5), else regression. Everything else: regression.

    Args:
        path: the file. What it is - CSV, Parquet, compressed - is recognised by its content.
        targets: target columns (or :class:`~taskloom.Task` objects, which fix the kind).
        task_column: column that says which task a row belongs to; then there is one target. Numbers become names
            as people write them: 1.0 is the task "1".
        group_column: rows with the same value stay together in splits (patients, users).
        time_column: when a row was measured; splits then go by time.
        kinds: column -> ``"numeric"``, ``"categorical"``, ``"date"``, ``"text"`` for features, ``"regression"``,
            ``"binary"``, ``"multiclass"`` for targets; overrides what is inferred.
        drop: columns to leave out.
        separator: one character; default: the one of comma, semicolon, tab and bar that fits the file.
        encoding: for example ``"cp1252"``; default: UTF-8 (or UTF-16 with its mark).

    Raises:
        DataError: the file is missing, empty, ragged, badly quoted or in another encoding; columns are duplicate,
            unknown or in two roles; a target is constant, has no label or a class of one member; values are infinite; a
            task has fewer than 10 rows.

    Warns:
        LeakWarning: a feature is a copy of a target.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "pupils.csv"
        ...     lines = [f"{i % 7},{i % 2 and 'no' or 'yes'},{i * i % 31},{i % 3}" for i in range(60)]
        ...     _ = path.write_text("age,smokes,score,level\n" + "\n".join(lines))
        ...     data = read_table(path, targets=["score", "level"])
        >>> [task.kind.name for task in data.tasks], [column.kind for column in data.features]
        (['regression', 'multiclass'], ['numeric', 'categorical'])
    """
    from taskloom.data._read import read_file

    roles = Roles.of(targets, task=task_column, group=group_column, time=time_column, kinds=kinds, drop=drop)
    contents = read_file(path, separator=separator, encoding=encoding)
    return MultiTaskData(**build(contents.frame, roles, source=Path(path).name, notices=contents.notices)).checked()


def read_features(
    source: Any, schema: Schema, *, separator: str | None = None, encoding: str | None = None
) -> MultiTaskData:
    """Read new rows for prediction: the features of earlier data, no targets needed.

    Args:
        source: a file as in :func:`read_table`, or a data frame.
        schema: ``data.schema`` or ``preparation.schema`` of the data that the model was trained on.
        separator: as in :func:`read_table`.
        encoding: as in :func:`read_table`.

    Returns:
        data of the same tasks and columns in which nothing is labelled.

    Raises:
        DataError: a column is missing (names the nearest one), a numeric column holds text, an unknown task, or the
            schema is one of array inputs.

    Example:
        >>> import polars
        >>> frame = polars.DataFrame({"x": [float(i) for i in range(20)], "y": [i**0.5 for i in range(20)]})
        >>> data = MultiTaskData.from_frame(frame, targets="y")
        >>> read_features(polars.DataFrame({"x": [1.0, None]}), data.schema).n_rows
        2
    """
    if isinstance(source, str | Path):
        from taskloom.data._read import read_file

        contents = read_file(source, separator=separator, encoding=encoding)
        pieces = build_features(contents.frame, schema, source=Path(source).name, notices=contents.notices)
    else:
        pieces = build_features(source, schema, source="data frame")
    return MultiTaskData(**pieces)
