"""Files are written whole or not at all, and read without pickle."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from taskloom.errors import StudyError
from taskloom.study.files import read_arrays, read_json, write_arrays, write_json, write_text


def test_json_keeps_everything_that_json_can_hold(tmp_path):
    value = {"수학/점수": [1, 2.5, None, True], "nested": {"x": np.float64(0.1), "n": np.int64(3)}, "t": (1, 2)}
    write_json(tmp_path / "new" / "a.json", value)
    assert read_json(tmp_path / "new" / "a.json") == {
        "수학/점수": [1, 2.5, None, True],
        "nested": {"x": 0.1, "n": 3},
        "t": [1, 2],
    }


def test_numbers_that_are_not_finite_become_null(tmp_path):
    write_json(tmp_path / "a.json", {"a": float("nan"), "b": [float("inf")], "c": np.float32("-inf"), 3: 1})
    assert read_json(tmp_path / "a.json") == {"a": None, "b": [None], "c": None, "3": 1}


def test_arrays_of_every_type_and_order(tmp_path):
    arrays = {
        "state/a.weight": np.asfortranarray(np.arange(6.0, dtype=np.float32).reshape(2, 3)),
        "ids": np.arange(3)[::-1],
        "none": np.zeros((0, 4)),
        "수학/x": np.array(1.5),
    }
    write_arrays(tmp_path / "a.safetensors", arrays)
    found = read_arrays(tmp_path / "a.safetensors")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


@pytest.mark.parametrize("write", [lambda path: write_text(path, "new"), lambda path: write_arrays(path, {})])
def test_a_write_that_fails_leaves_the_old_file_and_no_part(tmp_path, monkeypatch, write):
    path = tmp_path / "a"
    write_text(path, "old")

    def half(self: Path, content: bytes) -> int:
        os.close(os.open(self, os.O_CREAT | os.O_WRONLY))
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="No space left"):
        write(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_files_that_are_missing_or_damaged_are_named(tmp_path):
    (tmp_path / "a").write_bytes(b"\xff\x00 nothing of use")
    for read, words in ((read_json, "is not a JSON file"), (read_arrays, "is damaged")):
        with pytest.raises(StudyError, match=words):
            read(tmp_path / "a")
        with pytest.raises(StudyError, match="does not exist; give the folder of a run"):
            read(tmp_path / "b")


def test_a_written_file_has_the_permissions_of_other_files(tmp_path):
    (tmp_path / "plain").touch()
    write_arrays(tmp_path / "a", {"x": np.zeros(1)})
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode
