"""A run's folder: one comparison, one writer, nothing left over, and errors that say what to do."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from taskloom.errors import StudyError
from taskloom.study import folder as module
from taskloom.study.folder import RunFolder

SETTINGS = {
    "title": "a",
    "seed": 0,
    "budget": "8 trials",
    "candidates": [],
    "alpha": 0.05,
    "tasks": [{"name": "수학"}],
    "data": {"source": "a.csv", "fingerprint": "abc", "n_rows": 10},
}


def configuration(**changes):
    return RunFolder.fingerprinted({**SETTINGS, **changes})


def opened(path, **changes):
    with RunFolder.open(path, configuration(**changes)) as found:
        return found


def test_what_is_free_may_change(tmp_path):
    first = opened(tmp_path / "new" / "run")
    again = opened(
        first.path,
        title="b",
        budget="20 trials",
        candidates=[{"name": "linear"}],
        alpha=0.1,
        data={**SETTINGS["data"], "source": "elsewhere/a.csv"},
    )
    assert again.owner == first.owner
    assert (first.units, first.results) == (first.path / "units", first.path / "results")
    assert first.storage == f"sqlite:///{(first.path / 'study.db').resolve()}"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 3}, "seed: 0 there, 3 now"),
        ({"data": {**SETTINGS["data"], "n_rows": 11, "source": "b.csv"}}, r"\(data n_rows: 10 there, 11 now\)"),
        ({"tasks": [{"name": "영어"}]}, "tasks: .*수학.* there, .*영어.* now"),
    ],
)
def test_another_comparison_is_refused_saying_what_differs(tmp_path, changes, words):
    opened(tmp_path)
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(StudyError, match=words) as caught:
        opened(tmp_path, **changes)
    assert "give another output folder, or delete this one" in str(caught.value)
    assert (tmp_path / "config.json").read_bytes() == before


def test_a_configuration_of_another_version_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"fingerprint": "x", "settings": ' + str(SETTINGS).replace("'", '"') + "}")
    with pytest.raises(StudyError, match="written by another version"):
        opened(tmp_path)


def test_only_one_process_writes(tmp_path):
    script = (
        "import sys, fcntl, os\n"
        "handle = os.open(sys.argv[1] + '/.lock', os.O_RDWR | os.O_CREAT)\n"
        "fcntl.flock(handle, fcntl.LOCK_EX)\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "held\n"
    with pytest.raises(StudyError, match=r"another process is running in the folder .* another output folder"):
        opened(tmp_path)
    other.kill()  # the system lets go of the lock
    other.communicate()
    opened(tmp_path)


def test_what_a_kill_left_half_written_is_removed(tmp_path):
    opened(tmp_path)
    part = tmp_path / "units" / ".hard_sharing-0.json.123.part"
    part.parent.mkdir()
    part.write_text("{")
    opened(tmp_path)
    assert list(part.parent.iterdir()) == []


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "run").touch()
    for path in (tmp_path / "run", tmp_path / "run" / "deeper"):
        with pytest.raises(StudyError, match=r"cannot be written .* give an output folder that can be written"):
            opened(path)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.EROFS, "cannot be written .Read-only file system"),
        (errno.EACCES, "cannot be written .Permission denied"),
        (errno.ENOSPC, "no space left on the device .* what is finished is kept"),
    ],
)
def test_errors_of_the_system_are_explained(tmp_path, monkeypatch, code, words):
    def fail(path: Path, value: object) -> None:
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(module, "write_json", fail)
    with pytest.raises(StudyError, match=words):
        opened(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StudyError, match=r"cannot be written .Permission denied"):
        opened(tmp_path / "run")
    tmp_path.chmod(0o700)
