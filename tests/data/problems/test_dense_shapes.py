"""Pictures of shapes: what is nearer is seen, colours do not tell the class, holes, loaders, errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from taskloom.data.problems import dense_shapes
from taskloom.errors import DataError


def test_equal_seeds_give_equal_pictures_and_others_do_not() -> None:
    one, same, other = dense_shapes(3, seed=1), dense_shapes(3, seed=1), dense_shapes(3, seed=2)
    for name in ("images", "distance", "shape"):
        np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
    assert not np.array_equal(one.images, other.images)


def test_targets_agree_with_one_another() -> None:
    problem = dense_shapes(40, holes=0.0, noise=0.0)
    assert (problem.distance[problem.shape == 0] == 4).all()
    assert (problem.distance[problem.shape > 0] <= 3).all()
    assert set(np.unique(problem.shape)) == {0, 1, 2}
    # one surface has one distance and, without noise, one colour
    for image, distance in zip(problem.images, problem.distance, strict=True):
        for z in np.unique(distance):
            assert np.ptp(image[:, distance == z], axis=1).max() < 1e-6


def test_holes() -> None:
    problem = dense_shapes(50, holes=0.1)
    assert np.isnan(problem.distance).mean() == pytest.approx(0.1, abs=0.01)
    assert (problem.shape == -1).mean() == pytest.approx(0.1, abs=0.01)


def test_loaders() -> None:
    problem = dense_shapes(10, size=(8, 12))
    train, validation = problem.loaders(batch_size=4, n_validation=2)
    images, targets = next(iter(train))
    assert images.shape == (4, 3, 8, 12)
    assert targets["distance"].shape == (4, 8, 12)
    assert targets["shape"].dtype == torch.int64
    assert sum(len(batch) for batch, _ in train) == 8
    assert [len(batch) for batch, _ in validation] == [2]
    with pytest.raises(DataError, match="n_validation must be from 1 to 9"):
        problem.loaders(n_validation=10)


@pytest.mark.parametrize("settings", [{"n": 0}, {"size": (7, 9)}, {"holes": 1.0}])
def test_bad_settings(settings) -> None:
    with pytest.raises(DataError, match="size 8 x 8 or more"):
        dense_shapes(**{"n": 1, **settings})
