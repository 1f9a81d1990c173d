"""MultiMNIST: two digits of MNIST on one picture, one task for each."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Literal

import numpy as np

from taskloom._rng import numpy_stream
from taskloom.data.multitask import MultiTaskData
from taskloom.errors import DataError
from taskloom.task import Multiclass

__all__ = ["multi_mnist"]

_FILES = {"train": "train", "test": "t10k"}  # the part and how its two files begin
_SIDE, _SHIFT = 28, 6  # an original picture, and how far right of and below the left digit the other one lies
_CANVAS = 36
_IN_A_GROUP = 100  # digits among which partners are drawn; as many groups of 60,000 digits as a split needs


def multi_mnist(
    folder: str | Path, *, part: Literal["train", "test"] = "train", n: int | None = None, seed: int = 0
) -> MultiTaskData:
    """Make pictures of two overlaid digits from the files of MNIST, or from others of its format (Fashion-MNIST).

    Every digit is the left one of one picture; the right one is drawn from the others. On a canvas of 36 x 36 pixels
    the left digit fills rows and columns 0 to 27, the right one rows and columns 6 to 33; where they lie over each
    other the brighter pixel is seen. The canvas is made smaller to 28 x 28 by taking the nearest pixel.

    The digits are dealt at random into groups of about 100, and partners are drawn within a group, so that by the
    grouped split that these data get by default no original digit is in two parts. (Sener and Koltun draw partners
    from the whole file; a digit chosen at random has the same partners here, only never itself.)

    Args:
        folder: where ``train-images-idx3-ubyte`` and the other three files lie, compressed (``.gz``) or not.
        part: ``"train"`` (60,000 digits, default) or ``"test"`` (10,000).
        n: number of pictures, from that many digits chosen at random; default all.
        seed: base seed of the choice, the groups and the partners.

    Returns:
        multi-label data with inputs (n, 28, 28), float32 from 0 to 1, the tasks "left digit" and "right digit" of 10
        classes, and groups.

    Raises:
        DataError: a file is missing or of another format, or n is out of range.

    Source:
        Sener and Koltun, "Multi-Task Learning as Multi-Objective Optimization", NeurIPS 2018, arXiv:1810.04650; after
        Sabour, Frosst and Hinton, NeurIPS 2017, arXiv:1710.09829.

    Example:
        >>> import struct, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     images = struct.pack(">IIII", 2051, 4, 28, 28) + bytes(range(4)) * 784
        ...     _ = (Path(folder) / "t10k-images-idx3-ubyte").write_bytes(images)
        ...     _ = (Path(folder) / "t10k-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, 4) + bytes(range(4)))
        ...     data = multi_mnist(folder, part="test")
        >>> data.inputs.shape, sorted(data.targets["left digit"].tolist())
        ((4, 28, 28), [0, 1, 2, 3])
    """
    if part not in _FILES:
        raise DataError(f"part must be 'train' or 'test', found {part!r}")
    images = _read_idx(Path(folder), f"{_FILES[part]}-images-idx3-ubyte", n_axes=3)
    labels = _read_idx(Path(folder), f"{_FILES[part]}-labels-idx1-ubyte", n_axes=1)
    if images.shape[1:] != (_SIDE, _SIDE) or len(images) != len(labels):
        raise DataError(
            f"the {part} files in {folder} hold images of shape {images.shape} and {len(labels)} labels; expected as "
            f"many images of {_SIDE} x {_SIDE} pixels as labels"
        )
    n = len(images) if n is None else n
    if not 2 <= n <= len(images):
        raise DataError(f"n must be from 2 to {len(images)}, the number of digits in the {part} file; found {n}")
    random = numpy_stream(seed, f"multi_mnist {part}")
    left = random.permutation(len(images))[:n]  # in random order, so that neighbours make a random group
    groups = np.arange(n) * max(1, n // _IN_A_GROUP) // n
    right = left[_partners(groups, random)]
    return MultiTaskData.from_arrays(
        _overlay(images[left], images[right]),
        {"left digit": labels[left], "right digit": labels[right]},
        {"left digit": Multiclass(10), "right digit": Multiclass(10)},
        groups=groups,
    )


def _partners(groups: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """For every place another place of its group, uniform; groups are runs of equal numbers, of two or more places."""
    sizes = np.bincount(groups)
    begins = np.concatenate([[0], sizes.cumsum()[:-1]])
    size, begin = sizes[groups], begins[groups]
    steps = 1 + (random.random(len(groups)) * (size - 1)).astype(np.int64)  # 1 to size - 1 places further, in a ring
    partners: np.ndarray = begin + (np.arange(len(groups)) - begin + steps) % size
    return partners


def _overlay(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Pictures (n, 28, 28) in [0, 1] of two digits (n, 28, 28) each."""
    canvas = np.zeros((len(left), _CANVAS, _CANVAS), dtype=left.dtype)
    canvas[:, :_SIDE, :_SIDE] = left
    shifted = canvas[:, _SHIFT : _SHIFT + _SIDE, _SHIFT : _SHIFT + _SIDE]
    np.maximum(shifted, right, out=shifted)
    nearest = ((np.arange(_SIDE) + 0.5) * _CANVAS / _SIDE).astype(np.int64)
    return canvas[:, nearest[:, None], nearest[None, :]].astype(np.float32) / 255.0


def _read_idx(folder: Path, name: str, *, n_axes: int) -> np.ndarray:
    """Bytes of an idx file: two zero bytes, 8 (unsigned bytes), the number of axes, the sizes, the values."""
    path = next((path for path in (folder / f"{name}.gz", folder / name) if path.exists()), None)
    if path is None:
        raise DataError(f"there is no file {name!r}, with or without .gz, in {str(folder)!r}; give the folder of MNIST")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}); check that it is complete") from error
    header = 4 + 4 * n_axes
    if content[:4] != bytes([0, 0, 8, n_axes]) or len(content) < header:
        raise DataError(f"{path} is no idx file of unsigned bytes with {n_axes} axes; it begins with {content[:4]!r}")
    shape = np.frombuffer(content, dtype=">i4", count=n_axes, offset=4)
    values = np.frombuffer(content, dtype=np.uint8, offset=header)
    if len(values) != np.prod(shape, dtype=np.int64):
        raise DataError(f"{path} announces {tuple(shape.tolist())} values and holds {len(values)}; it is not complete")
    return values.reshape(shape)
