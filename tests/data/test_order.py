"""Row orders: every row once an epoch, even steps, the same for equal seeds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskloom.data.order import RowOrder, automatic_batch_size
from taskloom.errors import DataError

SIZES = st.integers(1, 70)


@settings(max_examples=60, deadline=None)
@given(n=SIZES, batch_size=st.integers(1, 40), seed=st.integers(0, 5), epoch=st.integers(0, 3))
def test_every_row_comes_once_in_even_steps(n, batch_size, seed, epoch):
    given_rows = np.random.default_rng(n).permutation(1000)[:n]
    order = RowOrder(given_rows, batch_size=batch_size, seed=seed)
    rows, real = order.epoch(epoch)
    assert rows.shape == real.shape == (order.steps, order.width)
    assert rows.dtype == np.int64
    assert order.steps == -(-n // batch_size)
    assert order.width <= batch_size
    assert sorted(rows[real]) == sorted(given_rows)
    sizes = real.sum(axis=1)
    assert sizes.max() - sizes.min() <= 1
    assert np.isin(rows, given_rows).all()  # padding can be gathered


@settings(max_examples=60, deadline=None)
@given(counts=st.lists(SIZES, min_size=1, max_size=6), batch_size=st.integers(1, 40), epoch=st.integers(0, 3))
def test_every_task_deals_its_own_rows_over_the_same_steps(counts, batch_size, epoch):
    parts = [1000 * task + np.arange(count) for task, count in enumerate(counts)]
    order = RowOrder(parts, batch_size=batch_size, seed=0)
    rows, real = order.epoch(epoch)
    assert rows.shape == real.shape == (order.steps, len(counts), order.width)
    assert order.steps == -(-max(counts) // batch_size)
    for task, part in enumerate(parts):
        own, own_real = rows[:, task], real[:, task]
        assert sorted(own[own_real]) == sorted(part)
        assert np.isin(own, part).all()
        sizes = own_real.sum(axis=1)
        assert sizes.max() - sizes.min() <= 1
        assert sizes.max() <= batch_size


@pytest.mark.parametrize("rows", [np.arange(50), [np.arange(50), np.arange(50, 70)]])
def test_the_order_follows_seed_and_epoch_alone(rows):
    def epochs(seed):
        order = RowOrder(rows, batch_size=8, seed=seed)
        return [order.epoch(epoch)[0] for epoch in (0, 1, 2)]

    first, again, other = epochs(0), epochs(0), epochs(1)
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], other[0])
    order = RowOrder(rows, batch_size=8, seed=0)
    assert np.array_equal(order.epoch(2)[0], first[2])  # an epoch can be asked for out of turn, as after a resume
    assert np.array_equal(order.epoch(0)[0], first[0])


def test_shuffling_is_fair():
    # each of 6 rows comes first about equally often: 3000 / 6 = 500, standard deviation 20
    order = RowOrder(np.arange(6), batch_size=6, seed=3)
    firsts = np.bincount([order.epoch(epoch)[0][0, 0] for epoch in range(3000)], minlength=6)
    assert np.abs(firsts - 500).max() < 100


def test_one_task_of_several_data_sets_is_not_a_single_one():
    assert not RowOrder(np.arange(3), batch_size=2, seed=0).per_task
    assert RowOrder([np.arange(3)], batch_size=2, seed=0).epoch(0)[0].shape == (2, 1, 2)


@pytest.mark.parametrize("rows", [np.zeros(0, dtype=np.int64), [np.arange(3), np.arange(0)], []])
def test_no_row_is_an_error(rows):
    with pytest.raises(DataError, match="no training row"):
        RowOrder(rows, batch_size=2, seed=0)


def test_batch_size_below_one_is_an_error():
    with pytest.raises(DataError, match="batch_size must be at least 1, found 0"):
        RowOrder(np.arange(3), batch_size=0, seed=0)


@settings(max_examples=60, deadline=None)
@given(counts=st.lists(st.integers(1, 10**7), min_size=1, max_size=5), per_task=st.booleans())
def test_the_automatic_batch_size_is_a_power_of_two_in_its_range(counts, per_task):
    size = automatic_batch_size(counts, per_task=per_task)
    low, high = (8, 256) if per_task else (16, 512)
    assert low <= size <= high
    assert size & (size - 1) == 0
