from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskloom.errors import DataError
from taskloom.kernel import multitask_gram


def test_it_is_the_product_entry_by_entry() -> None:
    generator = np.random.default_rng(0)
    K, B = generator.normal(size=(4, 3)), generator.normal(size=(2, 2))
    s, t = np.array([0, 1, 1, 0]), np.array([1, 0, 1])
    gram = multitask_gram(K, B, s=s, t=t)
    for i, j in np.ndindex(4, 3):
        assert gram[i, j] == B[s[i], t[j]] * K[i, j]


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 12), n_tasks=st.integers(1, 5))
@settings(max_examples=30)
def test_products_of_kernels_are_kernels(seed: int, n: int, n_tasks: int) -> None:
    generator = np.random.default_rng(seed)
    rows, tasks = generator.normal(size=(n, 2)), generator.normal(size=(n_tasks, 1))
    gram = multitask_gram(rows @ rows.T, tasks @ tasks.T, s=generator.integers(n_tasks, size=n))
    assert np.linalg.eigvalsh(gram)[0] >= -1e-9 * max(1.0, np.abs(gram).max())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"B": np.ones((2, 3))}, r"B has shape \(2, 3\)"),
        ({"K": np.ones((3, 2))}, r"K has shape \(3, 2\), but s and t"),
        ({"s": [0, 2]}, "s must hold whole numbers from 0 to 1"),
        ({"t": [0.0, 1.0]}, "t must hold whole numbers"),
        ({"t": [-1, 0]}, "t must hold whole numbers"),
    ],
    ids=["not square", "sizes", "beyond", "floats", "negative"],
)
def test_bad_input(changed: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"K": np.ones((2, 2)), "B": np.ones((2, 2)), "s": [0, 1], **changed}
    with pytest.raises(DataError, match=message):
        multitask_gram(arguments.pop("K"), arguments.pop("B"), **arguments)  # type: ignore[arg-type]
