"""Pictures of shapes in a row of distances: a class and a distance at every pixel, known exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from taskloom._rng import numpy_stream
from taskloom.errors import DataError
from taskloom.task import Multiclass, Regression, Task

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

__all__ = ["DenseShapes", "dense_shapes"]

_FAR = 4.0  # distance of the background; shapes are at 1 to 3


@dataclass(frozen=True, eq=False)
class DenseShapes:
    """Pictures with targets at every pixel.

    Args:
        images: (n, 3, height, width) float32.
        distance: (n, height, width) float32, from 1 (near) to 4 (background); NaN where it is not known.
        shape: (n, height, width) int64, 0 background, 1 disc, 2 square; -1 where it is not known.

    Example:
        >>> problem = dense_shapes(4, size=(16, 20), seed=1)
        >>> problem.images.shape, sorted(np.unique(problem.shape).tolist())[:2]
        ((4, 3, 16, 20), [-1, 0])
    """

    images: np.ndarray
    distance: np.ndarray
    shape: np.ndarray

    @property
    def tasks(self) -> tuple[Task, Task]:
        """``"distance"``, a number, and ``"shape"``, one of three classes."""
        return Task(name="distance", kind=Regression()), Task(name="shape", kind=Multiclass(3))

    def loaders(self, *, batch_size: int = 16, n_validation: int, seed: int = 0) -> tuple[DataLoader[Any], ...]:
        """A training and a validation loader of ``(images, {"distance": ..., "shape": ...})`` for ``tl.fit``.

        Args:
            batch_size: pictures per batch.
            n_validation: how many of the last pictures are for validation.
            seed: of the order of the training pictures.
        """
        import torch
        from torch.utils.data import DataLoader

        samples = [
            (torch.from_numpy(image), {"distance": torch.from_numpy(distance), "shape": torch.from_numpy(shape)})
            for image, distance, shape in zip(self.images, self.distance, self.shape, strict=True)
        ]
        if not 0 < n_validation < len(samples):
            raise DataError(f"n_validation must be from 1 to {len(samples) - 1}, found {n_validation!r}")
        order = torch.Generator().manual_seed(seed)
        train, validation = samples[:-n_validation], samples[-n_validation:]
        return (
            DataLoader(train, batch_size=batch_size, shuffle=True, generator=order),  # type: ignore[arg-type]
            DataLoader(validation, batch_size=batch_size),  # type: ignore[arg-type]
        )


def dense_shapes(
    n: int = 200, *, size: tuple[int, int] = (24, 24), noise: float = 0.03, holes: float = 0.03, seed: int = 0
) -> DenseShapes:
    """Draw discs and squares at random distances in front of a background; the nearest one is seen.

    Two tasks at every pixel that explain one another: what is far is paler, and an edge in distance is one in shape.
    Colours are drawn for every shape, so that they do not tell the class.

        pixel = colour exp(-z / 4) + (1 - exp(-z / 4)) + noise,   z the distance

    Args:
        n: number of pictures.
        size: height and width, 8 or more.
        noise: standard deviation of the pixels' noise.
        holes: share of pixels without a distance, and, others, without a shape.
        seed: base seed.

    Raises:
        DataError: no picture, pictures that are too small, or a share outside [0, 1).

    Example:
        >>> problem = dense_shapes(2)
        >>> bool(np.nanmin(problem.distance) >= 1), bool((problem.distance[problem.shape == 0] != 4).all())
        (True, False)
    """
    if n < 1 or min(size) < 8 or not 0 <= holes < 1:
        raise DataError(
            f"n must be 1 or more, size 8 x 8 or more and holes in [0, 1); found {n!r}, {size!r} and {holes!r}"
        )
    random = numpy_stream(seed, "dense shapes")
    pictures = [_picture(random, size) for _ in range(n)]
    colour, distance, shape = (np.stack(parts) for parts in zip(*pictures, strict=True))
    haze = np.exp(-distance / 4)[:, None]
    images = colour * haze + (1 - haze) + noise * random.normal(size=colour.shape)
    distance[random.random(distance.shape) < holes] = np.nan
    shape[random.random(shape.shape) < holes] = -1
    return DenseShapes(images.astype(np.float32), distance.astype(np.float32), shape.astype(np.int64))


def _picture(random: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colour (3, h, w), distance (h, w) and shape (h, w) of one picture without noise."""
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    colour = np.broadcast_to(random.random(3)[:, None, None], (3, height, width)).copy()
    distance, shape = np.full(size, _FAR), np.zeros(size, dtype=np.int64)
    for z in sorted(random.uniform(1, 3, size=random.integers(2, 5)), reverse=True):  # what is nearer is painted over
        kind = random.integers(1, 3)
        radius = 0.45 * min(size) / z
        y, x = random.uniform(0, height), random.uniform(0, width)
        if kind == 1:
            inside = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
        else:
            inside = np.maximum(abs(rows - y), abs(columns - x)) < 0.85 * radius
        distance[inside], shape[inside] = z, kind
        colour[:, inside] = random.random(3)[:, None]
    return colour, distance, shape
