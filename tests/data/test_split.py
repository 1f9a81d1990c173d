"""Splits: what every part must hold, determinism, sizes, errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskloom.data._parts import part_pattern
from taskloom.data.multitask import MultiTaskData
from taskloom.data.split import FixedSplit, GroupedSplit, RandomSplit, TimeSplit, default_split
from taskloom.errors import DataError
from taskloom.task import Binary, Multiclass, Regression


def multi_label(n, *, shares, classes=0, seed=0, groups=None, times=None):
    random = np.random.default_rng(seed)
    y, kinds = {}, {}
    for k, share in enumerate(shares):
        labelled = random.permutation(n) < round(share * n)
        if classes:
            codes = random.choice(classes, n, p=np.arange(1, classes + 1) / np.arange(1, classes + 1).sum())
            y[f"t{k}"], kinds[f"t{k}"] = np.where(labelled, codes, -1), Multiclass(classes)
        else:
            y[f"t{k}"], kinds[f"t{k}"] = np.where(labelled, random.normal(size=n), np.nan), Regression()
    return MultiTaskData.from_arrays(random.normal(size=(n, 2)), y, kinds, groups=groups, times=times)


def check_partition(data, split):
    joined = np.concatenate(list(split.parts.values()))
    labelled = np.flatnonzero(np.any([data.mask[task.name] for task in data.tasks], axis=0))
    assert np.array_equal(np.sort(joined), labelled)
    for rows in split.parts.values():
        assert rows.dtype == np.int64
        assert np.all(np.diff(rows) > 0)


def check_promises(data, split):
    for task in data.tasks:
        for rows in split.parts.values():
            assert data.mask[task.name][rows].any()
        if task.kind.n_classes:
            known = np.flatnonzero(data.mask[task.name])
            classes = set(data.targets[task.name][known].tolist())
            train = split.train[data.mask[task.name][split.train]]
            assert set(data.targets[task.name][train].tolist()) == classes


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(40, 150),
    shares=st.lists(st.floats(0.3, 1.0), min_size=1, max_size=5),
    classes=st.sampled_from([0, 2, 4]),
    seed=st.integers(0, 10_000),
)
def test_random_split_keeps_its_promises(n, shares, classes, seed):
    data = multi_label(n, shares=shares, classes=classes, seed=seed)
    split = RandomSplit().split(data, seed)
    check_partition(data, split)
    check_promises(data, split)


def test_same_seed_same_split_other_seed_other_split():
    data = multi_label(100, shares=[1.0, 0.5])
    first, again, other = (RandomSplit().split(data, seed) for seed in (0, 0, 1))
    assert np.array_equal(first.train, again.train)
    assert not np.array_equal(first.train, other.train)
    assert first.sizes == other.sizes


def test_stored_split():
    # pairs of results on disk rest on this; a change breaks resuming old runs
    data = MultiTaskData.from_arrays(np.zeros((10, 1)), {"a": np.arange(10.0)}, {"a": Regression()})
    split = RandomSplit().split(data, 0)
    assert [rows.tolist() for rows in split.parts.values()] == [[3, 5, 6, 7, 8, 9], [1, 2], [0, 4]]


def test_rare_task_is_in_every_part():
    data = multi_label(1000, shares=[1.0, 0.004])
    counts = data.labelled(RandomSplit().split(data, 3)).counts
    assert counts[1].sum() == 4
    assert (counts[1] >= 1).all()


def test_rare_class_is_in_train_and_where_it_can_be():
    codes = np.zeros(300, dtype=int)
    codes[[5]], codes[[7, 8]], codes[[100, 200, 299]] = 1, 2, 3
    data = MultiTaskData.from_arrays(np.zeros((300, 1)), {"a": codes}, {"a": Multiclass(4)})
    for seed in range(5):
        split = RandomSplit().split(data, seed)
        present = [set(codes[rows].tolist()) for rows in split.parts.values()]
        assert present[0] == {0, 1, 2, 3}
        assert 3 in present[1]
        assert {2, 3} <= present[2]


def test_several_data_sets_are_divided_each_by_itself():
    random = np.random.default_rng(0)
    sizes = [22, 40, 101, 251]
    data = MultiTaskData.from_tasks({f"s{n}": (random.normal(size=(n, 2)), random.normal(size=n)) for n in sizes})
    for seed in range(3):
        counts = data.labelled(RandomSplit().split(data, seed)).counts
        assert np.abs(counts - np.outer(sizes, [0.6, 0.2, 0.2])).max() <= 1.0
    assert len({str(data.labelled(RandomSplit().split(data, seed)).counts) for seed in range(4)}) == 1


def test_several_data_sets_with_classes():
    random = np.random.default_rng(0)
    parts = {f"s{k}": (random.normal(size=(30, 2)), random.integers(0, 2, 30)) for k in range(20)}
    data = MultiTaskData.from_tasks(parts, Binary())
    split = RandomSplit().split(data, 1)
    check_partition(data, split)
    check_promises(data, split)


def test_many_tasks_are_quick():
    random = np.random.default_rng(0)
    parts = {str(k): (random.normal(size=(110, 3)), random.normal(size=110)) for k in range(139)}
    data = MultiTaskData.from_tasks(parts)
    check_promises(data, RandomSplit().split(data, 0))


def test_fractions():
    assert RandomSplit((0.8, 0.1, 0.1)).split(multi_label(100, shares=[1.0]), 0).sizes == {
        "train": 80,
        "validation": 10,
        "test": 10,
    }
    for bad in [(0.5, 0.5, 0.5), (1.0, 0.0, 0.0), (0.5, 0.5)]:
        with pytest.raises(DataError, match="sum to 1"):
            RandomSplit(bad)


@given(st.integers(1, 3000), st.floats(0.05, 0.9), st.floats(0.05, 0.95))
@settings(max_examples=40, deadline=None)
def test_pattern_is_close_to_its_fractions_everywhere(length, first, share):
    fractions = (first, (1 - first) * share, (1 - first) * (1 - share))
    pattern = part_pattern(fractions, length)
    counts = np.cumsum(np.eye(3)[pattern], axis=0)
    assert np.abs(counts - np.outer(np.arange(1, length + 1), fractions)).max() <= 1.0 + 2e-3 * length


def test_too_few_labels_names_task_and_part():
    data = multi_label(50, shares=[1.0, 0.04])
    with pytest.raises(
        DataError, match=r"task 't1' \(2 labelled rows of 50\) has no labelled row in the validation part"
    ):
        RandomSplit().split(data, 0)


def grouped(n_groups=20, size=10, **changes):
    return multi_label(n_groups * size, shares=[1.0, 0.5], groups=np.repeat(np.arange(n_groups), size), **changes)


def test_grouped_split_keeps_groups_whole_and_is_balanced():
    data = grouped()
    for seed in range(5):
        split = GroupedSplit().split(data, seed)
        check_partition(data, split)
        check_promises(data, split)
        parts = [set(data.groups[rows].tolist()) for rows in split.parts.values()]
        assert not (parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2])
        assert split.sizes == {"train": 120, "validation": 40, "test": 40}


def test_grouped_split_of_unequal_groups():
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(42), random.integers(100, 180, 42))
    data = multi_label(len(groups), shares=[1.0], groups=groups)
    for seed in range(5):
        sizes = np.array(list(GroupedSplit().split(data, seed).sizes.values())) / data.n_rows
        assert np.abs(sizes - [0.6, 0.2, 0.2]).max() < 0.05


def test_grouped_split_finds_places_for_rare_classes():
    codes = np.zeros(300, dtype=int)
    codes[[10, 11, 150]] = 1
    data = MultiTaskData.from_arrays(
        np.zeros((300, 1)), {"a": codes}, {"a": Binary()}, groups=np.repeat(np.arange(30), 10)
    )
    for seed in range(5):
        check_promises(data, GroupedSplit().split(data, seed))


def test_grouped_split_refuses():
    with pytest.raises(DataError, match="needs groups"):
        GroupedSplit().split(multi_label(30, shares=[1.0]), 0)
    with pytest.raises(DataError, match="at least three groups with labelled rows, found 1; all rows of a group"):
        GroupedSplit().split(multi_label(30, shares=[1.0], groups=np.zeros(30)), 0)
    y = {"a": np.arange(30.0), "b": np.where(np.arange(30) < 10, np.arange(30.0), np.nan)}
    data = MultiTaskData.from_arrays(
        np.zeros((30, 1)), y, {"a": Regression(), "b": Regression()}, groups=np.repeat(np.arange(6), 5)
    )
    with pytest.raises(DataError, match=r"labelled rows of task 'b' \(10\) lie in 2 groups"):
        GroupedSplit().split(data, 0)


def test_three_groups_are_enough():
    data = multi_label(30, shares=[1.0], groups=np.repeat([7, 8, 9], 10))
    assert GroupedSplit().split(data, 0).sizes == {"train": 10, "validation": 10, "test": 10}


def test_time_split_is_past_to_future():
    times = np.random.default_rng(0).permutation(100) // 2  # every time twice
    data = multi_label(100, shares=[1.0, 0.6], times=times)
    split = TimeSplit().split(data, 0)
    check_partition(data, split)
    check_promises(data, split)
    assert times[split.train].max() < times[split.validation].min()
    assert times[split.validation].max() < times[split.test].min()
    assert np.array_equal(split.test, TimeSplit().split(data, 5).test)


def test_time_split_accepts_dates():
    times = np.datetime64("2024-01-01") + np.arange(20)
    data = multi_label(20, shares=[1.0], times=times)
    assert TimeSplit().split(data, 0).test.tolist() == [16, 17, 18, 19]


def test_time_split_refuses():
    with pytest.raises(DataError, match="needs times"):
        TimeSplit().split(multi_label(30, shares=[1.0]), 0)
    with pytest.raises(DataError, match="three different times, found 2"):
        TimeSplit().split(multi_label(30, shares=[1.0], times=np.arange(30) % 2), 0)
    y = np.where(np.arange(30) < 10, np.arange(30.0), np.nan)
    data = MultiTaskData.from_arrays(
        np.zeros((30, 1)),
        {"a": np.arange(30.0), "early": y},
        {"a": Regression(), "early": Regression()},
        times=np.arange(30),
    )
    with pytest.raises(DataError, match=r"task 'early'.*validation part of the split by time 60/20/20 %"):
        TimeSplit().split(data, 0)
    late = np.where(np.arange(30) > 25, 1, 0)
    with pytest.raises(DataError, match=r"class '1' of task 'a' \(4 rows\) is not in the train part"):
        TimeSplit().split(
            MultiTaskData.from_arrays(np.zeros((30, 1)), {"a": late}, {"a": Binary()}, times=np.arange(30)), 0
        )
    with pytest.raises(DataError, match="times has 1 missing"):
        multi_label(3, shares=[1.0], times=[1.0, np.nan, 2.0])


def test_fixed_split():
    data = multi_label(10, shares=[1.0])
    even = np.arange(10) % 2 == 0
    assert FixedSplit(even, [1, 3], [5, 7]).split(data, 0).train.tolist() == [0, 2, 4, 6, 8]
    for parts, message in [
        (([0, 1], [1], [2]), "row 1 is in the train and in the validation part"),
        (([0, 99], [1], [2]), "names row 99, but rows go from 0 to 9"),
        (([0, 0], [1], [2]), "twice"),
        (([], [1], [2]), "at least one row"),
        ((even[:3], [1], [2]), "one per row"),
    ]:
        with pytest.raises(DataError, match=message):
            FixedSplit(*parts).split(data, 0)


def test_default_split_follows_the_data():
    assert isinstance(default_split(multi_label(10, shares=[1.0])), RandomSplit)
    assert isinstance(default_split(multi_label(10, shares=[1.0], groups=np.arange(10))), GroupedSplit)
    assert isinstance(default_split(multi_label(10, shares=[1.0], times=np.arange(10))), TimeSplit)
    with pytest.raises(DataError, match="say which split"):
        default_split(multi_label(10, shares=[1.0], groups=np.arange(10), times=np.arange(10)))


def test_split_within_the_rows_of_some_tasks():
    random = np.random.default_rng(0)
    data = MultiTaskData.from_tasks({name: (random.normal(size=(20, 2)), random.normal(size=20)) for name in "abc"})
    split = RandomSplit().split(data, 0)
    part = split.within(data.rows_of(["b", "c"]))
    whole = set(data.rows_of(["b", "c"])[part.train].tolist())
    assert whole == set(split.train.tolist()) & set(range(20, 60))
