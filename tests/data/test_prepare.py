"""Preparation: statistics of training rows only, a width that does not depend on the split, exact inverses, JSON."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from taskloom.data._encoders import mean_and_scale
from taskloom.data.multitask import MultiTaskData
from taskloom.data.prepare import Preparation
from taskloom.data.split import RandomSplit
from taskloom.data.table import read_features
from taskloom.errors import DataError, TaskError
from taskloom.task import Binary, Multiclass, Regression


def table(n=100, seed=0):
    random = np.random.default_rng(seed)
    return {
        "size": [None if i % 10 == 0 else float(v) for i, v in enumerate(random.normal(5, 2, n))],
        "colour": [None if i % 20 == 3 else str(c) for i, c in enumerate(random.choice(["red", "green"], n))],
        "shop": ["tiny" if i < 2 else f"s{i % 4}" for i in range(n)],
        "when": [f"2023-{1 + i % 12:02d}-{1 + i % 28:02d} {i % 24:02d}:30" for i in range(n)],
        "price": random.normal(100, 20, n).tolist(),
        "sold": random.choice(["no", "yes"], n).tolist(),
    }


@pytest.fixture
def data():
    return MultiTaskData.from_frame(pl.DataFrame(table()), targets=["price", "sold"])


def test_statistics_come_from_training_rows_only(data):
    train = np.arange(60)
    preparation = Preparation.fit(data, train)
    inputs = preparation.inputs(data, dtype=np.float64)
    place = preparation.feature_names.index("size")
    known = ~data.features[0].is_missing
    assert inputs[train[known[train]], place].mean() == pytest.approx(0.0, abs=1e-12)
    assert inputs[train[known[train]], place].std() == pytest.approx(1.0)
    changed = table()
    changed["size"][60:] = [1e6] * 40
    changed["price"][60:] = np.linspace(-1e6, 1e6, 40).tolist()
    other = Preparation.fit(MultiTaskData.from_frame(pl.DataFrame(changed), targets=["price", "sold"]), train)
    assert other.columns[0] == preparation.columns[0]
    assert np.array_equal(other.target_mean, preparation.target_mean)


def test_names_and_missing_values(data):
    preparation = Preparation.fit(data, np.arange(60))
    names = preparation.feature_names
    assert names == (
        "size",
        "size is missing",
        "colour = green",
        "colour = red",
        "colour is another",
        "colour is missing",
        "shop = s0",
        "shop = s1",
        "shop = s2",
        "shop = s3",
        "shop is another",
        "when (days)",
        "when (sine of year)",
        "when (cosine of year)",
        "when (sine of week)",
        "when (cosine of week)",
        "when (sine of day)",
        "when (cosine of day)",
    )
    inputs = preparation.inputs(data)
    assert inputs.dtype == np.float32
    assert inputs.shape == (100, len(names)) == (100, *preparation.input_shape)
    assert np.isfinite(inputs).all()
    assert inputs[0, :2].tolist() == [0.0, 1.0]
    assert inputs[3, 2:6].tolist() == [0.0, 0.0, 0.0, 1.0]
    assert inputs[0, names.index("shop is another")] == 1.0
    categories = inputs[:, [place for place, name in enumerate(names) if name.startswith("shop")]]
    assert (categories.sum(axis=1) == 1.0).all()


def test_width_does_not_depend_on_the_split(data):
    names = {Preparation.fit(data, RandomSplit().split(data, seed).train).feature_names for seed in range(5)}
    assert len(names) == 1


def test_category_without_training_row_counts_as_new(data):
    rows = np.flatnonzero(data.features[2].values != data.features[2].categories.index("s2"))
    preparation = Preparation.fit(data, rows)
    inputs = preparation.inputs(data)
    unseen = np.setdiff1d(np.arange(100), rows)
    assert (inputs[unseen, preparation.feature_names.index("shop = s2")] == 0.0).all()
    assert (inputs[unseen, preparation.feature_names.index("shop is another")] == 1.0).all()


def test_new_rows(data):
    preparation = Preparation.fit(data, np.arange(60))
    frame = pl.DataFrame(
        {
            "when": ["2025-01-01", None],
            "shop": ["s0", "new"],
            "colour": ["violet", None],
            "size": [1.0, None],
            "more": [1, 2],
        }
    )
    fresh = read_features(frame, preparation.schema)
    inputs = preparation.inputs(fresh)
    names = preparation.feature_names
    assert inputs[0, names.index("colour is another")] == 1.0
    assert inputs[1, names.index("shop is another")] == 1.0
    assert inputs[1, names.index("size is missing")] == 1.0
    assert (inputs[1, names.index("when (days)") :] == 0.0).all()
    assert np.isnan(preparation.targets(fresh)).all()
    wrong = MultiTaskData.from_frame(pl.DataFrame({**table(), "shop": list(range(100))}), targets=["price", "sold"])
    with pytest.raises(DataError, match="'shop' is numeric, but was categorical"):
        preparation.inputs(wrong)
    less = {name: values for name, values in table().items() if name != "shop"}
    with pytest.raises(DataError, match="no column 'shop'"):
        preparation.inputs(MultiTaskData.from_frame(pl.DataFrame(less), targets=["price", "sold"]))


def test_targets_and_restore(data):
    train = np.arange(50)
    preparation = Preparation.fit(data, train)
    targets = preparation.targets(data)
    assert targets.dtype == np.float64
    assert targets[train, 0].mean() == pytest.approx(0.0, abs=1e-12)
    assert targets[train, 0].std() == pytest.approx(1.0)
    assert set(targets[:, 1].tolist()) == {0.0, 1.0}
    assert preparation.restore("price", targets[:, 0]) == pytest.approx(data.targets["price"])
    probabilities = np.array([0.2, 0.7])
    assert preparation.restore(data.tasks[1], probabilities).tolist() == [0.2, 0.7]
    assert preparation.scale_of("price") == pytest.approx(data.targets["price"][:50].std())
    assert preparation.scale_of("sold") == 1.0
    with pytest.raises(TaskError, match="Did you mean 'price'"):
        preparation.restore("pryce", probabilities)
    with pytest.raises(DataError, match="same tasks"):
        preparation.targets(data.only("price"))


def test_json_round_trip(data):
    preparation = Preparation.fit(data, np.arange(60))
    again = Preparation.from_dict(json.loads(json.dumps(preparation.to_dict(), allow_nan=False)))
    assert np.array_equal(again.inputs(data), preparation.inputs(data))
    assert np.array_equal(again.targets(data), preparation.targets(data), equal_nan=True)
    assert again.schema == preparation.schema
    assert again.feature_names == preparation.feature_names
    with pytest.raises(DataError, match="version"):
        Preparation.from_dict({"version": 99})


def test_common_target_is_scaled_by_the_pooled_rows():
    random = np.random.default_rng(0)
    parts = {
        name: (random.normal(size=(40, 2)), random.normal(mean, 1.0, 40)) for name, mean in [("a", 0.0), ("b", 50.0)]
    }
    data = MultiTaskData.from_tasks(parts)
    pooled = Preparation.fit(data, np.arange(80))
    assert pooled.target_mean[0] == pooled.target_mean[1] == pytest.approx(25.0, abs=0.5)
    assert np.nanmean(pooled.targets(data)) == pytest.approx(0.0, abs=1e-12)
    own = MultiTaskData.from_tasks(parts, {"a": Regression(), "b": Regression()})
    assert Preparation.fit(own, np.arange(80)).target_mean == pytest.approx([0.0, 50.0], abs=0.5)


def test_array_inputs():
    random = np.random.default_rng(0)
    inputs = random.normal(3.0, [1.0, 5.0, 0.0], size=(50, 3))
    inputs[4, 1] = np.nan
    data = MultiTaskData.from_arrays(inputs, {"a": random.normal(size=50)}, {"a": Regression()})
    preparation = Preparation.fit(data, np.arange(30))
    encoded = preparation.inputs(data, dtype=np.float64)
    assert encoded.shape == (50, 4)
    assert encoded[:30, 0].std() == pytest.approx(1.0)
    assert (encoded[:, 2] == 0.0).all()
    assert encoded[4, [1, 3]].tolist() == [0.0, 1.0]
    again = Preparation.from_dict(json.loads(json.dumps(preparation.to_dict())))
    assert np.array_equal(again.inputs(data), preparation.inputs(data))
    plain = Preparation.fit(data.take(np.arange(4)), np.arange(4), scale_inputs=False)
    assert np.array_equal(plain.inputs(data.take(np.arange(4)), dtype=np.float64), inputs[:4])


def test_pictures_are_scaled_by_one_mean():
    pictures = np.random.default_rng(0).integers(0, 255, (20, 3, 4, 4), dtype=np.uint8)
    data = MultiTaskData.from_arrays(pictures, {"a": np.arange(20) % 3}, {"a": Multiclass(3)})
    preparation = Preparation.fit(data, np.arange(20))
    encoded = preparation.inputs(data, dtype=np.float64)
    assert encoded.shape == (20, 3, 4, 4)
    assert encoded.mean() == pytest.approx(0.0, abs=1e-12)
    assert encoded.std() == pytest.approx(1.0)
    other = MultiTaskData.from_arrays(pictures[:, :, :2], {"a": np.arange(20) % 3}, {"a": Multiclass(3)})
    with pytest.raises(DataError, match="shape"):
        preparation.inputs(other)


def test_training_rows_are_needed(data):
    with pytest.raises(DataError, match="training rows"):
        Preparation.fit(data, np.array([], dtype=np.int64))


def test_column_without_training_value():
    inputs = np.column_stack([np.arange(20.0), np.where(np.arange(20) < 10, np.nan, 1.0)])
    data = MultiTaskData.from_arrays(inputs, {"a": np.arange(20) % 2}, {"a": Binary()})
    assert np.isfinite(Preparation.fit(data, np.arange(10)).inputs(data)).all()


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(np.float64, (8, 2), elements=st.floats(-1e9, 1e9) | st.just(np.nan)))
def test_mean_and_scale_are_those_of_numpy(values):
    mean, scale = mean_and_scale(values)
    for column in range(2):
        known = values[:, column][~np.isnan(values[:, column])]
        if known.size:
            assert mean[column] == pytest.approx(known.mean(), rel=1e-9, abs=1e-9)
            assert scale[column] == pytest.approx(known.std(), rel=1e-6) or scale[column] == 1.0
    assert (scale > 0).all()
