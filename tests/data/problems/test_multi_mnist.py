"""MultiMNIST: pictures show what the answers say, partners stay in their group, files are checked."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from taskloom.data.problems import multi_mnist
from taskloom.data.problems.multi_mnist import _partners
from taskloom.data.split import GroupedSplit, default_split
from taskloom.errors import DataError

N = 250


def write(folder: Path, images: np.ndarray, labels: np.ndarray, *, begin: str = "train") -> None:
    sizes = struct.pack(">III", *images.shape)
    (folder / f"{begin}-images-idx3-ubyte").write_bytes(struct.pack(">I", 2051) + sizes + images.tobytes())
    (folder / f"{begin}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, len(labels)) + labels.tobytes())


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray, np.ndarray]:
    """A folder of 250 "digits", each of them noise of its own."""
    random = np.random.default_rng(0)
    images = random.integers(1, 250, (N, 28, 28), dtype=np.uint8)
    labels = random.permutation(np.arange(N) % 10).astype(np.uint8)
    folder = tmp_path_factory.mktemp("mnist")
    write(folder, images, labels)
    return folder, images, labels


def overlaid_by_hand(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """One picture, pixel by pixel."""
    canvas = [[0] * 36 for _ in range(36)]
    for row in range(28):
        for column in range(28):
            canvas[row][column] = int(left[row, column])
    for row in range(28):
        for column in range(28):
            canvas[row + 6][column + 6] = max(canvas[row + 6][column + 6], int(right[row, column]))
    return np.array([[canvas[(2 * i + 1) * 36 // 56][(2 * j + 1) * 36 // 56] for j in range(28)] for i in range(28)])


NEAREST = [int((place + 0.5) * 36 / 28) for place in range(28)]  # row or column of the canvas that each shows


def originals(data, images: np.ndarray) -> tuple[list[int], list[int]]:
    """Numbers of the two digits of every picture, found by the corners that only one of them covers."""
    found = []
    for begin, end, shift in ((0, 6, 0), (28, 34, 6)):
        shown = [place for place in range(28) if begin <= NEAREST[place] < end]
        pixels = [NEAREST[place] - shift for place in shown]
        corners = {np.ascontiguousarray(image[np.ix_(pixels, pixels)]).tobytes(): n for n, image in enumerate(images)}
        pictures = np.rint(data.inputs * 255).astype(np.uint8)
        found.append([corners[np.ascontiguousarray(one[np.ix_(shown, shown)]).tobytes()] for one in pictures])
    return found[0], found[1]


def test_pictures_show_what_the_answers_say(digits):
    folder, images, labels = digits
    data = multi_mnist(folder)
    left, right = originals(data, images)
    assert sorted(left) == list(range(N))  # every digit is once on the left
    assert data.targets["left digit"].tolist() == labels[left].tolist()
    assert data.targets["right digit"].tolist() == labels[right].tolist()
    for place in range(0, N, 31):
        expected = overlaid_by_hand(images[left[place]], images[right[place]])
        assert np.array_equal(np.rint(data.inputs[place] * 255), expected)


def test_no_digit_is_in_two_parts_or_its_own_partner(digits):
    folder, images, _ = digits
    data = multi_mnist(folder)
    left, right = originals(data, images)
    assert all(one != other for one, other in zip(left, right, strict=True))
    groups = data.groups
    group_of = {digit: groups[row] for row, digit in enumerate(left)}
    assert [group_of[digit] for digit in right] == groups.tolist()
    assert isinstance(default_split(data), GroupedSplit)


def test_partners_are_uniform_over_the_others_of_the_group():
    groups = np.repeat([0, 1], [3, 5])
    random = np.random.default_rng(0)
    draws = np.stack([_partners(groups, random) for _ in range(4000)])
    for place, others in [(0, {1, 2}), (2, {0, 1}), (3, {4, 5, 6, 7}), (7, {3, 4, 5, 6})]:
        found, counts = np.unique(draws[:, place], return_counts=True)
        assert set(found.tolist()) == others
        expected = 4000 / len(others)
        assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()


def test_seeds_sizes_and_compression(digits, tmp_path):
    folder, _, _ = digits
    some = multi_mnist(folder, n=30)
    assert (some.inputs.shape, some.inputs.dtype) == ((30, 28, 28), np.float32)
    assert some.inputs.max() <= 1.0
    assert some.fingerprint == multi_mnist(folder, n=30).fingerprint != multi_mnist(folder, n=30, seed=1).fingerprint
    assert len(set(multi_mnist(folder).groups.tolist())) == 2
    for path in folder.iterdir():
        (tmp_path / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert multi_mnist(tmp_path).fingerprint == multi_mnist(folder).fingerprint


def test_parts_are_two_files(digits, tmp_path):
    _, images, labels = digits
    write(tmp_path, images[:40], labels[:40], begin="t10k")
    assert multi_mnist(tmp_path, part="test").n_rows == 40
    with pytest.raises(DataError, match="no file 'train-images-idx3-ubyte'"):
        multi_mnist(tmp_path)


def test_files_and_arguments_are_checked(digits, tmp_path):
    folder, images, labels = digits
    for changes, message in [
        ({"part": "validation"}, "part must be 'train' or 'test', found 'validation'"),
        ({"n": 1}, "from 2 to 250"),
        ({"n": 251}, "from 2 to 250"),
    ]:
        with pytest.raises(DataError, match=message):
            multi_mnist(folder, **changes)
    write(tmp_path, images, labels[:-1])
    with pytest.raises(DataError, match="249 labels"):
        multi_mnist(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="not complete"):
        multi_mnist(tmp_path)
    path.write_bytes(b"\x00\x00\x0b\x03" + path.read_bytes()[4:])
    with pytest.raises(DataError, match="no idx file of unsigned bytes with 3 axes"):
        multi_mnist(tmp_path)
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(b"abc" * 100)[:-10])
    with pytest.raises(DataError, match="cannot be read"):
        multi_mnist(tmp_path)


def test_the_real_files(shared_data):
    data = multi_mnist(shared_data / "mnist", part="test")
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]  # of the test part, as the data's README has them
    assert np.bincount(data.targets["left digit"]).tolist() == counts
    assert data.inputs.shape == (10_000, 28, 28)
    seen = default_split(data).split(data, 0)
    assert seen.sizes == {"train": 6000, "validation": 2000, "test": 2000}
