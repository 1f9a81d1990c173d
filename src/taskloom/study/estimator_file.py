"""Fitted estimators as files: skops, which stores types by name and arrays as arrays, and runs no code on loading."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

from taskloom.errors import StudyError
from taskloom.study.candidate import Fitted
from taskloom.study.files import write_bytes

__all__ = ["read_estimators", "write_estimators"]

_TRUSTED = ("taskloom.", "sklearn.")


def write_estimators(path: Path, fitted: Sequence[Fitted]) -> None:
    """Write fitted predictors, atomically."""
    from skops.io import dumps

    write_bytes(path, dumps(tuple(fitted)))


def read_estimators(path: Path, *, own: Sequence[str] = ()) -> tuple[Fitted, ...]:
    """Read fitted predictors.

    Args:
        path: the file.
        own: beginnings of names of further types that may be made, say those of the module of a candidate.

    Raises:
        StudyError: the file is damaged, or names types that are neither taskloom's nor scikit-learn's.
    """
    from skops.io import get_untrusted_types, loads

    try:
        content = path.read_bytes()
        found = get_untrusted_types(data=content)
        foreign = [name for name in found if not name.startswith((*_TRUSTED, *own))]
        if foreign:
            raise StudyError(
                f"{path} holds objects of the types {foreign}, which neither taskloom nor scikit-learn has; they are "
                "not loaded, because making them may run any code. If the run used a candidate of your own, give the "
                "Candidate object with candidate="
            )
        return tuple(loads(content, trusted=found))
    except (BadZipFile, KeyError, ValueError, TypeError, AttributeError, ImportError) as error:
        raise StudyError(
            f"{path} is damaged, or another version of scikit-learn wrote it ({error}); delete it and run again"
        ) from error
