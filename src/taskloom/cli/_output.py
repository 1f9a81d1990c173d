"""Output folders and files of commands: checked before the work starts, and never left half-written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from taskloom.cli._errors import is_disk_full, reason
from taskloom.errors import ExportError

__all__ = ["check_file", "default_folder", "output_folder", "written_file"]

# What a later run or a person can use; the rest (settings, an empty database) is made again by the next run.
_USEFUL = ("units/*.json", "results/*", "checkpoints/**/*.safetensors", "*.safetensors", "report.html")


def default_folder(data: Path, suffix: str = "") -> Path:
    """Folder that a command writes to when none is named: ``taskloom-runs/<name of the data>``.

    Example:
        >>> default_folder(Path("tables/school.csv.gz")).as_posix()
        'taskloom-runs/school'
    """
    stem = data.name.split(".")[0] or "run"
    return Path("taskloom-runs") / f"{stem}{suffix}"


@contextmanager
def output_folder(folder: Path) -> Iterator[Path]:
    """Make an output folder, check that it can be written to, and take it away again after a failure.

    After an error, a folder that this call made (or found empty) and that holds nothing useful is removed (or
    emptied). Finished pieces of work stay, and so does everything after an interruption by the keyboard: the same
    command continues from there.

    Args:
        folder: the folder; parents are made.

    Yields:
        the folder.

    Raises:
        ExportError: the folder cannot be made or written to, or the disk became full while it was open.

    Example:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp()) / "run"
        >>> with suppress(ValueError), output_folder(place):
        ...     raise ValueError("bad input")
        >>> place.exists()
        False
    """
    was_empty = _is_empty(folder)
    made = _missing(folder)
    try:
        _make_writable(folder)
        yield folder
    except Exception as error:
        if (made or was_empty) and not _holds_work(folder):
            _take_away(folder, made)
        if is_disk_full(error):
            raise ExportError(
                f"the disk that holds the output folder {str(folder)!r} is full; free some space there and run the "
                "same command to continue, or give another folder with --out"
            ) from error
        raise


def check_file(path: Path) -> Path:
    """Check, before any work is done, that an output file can be written.

    Raises:
        ExportError: the path is a folder, or its folder is missing or cannot be written to.

    Example:
        >>> check_file(Path("no/such/folder/predictions.csv"))
        Traceback (most recent call last):
        taskloom.errors.ExportError: cannot write 'no/such/folder/predictions.csv': ...
    """
    if path.is_dir():
        raise ExportError(f"cannot write {str(path)!r}: it is a folder; give the name of a file in it")
    if not path.parent.is_dir():
        raise ExportError(
            f"cannot write {str(path)!r}: the folder {str(path.parent)!r} does not exist; make it first, or give "
            "another place"
        )
    try:
        _probe(path.parent)
    except OSError as error:
        raise ExportError(f"cannot write {str(path)!r}: {reason(error)}; give a place you may write to") from error
    return path


@contextmanager
def written_file(path: Path) -> Iterator[Path]:
    """Write a file beside its place and move it there when it is complete.

    Yields:
        the path to write to; its ending is that of ``path``.

    Raises:
        ExportError: the place cannot be written to or the disk is full.

    Example:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp()) / "answer.txt"
        >>> with written_file(place) as part:
        ...     _ = part.write_text("42")
        >>> place.read_text()
        '42'
    """
    part = check_file(path).with_name(f".{path.stem}.part{path.suffix}")
    try:
        yield part
        part.replace(path)
    except Exception as error:
        if is_disk_full(error):
            raise ExportError(
                f"the disk that holds {str(path)!r} is full; free some space there or give another place"
            ) from error
        raise
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _missing(folder: Path) -> list[Path]:
    """The folder and its parents that do not exist yet, innermost first."""
    missing = []
    current = folder
    with suppress(OSError):
        while not current.exists() and current != current.parent:
            missing.append(current)
            current = current.parent
    return missing


def _is_empty(folder: Path) -> bool:
    try:
        return not any(folder.iterdir())
    except OSError:
        return False


def _make_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _probe(folder)
    except OSError as error:
        if is_disk_full(error):
            raise
        why = "a file of this name is in the way" if folder.is_file() else reason(error)
        raise ExportError(
            f"cannot write to the output folder {str(folder)!r}: {why}; give a folder you may write to with --out"
        ) from error


def _probe(folder: Path) -> None:
    """Write and remove one byte: permission bits do not tell about read-only file systems or full disks."""
    probe = folder / f".taskloom-{os.getpid()}.part"
    try:
        probe.write_bytes(b"1")
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def _holds_work(folder: Path) -> bool:
    return any(
        found.is_file() and not found.name.startswith(".") and found.suffix not in {".part", ".tmp"}
        for pattern in _USEFUL
        for found in folder.glob(pattern)
    )


def _take_away(folder: Path, made: list[Path]) -> None:
    with suppress(OSError):
        for content in list(folder.iterdir()):
            if content.is_dir() and not content.is_symlink():
                shutil.rmtree(content, ignore_errors=True)
            else:
                content.unlink(missing_ok=True)
    for parent in made:
        with suppress(OSError):
            parent.rmdir()
