"""The conventions for "not labelled"."""

from __future__ import annotations

import numpy as np
import pytest

from taskloom.data.mask import as_array, is_labelled
from taskloom.errors import DataError


@pytest.mark.parametrize(
    ("values", "codes", "expected"),
    [
        ([1.0, np.nan], False, [True, False]),
        ([1, -1], False, [True, True]),
        ([0, -1, -100, 3], True, [True, False, False, True]),
        ([0.0, -1.0, np.nan], True, [True, False, False]),
        (["a", None, "-1"], True, [True, False, True]),
        ([1, None, float("nan")], False, [True, False, False]),
        (np.array(["2024-01-01", "NaT"], dtype="datetime64[D]"), False, [True, False]),
        (np.ma.MaskedArray([1.0, 2.0], mask=[False, True]), False, [True, False]),
        (np.ma.MaskedArray([1, -1], mask=[False, False]), True, [True, False]),
        ([True, False], True, [True, True]),
    ],
)
def test_every_convention(values, codes, expected):
    assert is_labelled(values, codes=codes).tolist() == expected


def test_pandas_missing_values():
    pandas = pytest.importorskip("pandas")
    assert is_labelled(pandas.Series([1, None, pandas.NA], dtype=object)).tolist() == [True, False, False]


def test_explicit_mask_is_combined():
    assert is_labelled([1.0, np.nan, 2.0], mask=[True, True, False]).tolist() == [True, False, False]
    assert is_labelled([1.0, 2.0], mask=[1, 0]).tolist() == [True, False]


def test_bad_masks():
    with pytest.raises(DataError, match=r"shape \(1,\)"):
        is_labelled([1.0, 2.0], mask=[True])
    with pytest.raises(DataError, match="True"):
        is_labelled([1.0, 2.0], mask=[0.5, 1.0])


def test_tensors_are_read():
    torch = pytest.importorskip("torch")
    assert as_array(torch.tensor([1.0, 2.0], requires_grad=True)).tolist() == [1.0, 2.0]
