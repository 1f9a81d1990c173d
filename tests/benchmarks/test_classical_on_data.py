"""The comparison of classical estimators chooses inside the training rows and goes on where it was stopped."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat


@pytest.fixture(scope="module")
def script(repository: Path):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(repository / "benchmarks"))
        import classical_on_data

        yield classical_on_data
    for name in ("classical_on_data", "_classical_methods", "_classical_tables"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def parts(script):
    """Five tasks that are variations of one theme, with a task column; and a test part."""
    random = np.random.default_rng(0)
    common = random.normal(size=6)
    tasks = np.arange(200) % 5
    x = random.normal(size=(200, 6))
    own = common + 0.2 * random.normal(size=(5, 6))
    y = np.einsum("nd,nd->n", x, own[tasks]) + tasks + random.normal(size=200)
    whole = script.Table(np.column_stack([tasks, x]), y, has_column=True)
    return whole.rows(np.arange(60)), whole.rows(np.arange(60, 200))


def quick(methods):
    return [
        one for one in methods if one.name in ("independent ridge", "held to the mean, offsets too", "l1/l2", "MTRL")
    ]


def test_methods_explain_something(script, parts):
    for method in quick(script.REGRESSORS):
        assert script.explained(method, *parts) > 40, method.name


def test_targets_of_the_same_rows(script):
    random = np.random.default_rng(0)
    x = random.normal(size=(60, 4))
    y = x @ random.normal(size=(4, 3)) + 0.3 * random.normal(size=(60, 3))
    whole = script.Table(x, y, has_column=False)
    for method in quick(script.REGRESSORS):
        assert script.relative_error(method, whole.rows(np.arange(40)), whole.rows(np.arange(40, 60))) < 95, method.name


def _is_high(table):
    middle = [np.median(table.y[table.x[:, 0] == task]) for task in range(5)]
    return (table.y > np.array(middle)[table.x[:, 0].astype(int)]).astype(float)


def test_two_classes(script, parts):
    train, test = (script.Table(one.x, _is_high(one), has_column=True) for one in parts)
    for method in script.CLASSIFIERS:
        learns_together = method.name in ("pooled, own offsets", "held to the mean")
        assert script.accuracy(method, train, test) > (60 if learns_together else 40), method.name


def test_it_goes_on_where_it_was_stopped(script, tmp_path):
    made = []

    def make(method):
        made.append(method.name)
        return float(len(made))

    methods = script.REGRESSORS[:2]
    for _ in range(2):
        record = script.Record(tmp_path / "found.json")
        for place in range(2):
            record.fill("school", "10", methods, place=place, make=make)
    assert len(made) == 4
    assert json.loads((tmp_path / "found.json").read_text())["school"]["10"]["independent ridge"] == [1.0, 3.0]
    assert "| independent ridge | 2.0 ± 1.4 |" in script.table(record.found)


def test_a_school_in_both_parts(script, shared_data, monkeypatch):
    monkeypatch.setattr("_classical_tables.DATA", shared_data)
    train, test = script.school(10, 3)
    stored = loadmat(shared_data / "school" / "school.mat", mat_dtype=True)["Y"].ravel()
    sizes = np.array([len(marks) for marks in stored])
    np.testing.assert_array_equal(np.bincount(train.x[:, 0].astype(int)), np.ceil(sizes / 10))
    assert len(train.y) + len(test.y) == sizes.sum()
