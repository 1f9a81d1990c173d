"""Scaling of array inputs: by column for (n, p), by one mean and one deviation for images and the like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from taskloom.data._encoders import mean_and_scale
from taskloom.errors import DataError

__all__ = ["ArrayEncoder"]


@dataclass(frozen=True, eq=False)
class ArrayEncoder:
    """(x - mean) / scale; missing values become 0, with an indicator for each column of (n, p) that has some.

    Args:
        shape: shape of one sample.
        mean: (p,), or one number for samples with more axes.
        scale: like ``mean``.
        indicators: columns that get an indicator of missing values; only for (n, p).

    Example:
        >>> encoder = ArrayEncoder.fit(np.array([[1.0, 0.0], [3.0, np.nan]]), np.array([0, 1]))
        >>> encoder.encode(np.array([[3.0, np.nan]])).tolist(), encoder.names
        ([[1.0, 0.0, 1.0]], ('input 0', 'input 1', 'input 1 is missing'))
    """

    shape: tuple[int, ...]
    mean: np.ndarray
    scale: np.ndarray
    indicators: tuple[int, ...]

    @classmethod
    def fit(cls, inputs: np.ndarray, rows: np.ndarray, *, scale: bool = True) -> ArrayEncoder:
        """Statistics of the training rows; ``scale=False`` leaves values as they are."""
        shape = inputs.shape[1:]
        numbers = inputs[rows].astype(np.float64, copy=False)
        mean, deviation = mean_and_scale(numbers if len(shape) == 1 else numbers.reshape(-1))
        if not scale:
            mean, deviation = np.zeros_like(mean), np.ones_like(deviation)
        indicators: tuple[int, ...] = ()
        if len(shape) == 1 and inputs.dtype.kind == "f":
            indicators = tuple(np.flatnonzero(np.isnan(inputs).any(axis=0)).tolist())
        return cls(shape, np.asarray(mean), np.asarray(deviation), indicators)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns that come out, of the flattened sample."""
        plain = tuple(f"input {place}" for place in range(int(np.prod(self.shape))))
        return plain + tuple(f"input {place} is missing" for place in self.indicators)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of one encoded sample."""
        return (self.shape[0] + len(self.indicators),) if len(self.shape) == 1 else self.shape

    def encode(self, inputs: np.ndarray) -> np.ndarray:
        """Float64 (n, ...).

        Raises:
            DataError: samples of another shape.
        """
        if inputs.shape[1:] != self.shape:
            raise DataError(f"inputs have samples of shape {inputs.shape[1:]}, expected {self.shape} as in training")
        values = (inputs - self.mean) / self.scale
        missing = np.isnan(values)
        values = np.where(missing, 0.0, values)
        if not self.indicators:
            return values
        return np.concatenate([values, missing[:, list(self.indicators)].astype(np.float64)], axis=1)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "shape": list(self.shape),
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
            "indicators": list(self.indicators),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> ArrayEncoder:
        """Inverse of :meth:`to_dict`."""
        return cls(
            tuple(record["shape"]),
            np.asarray(record["mean"], dtype=np.float64),
            np.asarray(record["scale"], dtype=np.float64),
            tuple(record["indicators"]),
        )
