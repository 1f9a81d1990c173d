"""Vectors that solvers of small problems find hard."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

Jacobians = tuple[tuple[str, NDArray[np.float64]], ...]


def draws() -> Jacobians:
    generator = np.random.default_rng(20260)
    found = []
    for n, size in [(1, 3), (2, 2), (2, 7), (3, 2), (3, 5), (5, 2), (5, 5), (5, 20), (10, 5), (10, 10), (10, 30)]:
        plain = generator.normal(size=(n, size))
        near = generator.normal(size=size) + 1e-3 * generator.normal(size=(n, size))
        cases = {"random": plain, "nearly parallel": near, "leaning": plain + generator.normal(size=size)}
        cases["norm ratio 1e6"] = plain * 10 ** generator.uniform(-3, 3, size=(n, 1))
        cases["norm ratio 100"] = plain * 10 ** generator.uniform(-1, 1, size=(n, 1))
        if n > 1:
            cases["duplicate"] = np.concatenate([plain[:-1], plain[:1]])
            cases["opposite"] = np.concatenate([plain[:-1], -3 * plain[:1]])
            cases["zero row"] = np.concatenate([plain[:-1], np.zeros((1, size))])
        found += [(f"{label}, {n} x {size}", jacobian) for label, jacobian in cases.items()]
    return tuple(found)


@pytest.fixture(scope="session")
def awkward_jacobians() -> Jacobians:
    return draws()
