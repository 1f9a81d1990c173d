"""The overlaid digits: answers are right, and no original digit is in two parts."""

from __future__ import annotations

import numpy as np
import pytest

from taskloom.data.multitask import MultiTaskData
from taskloom.data.problems import overlaid_digits
from taskloom.data.split import GroupedSplit, default_split
from taskloom.errors import DataError

ALL = ("left digit", "right digit", "right digit is even", "sum of both", "brightness")


def clean(**changes) -> MultiTaskData:
    return overlaid_digits(
        100, tasks=ALL, labelled={"right digit": 1.0}, overlap=0, jitter=0, noise=0.0, contrast=0.0, **changes
    )


def test_pictures_show_what_the_answers_say():
    from sklearn.datasets import load_digits

    digits = load_digits()
    known = {image.tobytes(): label for image, label in zip(digits.images / 16.0, digits.target, strict=True)}
    data = clean()
    pictures = data.inputs.reshape(100, 8, 16)
    for side, name in ((pictures[:, :, :8], "left digit"), (pictures[:, :, 8:], "right digit")):
        assert [known[np.ascontiguousarray(image).tobytes()] for image in side] == data.targets[name].tolist()
    assert np.array_equal(data.targets["sum of both"], data.targets["left digit"] + data.targets["right digit"])
    assert np.array_equal(data.targets["right digit is even"], 1 - data.targets["right digit"] % 2)
    assert (data.targets["brightness"] == 1.0).all()


def test_no_original_digit_is_in_two_parts_or_twice_on_a_side():
    data = clean()
    pictures = data.inputs.reshape(100, 8, 16)
    left = [image.tobytes() for image in np.ascontiguousarray(pictures[:, :, :8])]
    right = [image.tobytes() for image in np.ascontiguousarray(pictures[:, :, 8:])]
    assert len(set(left)) == len(set(right)) == 100
    assert isinstance(default_split(data), GroupedSplit)
    for seed in range(3):
        split = default_split(data).split(data, seed)
        seen = [{left[row] for row in rows} | {right[row] for row in rows} for rows in split.parts.values()]
        assert not (seen[0] & seen[1] | seen[0] & seen[2] | seen[1] & seen[2])
        assert split.sizes == {"train": 60, "validation": 20, "test": 20}


def test_default_problem():
    data = overlaid_digits()
    assert (data.n_rows, len(data.tasks), data.inputs.shape) == (1796, 5, (1796, 140))
    assert data.mask["right digit"].sum() == round(0.12 * 1796)
    assert data.mask["brightness"].all()
    assert data.fingerprint == overlaid_digits().fingerprint
    assert data.fingerprint != overlaid_digits(seed=1).fingerprint
    sizes = {str(default_split(data).split(data, seed).sizes) for seed in range(3)}
    assert len(sizes) == 1
    data.checked()


def test_parameters_are_checked():
    for changes, message in [
        ({"n": 7}, "even number"),
        ({"n": 4000}, "even number"),
        ({"tasks": ["right digits"]}, "Did you mean 'right digit'"),
        ({"labelled": {"left": 0.5}}, "is no task of this problem"),
        ({"labelled": {"left digit": 0.0}}, "share"),
        ({"overlap": 9}, "overlap"),
        ({"contrast": 1.0}, "contrast"),
    ]:
        with pytest.raises(DataError, match=message):
            overlaid_digits(**changes)
