"""Which tasks belong together, as a trained network says: one reading for trees, one for everything softer.

A tree is read without knowing how many groups there are: they are those of the first stage at which tasks part. What
is no tree (policies over blocks, mixtures of layers, graphs) gives every task a row of numbers, what it uses of every
part; the rows are divided into a given number of groups by average linkage. A network that treats all tasks alike has
one group, whose agreement with the planted ones is 0.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.metrics import adjusted_rand_score

from taskloom.nn import AdaShare, PartialSharing, SharingGraph, SoftOrdering
from taskloom.nn.model import MultiTaskModel

__all__ = ["agreement", "clusters", "first_split", "groups_of", "usage"]

_ALIKE = 1e-6  # rows whose largest distance is smaller are all the same


def agreement(found: Sequence[Hashable], planted: Sequence[Hashable]) -> float:
    """Adjusted Rand index: 1 for the same groups, about 0 for groups by chance, 0 where all tasks are in one."""
    return float(adjusted_rand_score(planted, found))


def groups_of(model: MultiTaskModel, *, n_groups: int = 2) -> list[int]:
    """Group of every task, as a trained network says."""
    if isinstance(model, PartialSharing):
        return first_split(model.structure(), model.tasks)
    return clusters(usage(model), n_groups=n_groups)


def first_split(table: Sequence[Mapping[str, Hashable]], tasks: Sequence[str]) -> list[int]:
    """The groups of the first stage with more than one; all tasks in one group where there is none."""
    for row in table:
        places: dict[Hashable, int] = {}
        labels = [places.setdefault(row[task], len(places)) for task in tasks]
        if len(places) > 1:
            return labels
    return [0] * len(tasks)


def clusters(rows: np.ndarray, *, n_groups: int = 2) -> list[int]:
    """Rows (K, m) into a number of groups by average linkage of Euclidean distances."""
    if np.ptp(rows, axis=0).max() < _ALIKE:
        return [0] * len(rows)
    labels: list[int] = fcluster(linkage(rows, "average"), n_groups, "maxclust").tolist()
    return labels


def usage(model: MultiTaskModel) -> np.ndarray:
    """What every task uses of the parts that it might use, (K, number of parts).

    AdaShare: the blocks that it runs, 0 or 1. Soft ordering: the shares of all layers at all depths. The sharing graph:
    the share of every node in what reaches the head, from the head downwards.
    """
    said = model.describe()
    if isinstance(model, AdaShare):
        return np.array([said["blocks"][task] for task in model.tasks], dtype=float)
    if isinstance(model, SoftOrdering):
        return np.array([np.ravel(said["mixture"][task]) for task in model.tasks])
    if isinstance(model, SharingGraph):
        return np.array([_reached(said["edges"], head) for head in range(len(model.tasks))])
    raise TypeError(f"{type(model).__name__} has no learned structure to read")


def _reached(levels: Sequence[Sequence[Mapping[int, float]]], head: int) -> np.ndarray:
    """Share of every node, last depth first, in what one head reads; each depth sums to 1."""
    shares, found = levels[-1][head], []
    for depth in reversed(range(len(levels))):
        below = levels[depth - 1] if depth else []
        width = 1 + max(node for row in levels[depth] for node in row)
        found.extend(shares.get(node, 0.0) for node in range(max(width, len(below))))
        deeper: dict[int, float] = {}
        for node, share in shares.items():
            for parent, part in below[node].items() if below else ():
                deeper[parent] = deeper.get(parent, 0.0) + share * part
        shares = deeper
    return np.array(found)
