"""A hash of everything that data hold, for telling whether two results rest on the same data."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from taskloom.data.multitask import MultiTaskData

__all__ = ["fingerprint"]


def fingerprint(data: MultiTaskData) -> str:
    """Hash of layout, tasks, columns and every value, 32 hexadecimal digits; the same on every machine."""
    digest = hashlib.blake2b(digest_size=16)

    def add(label: str, array: np.ndarray | None = None) -> None:
        digest.update(f"{label}\x1f".encode())
        if array is not None:
            portable = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
            digest.update(f"{portable.dtype.str}{array.shape}\x1f".encode())
            digest.update(portable.data if portable.size else b"")

    add(data.layout)
    for task in data.tasks:
        add(f"{task.name}|{task.kind!r}")
    for column in data.features:
        add(f"{column.name}|{column.kind}|{column.categories!r}", column.values)
    for name in ("inputs", "task_ids", "groups", "times"):
        add(name, getattr(data, name))
    for task in data.tasks:
        known = np.flatnonzero(data.mask[task.name]).astype(np.int64)
        add("labelled", known)
        add("targets", data.targets[task.name][known])
    return digest.hexdigest()
