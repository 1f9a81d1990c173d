"""Two handwritten digits in one picture, several questions about it: the problem of the demo.

Pictures are made from the 1,797 digits (8 x 8 pixels) that come with scikit-learn; nothing is downloaded. Some
questions share what has to be seen (which digit is on the right; is it even; is it 5 or more), others ask for
something else (how bright is the picture; which digit is on the left), so that learning together helps some tasks and
not others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from taskloom._rng import numpy_stream
from taskloom.data.multitask import MultiTaskData
from taskloom.errors import DataError, nearest
from taskloom.task import Binary, Kind, Multiclass, Regression

__all__ = ["overlaid_digits"]

_KINDS: dict[str, Kind] = {
    "right digit": Multiclass(10),
    "right digit is even": Binary(("odd", "even")),
    "right digit is 5 or more": Binary(("less", "5 or more")),
    "right digit is divisible by 3": Binary(("no", "yes")),
    "brightness": Regression(),
    "left digit": Multiclass(10),
    "sum of both": Regression(),
}
_DEFAULT_TASKS = tuple(_KINDS)[:5]

# The right digit is the task with few labels; the others ask about the same picture and are labelled everywhere.
_LABELLED = {"right digit": 0.12}


def overlaid_digits(
    n: int = 1796,
    *,
    seed: int = 0,
    tasks: Sequence[str] = _DEFAULT_TASKS,
    labelled: Mapping[str, float] | None = None,
    overlap: int = 2,
    jitter: int = 1,
    noise: float = 0.05,
    contrast: float = 0.5,
) -> MultiTaskData:
    """Make pictures of two overlapping digits and several tasks on them.

    The digits are paired at random, and every pair makes two pictures with the sides exchanged. So each of the
    original digits is once on the left and once on the right; the two pictures of a pair are a group, and with the
    grouped split that these data get by default no original digit is in two parts.

    Tasks: "right digit" (10 classes) has few labels. "right digit is even", "... is 5 or more" and "... is divisible
    by 3" (binary) are labelled everywhere and together nearly say which digit it is: they help it. "brightness"
    (regression: the factor by which the whole picture was made brighter or darker) is what the others must look past:
    it gets worse in company. On request also "left digit" (10 classes), which competes for the network, and "sum of
    both" (regression, 0 to 18).

    Args:
        n: number of pictures, even, at most 1,796.
        seed: base seed of pairing, jitter, noise, brightness and of which labels are missing.
        tasks: names of the tasks wanted, in this order; default: the first five named above.
        labelled: task -> share of its pictures that are labelled; default: 0.12 for "right digit", 1 for the others.
        overlap: columns (of 8) in which the digits lie over each other; where they do, the brighter pixel is seen.
        jitter: each digit moves up or down by at most this many pixels, at random.
        noise: standard deviation of the noise of each pixel, in units of the brightest original pixel.
        contrast: brightness factors are uniform in [1 - contrast, 1 + contrast].

    Returns:
        multi-label data with inputs (n, height * width), height 8 + 2 jitter, width 16 - overlap, and groups.

    Raises:
        DataError: a number out of its range, or an unknown task.

    Example:
        >>> data = overlaid_digits(200)
        >>> data.inputs.shape, len(set(data.groups.tolist())), int(data.mask["right digit"].sum())
        ((200, 140), 100, 24)
    """
    shares = {**_LABELLED, **(labelled or {})}
    _check(n, (*tasks, *shares), overlap, jitter, noise, contrast)
    for name, share in shares.items():
        if not 0.0 < share <= 1.0:
            raise DataError(f"labelled[{name!r}] must be a share in (0, 1], found {share}")
    from sklearn.datasets import load_digits  # here, because nothing else of the data package needs scikit-learn

    digits = load_digits()
    images = digits.images / digits.images.max()  # (1797, 8, 8)
    random = numpy_stream(seed, "overlaid_digits")
    pairs = random.permutation(len(images))[:n].reshape(-1, 2)  # (n / 2, 2)
    left, right = np.concatenate([pairs, pairs[:, ::-1]]).T
    factor = random.uniform(1.0 - contrast, 1.0 + contrast, n)
    pictures = np.maximum(
        _place(images[left], random.integers(-jitter, jitter + 1, n), 0, overlap, jitter),
        _place(images[right], random.integers(-jitter, jitter + 1, n), 8 - overlap, overlap, jitter),
    )
    pictures = factor[:, None, None] * pictures + noise * random.standard_normal(pictures.shape)
    first, second = digits.target[left], digits.target[right]
    answers = {
        "right digit": second,
        "right digit is even": 1 - second % 2,
        "right digit is 5 or more": (second >= 5).astype(np.int64),
        "right digit is divisible by 3": (second % 3 == 0).astype(np.int64),
        "brightness": factor,
        "left digit": first,
        "sum of both": (first + second).astype(np.float64),
    }
    known = {name: _labelled(n, shares.get(name, 1.0), random) for name in _KINDS}
    data = MultiTaskData.from_arrays(
        pictures.reshape(n, -1), answers, _KINDS, mask=known, groups=np.tile(np.arange(n // 2), 2)
    )
    return data.only(tasks)


def _place(images: np.ndarray, shift: np.ndarray, start: int, overlap: int, jitter: int) -> np.ndarray:
    """Put images (n, 8, 8) on empty pictures, moved down by ``shift`` and beginning at column ``start``."""
    pictures = np.zeros((len(images), 8 + 2 * jitter, 16 - overlap))
    rows = jitter + shift[:, None] + np.arange(8)  # (n, 8)
    pictures[np.arange(len(images))[:, None], rows, start : start + 8] = images
    return pictures


def _labelled(n: int, share: float, random: np.random.Generator) -> np.ndarray:
    known = np.zeros(n, dtype=bool)
    known[random.permutation(n)[: round(share * n)]] = True
    return known


def _check(n: int, names: Sequence[str], overlap: int, jitter: int, noise: float, contrast: float) -> None:
    if not 2 <= n <= 1796 or n % 2:
        raise DataError(f"n must be an even number from 2 to 1796 (pictures come in pairs), found {n}")
    for name in names:
        if name not in _KINDS:
            raise DataError(f"{name!r} is no task of this problem.{nearest(name, _KINDS)}")
    if not 0 <= overlap <= 8 or not 0 <= jitter <= 8 or noise < 0 or not 0.0 <= contrast < 1.0:
        raise DataError(
            "overlap and jitter must lie in 0..8, noise be at least 0 and contrast lie in [0, 1), found "
            f"overlap={overlap}, jitter={jitter}, noise={noise}, contrast={contrast}"
        )
