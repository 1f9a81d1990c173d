"""Partitions of a few objects into groups: all of them, or those of a hierarchy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

__all__ = ["Partition", "coarsenings", "partitions"]

Partition = tuple[tuple[int, ...], ...]
"""Groups of objects; objects within a group, and groups by their first object, in rising order."""

_ALL_UP_TO = 7  # 877 partitions; 8 objects have 4,140


def partitions(n_objects: int) -> Iterator[Partition]:
    """All partitions of 0 .. n-1 (Bell's number of them)."""

    def grow(groups: list[list[int]], next_object: int) -> Iterator[Partition]:
        if next_object == n_objects:
            yield tuple(tuple(group) for group in groups)
            return
        for group in groups:
            group.append(next_object)
            yield from grow(groups, next_object + 1)
            group.pop()
        groups.append([next_object])
        yield from grow(groups, next_object + 1)
        groups.pop()

    yield from grow([], 0)


def coarsenings(fine: Sequence[tuple[int, ...]], dissimilarity: np.ndarray) -> list[Partition]:
    """Partitions whose groups are unions of groups of a given one.

    All of them for up to seven groups; beyond, those that complete-linkage clustering of the groups gives.

    Args:
        fine: the given partition.
        dissimilarity: (K, K), symmetric.
    """
    if len(fine) <= _ALL_UP_TO:
        return [_united(fine, groups) for groups in partitions(len(fine))]
    found = [_united(fine, tuple((place,) for place in range(len(fine))))]
    current = [tuple(group) for group in fine]
    while len(current) > 1:
        pairs = [(i, j) for i in range(len(current)) for j in range(i)]
        far = [float(dissimilarity[np.ix_(current[i], current[j])].max()) for i, j in pairs]
        i, j = pairs[int(np.argmin(far))]
        merged = current[i] + current[j]
        current = [group for place, group in enumerate(current) if place not in (i, j)] + [merged]
        found.append(_united(current, tuple((place,) for place in range(len(current)))))
    return found


def _united(fine: Sequence[tuple[int, ...]], groups: Sequence[Sequence[int]]) -> Partition:
    united = [tuple(sorted(member for place in group for member in fine[place])) for group in groups]
    return tuple(sorted(united))
