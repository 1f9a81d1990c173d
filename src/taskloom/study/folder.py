"""The folder of a run: what lies where, who may write, and whether it belongs to this comparison."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taskloom.errors import StudyError
from taskloom.study.files import read_json, write_json, write_text

__all__ = ["RunFolder"]

# What may change when a run is continued: more trials, other candidates, another level of the tests, other words.
_FREE = frozenset({"title", "candidates", "left_out", "budget", "alpha", "margin", "notices", "command"})


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run.

    - ``config.json``: what is compared and how; ``environment.json``: versions and machine.
    - ``study.db``: the tuner's trials (Optuna, SQLite).
    - ``units/``: finished pieces of work.
    - ``results/``: tidy tables as Parquet and CSV; ``metrics.csv``: losses per epoch of the chosen networks.
    - ``checkpoints/<candidate>/``: ``model.safetensors`` and ``model.json`` of the best seed.
    - ``report.html``: the report, once it is asked for.

    Args:
        path: the folder.
        owner: identifier of the run; trials in the storage carry it.

    Example:
        >>> RunFolder(Path("run"), "me").results.name
        'results'
    """

    path: Path
    owner: str

    @property
    def storage(self) -> str:
        """URL of the folder's own Optuna storage."""
        return f"sqlite:///{(self.path / 'study.db').resolve()}"

    @property
    def units(self) -> Path:
        """Finished pieces of work."""
        return self.path / "units"

    @property
    def results(self) -> Path:
        """Tidy tables."""
        return self.path / "results"

    @property
    def checkpoints(self) -> Path:
        """Stored networks."""
        return self.path / "checkpoints"

    @staticmethod
    def fingerprinted(settings: dict[str, Any]) -> dict[str, Any]:
        """A configuration with the fingerprint of what determines its trials."""
        text = json.dumps(_fixed(settings), sort_keys=True, ensure_ascii=False, default=str)
        digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        return {"version": 1, "fingerprint": digest, "settings": settings}

    @classmethod
    @contextmanager
    def open(cls, path: Path, configuration: Mapping[str, Any]) -> Iterator[RunFolder]:
        """Open a run's folder for writing: create it, or continue what is there.

        Raises:
            StudyError: the folder belongs to another comparison (says what differs), is in use, or cannot be written.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            with _locked(path):
                _check(path, configuration)
                owner_file = path / ".owner"
                if not owner_file.exists():
                    write_text(owner_file, uuid.uuid4().hex)
                for part in path.rglob(".*.part"):
                    part.unlink(missing_ok=True)
                write_json(path / "config.json", configuration)
                yield cls(path, owner_file.read_text(encoding="utf-8"))
        except OSError as error:
            raise _friendly(path, error) from error


def _fixed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that determine a comparison's trials; data count by their content, not by where they lie."""
    fixed = {name: value for name, value in settings.items() if name not in _FREE}
    if isinstance(fixed.get("data"), Mapping):
        fixed["data"] = {key: value for key, value in fixed["data"].items() if key != "source"}
    return fixed


def _check(path: Path, configuration: Mapping[str, Any]) -> None:
    """Refuse a folder whose run is another one."""
    file = path / "config.json"
    if not file.exists():
        return
    old = read_json(file)
    if old.get("fingerprint") == configuration["fingerprint"]:
        return
    now = _fixed(json.loads(json.dumps(configuration["settings"], default=str)))
    before = _fixed(old.get("settings", {}))
    shown = "; ".join(f"{place}: {_short(a)} there, {_short(b)} now" for place, a, b in _differences(before, now)[:3])
    raise StudyError(
        f"the folder {path} holds another comparison ({shown or 'written by another version'}); give another output "
        "folder, or delete this one"
    )


def _differences(before: Any, now: Any, place: str = "") -> list[tuple[str, Any, Any]]:
    """What differs between two configurations, named by its place: ``data n_rows``, ``tasks 'height' loss``."""
    if before == now:
        return []
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            difference
            for key in sorted(now)
            for difference in _differences(before.get(key), now[key], f"{place} {key}".strip())
        ]
    if isinstance(before, list) and isinstance(now, list) and _names(before) == _names(now) != []:
        return [
            difference
            for old, new in zip(before, now, strict=True)
            for difference in _differences(old, new, f"{place} {new['name']!r}")
        ]
    return [(place, before, now)]


def _names(entries: list[Any]) -> list[str]:
    """Names of the entries of a list; empty if some have none."""
    return [entry["name"] for entry in entries] if all(isinstance(entry, dict) for entry in entries) else []


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the folder for this process; the system lets go of it when the process dies."""
    handle = os.open(path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        with contextlib.suppress(ImportError):  # no such locks on Windows: there two runs are not told apart
            import fcntl

            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StudyError(
                    f"another process is running in the folder {path}; wait for it, or give another output folder"
                ) from error
        yield
    finally:
        os.close(handle)


def _friendly(path: Path, error: OSError) -> StudyError:
    where = error.filename or path
    if error.errno == errno.ENOSPC:
        return StudyError(
            f"there is no space left on the device of {path} (while writing {where}); free some and run the same "
            "command again: what is finished is kept"
        )
    return StudyError(
        f"the folder {path} cannot be written ({error.strerror or error}: {where}); give an output folder that can be "
        "written"
    )
