"""Options that several commands share. What they mean is said once, here.

An option that is not given is None, so that a configuration file can fill it; the default that then holds stands in
the help text and, as the value itself, in :mod:`taskloom.cli._config`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from taskloom.errors import StudyError

__all__ = [
    "Config",
    "Data",
    "Debug",
    "Drop",
    "Encoding",
    "Group",
    "Kinds",
    "PrintConfig",
    "Quiet",
    "Seed",
    "Separator",
    "Targets",
    "TaskColumn",
    "Time",
    "split_kinds",
    "split_settings",
    "table_flags",
]

_TABLE = "The table"
_HELP = "Configuration and output"

Data = Annotated[
    Path | None,
    typer.Argument(metavar="DATA", help="CSV, TSV or Parquet file (.gz too): one row per sample.", show_default=False),
]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target", "-t", metavar="COLUMN", help="Column to predict; repeat for several.", rich_help_panel=_TABLE
    ),
]
TaskColumn = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="Column that says which task a row belongs to; then give one --target.",
        rich_help_panel=_TABLE,
    ),
]
Group = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="Rows of one group (a patient, a device) stay together in one part of the split.",
        rich_help_panel=_TABLE,
    ),
]
Time = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="Train on earlier rows, test on the latest ones.", rich_help_panel=_TABLE),
]
Kinds = Annotated[
    list[str] | None,
    typer.Option(
        "--kind",
        metavar="COLUMN=KIND",
        help="Overrule the inferred kind of a feature (numeric, categorical, date, text) or of a target "
        "(regression, binary, multiclass); repeat for several.",
        rich_help_panel=_TABLE,
    ),
]
Drop = Annotated[
    list[str] | None,
    typer.Option(metavar="COLUMN", help="Leave a column out; repeat for several.", rich_help_panel=_TABLE),
]
Separator = Annotated[
    str | None,
    typer.Option(
        metavar="CHARACTER",
        help="Separator of the columns of a text file ('tab' for a tab). Default: by the file's name and first lines.",
        rich_help_panel=_TABLE,
    ),
]
Encoding = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Encoding of a text file. Default: utf-8.", rich_help_panel=_TABLE),
]
Seed = Annotated[int | None, typer.Option(help="Base of every random number. Default: 0.")]
Config = Annotated[
    Path | None,
    typer.Option(
        metavar="YAML",
        help="Read settings from a file; options given on the command line win.",
        rich_help_panel=_HELP,
    ),
]
PrintConfig = Annotated[
    bool, typer.Option("--print-config", help="Show the resolved settings as YAML and stop.", rich_help_panel=_HELP)
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Show nothing but errors and where the result lies.", rich_help_panel=_HELP),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.", rich_help_panel=_HELP)]


def split_kinds(pairs: list[str] | None) -> dict[str, str]:
    """Read the texts ``column=kind`` of the option ``--kind``; the column itself may contain ``=``.

    Raises:
        StudyError: a text without a column or a kind.

    Example:
        >>> split_kinds(["zip code=categorical", "a=b=numeric"])
        {'zip code': 'categorical', 'a=b': 'numeric'}
    """
    return _split_pairs(pairs, "expected COLUMN=KIND, for example --kind 'zip=categorical'")


def split_settings(pairs: list[str] | None) -> dict[str, int | float | str]:
    """Read the texts ``name=value`` of the option ``--setting``; numbers become numbers.

    Raises:
        StudyError: a text without a name or a value.

    Example:
        >>> split_settings(["width=64", "learning_rate=1e-3"])
        {'width': 64, 'learning_rate': 0.001}
    """
    pairs_of_text = _split_pairs(pairs, "expected NAME=VALUE, for example --setting width=64")
    return {name: _as_number(text) for name, text in pairs_of_text.items()}


def _split_pairs(pairs: list[str] | None, expected: str) -> dict[str, str]:
    split = {}
    for pair in pairs or []:
        name, _, value = pair.rpartition("=")
        if not name.strip() or not value.strip():
            raise StudyError(f"{pair!r} cannot be read; {expected}")
        split[name] = value.strip()
    return split


def _as_number(text: str) -> int | float | str:
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def table_flags(
    data: Path | None,
    target: list[str] | None,
    task_column: str | None,
    group_column: str | None,
    time_column: str | None,
    kind: list[str] | None,
    drop: list[str] | None,
    separator: str | None,
    encoding: str | None,
) -> dict[str, Any]:
    """The options of a table under the names that they have in a configuration.

    Example:
        >>> table_flags(None, ["a"], None, None, None, ["b=numeric"], None, None, None)["kinds"]
        {'b': 'numeric'}
    """
    return {
        "data": data,
        "targets": target,
        "task_column": task_column,
        "group_column": group_column,
        "time_column": time_column,
        "kinds": split_kinds(kind),
        "drop": drop,
        "separator": separator,
        "encoding": encoding,
    }
