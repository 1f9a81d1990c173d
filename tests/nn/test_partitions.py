"""Partitions: all of them once, coarsenings are unions, hierarchies for many objects."""

from __future__ import annotations

import numpy as np
import pytest

from taskloom.nn._partitions import coarsenings, partitions


@pytest.mark.parametrize(("n", "bell"), [(1, 1), (2, 2), (3, 5), (4, 15), (7, 877)])
def test_there_are_as_many_as_bells_number(n, bell):
    found = list(partitions(n))
    assert len(found) == len(set(found)) == bell
    assert all(sorted(member for group in one for member in group) == list(range(n)) for one in found)


def test_coarsenings_unite_groups():
    found = coarsenings(((0, 2), (1,), (3,)), np.zeros((4, 4)))
    assert len(found) == 5
    assert ((0, 2, 3), (1,)) in found
    assert not any(any(0 in group and 2 not in group for group in one) for one in found)


def test_many_groups_are_united_by_distance():
    positions = np.repeat([0.0, 10.0, 20.0], 3) + np.tile([0.0, 0.1, 0.2], 3)
    found = coarsenings(tuple((k,) for k in range(9)), np.abs(positions[:, None] - positions))
    assert [len(one) for one in found] == list(range(9, 0, -1))
    assert ((0, 1, 2), (3, 4, 5), (6, 7, 8)) in found
