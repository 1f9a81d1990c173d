from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskloom.task_column import merge_replicates


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 12), columns=st.sampled_from([None, 3]))
def test_squares_are_those_of_the_distinct_rows_up_to_a_constant(seed: int, n: int, columns: int | None) -> None:
    generator = np.random.default_rng(seed)
    shape = (n,) if columns is None else (n, columns)
    design = generator.integers(0, 2, size=(n, 2)).astype(float)
    targets, weights = generator.normal(size=shape), generator.uniform(0.5, 2, size=shape)
    merged = merge_replicates(design, targets, weights=weights)
    np.testing.assert_array_equal(merged.rows[merged.place], design)
    assert len(np.unique(merged.rows, axis=0)) == len(merged.rows)

    def both(coefficients: np.ndarray) -> tuple[float, float]:
        shaped = (slice(None),) if columns is None else (slice(None), None)
        every = (weights * (targets - (design @ coefficients)[shaped]) ** 2).sum()
        distinct = (merged.weights * (merged.targets - (merged.rows @ coefficients)[shaped]) ** 2).sum()
        return float(every), float(distinct)

    first, second = both(np.zeros(2)), both(generator.normal(size=2))
    assert first[0] - first[1] == pytest.approx(second[0] - second[1], abs=1e-9)


def test_order_does_not_matter_and_single_rows_keep_their_bits() -> None:
    generator = np.random.default_rng(0)
    design, y, weights = generator.normal(size=(7, 2)), generator.normal(size=7), generator.uniform(1, 3, size=7)
    order = generator.permutation(7)
    one = merge_replicates(design, y, weights=weights)
    other = merge_replicates(design[order], y[order], weights=weights[order])
    np.testing.assert_array_equal(one.rows, other.rows)
    np.testing.assert_array_equal(one.targets, other.targets)
    np.testing.assert_array_equal(one.targets[one.place], y)
