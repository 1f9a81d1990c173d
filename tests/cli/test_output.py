"""Output folders and files are checked first and never left half-written."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from taskloom.cli import _output
from taskloom.cli._output import check_file, default_folder, output_folder, written_file
from taskloom.errors import ExportError


def stop_inside(folder: Path, error: BaseException, *written: str) -> None:
    """Open an output folder, write files in it, and stop with an error."""
    with output_folder(folder):
        for name in written:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("content")
        raise error


def stop_writing(target: Path, error: BaseException) -> None:
    """Begin to write a file and stop with an error."""
    with written_file(target) as part:
        part.write_text("half")
        raise error


def test_a_new_folder_is_removed_with_its_parents_after_an_error(tmp_path):
    folder = tmp_path / "runs" / "first"
    with pytest.raises(ValueError, match="bad"):
        stop_inside(folder, ValueError("bad"), "config.json", "units/.half.json.1.part")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_that_was_there_stays_empty(tmp_path):
    with pytest.raises(ValueError, match="bad"):
        stop_inside(tmp_path, ValueError("bad"), "config.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "useful", ["units/a-0.json", "results/scores.csv", "checkpoints/a/seed-0/model.safetensors", "report.html"]
)
def test_finished_work_stays_after_an_error(tmp_path, useful):
    folder = tmp_path / "run"
    with pytest.raises(ValueError, match="bad"):
        stop_inside(folder, ValueError("bad"), useful, "config.json")
    assert (folder / useful).exists()
    assert (folder / "config.json").exists()


def test_a_folder_with_content_is_left_as_it_was(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="bad"):
        stop_inside(tmp_path, ValueError("bad"))
    assert [found.name for found in tmp_path.iterdir()] == ["notes.txt"]


def test_an_interruption_leaves_everything(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        stop_inside(folder, KeyboardInterrupt(), "study.db")
    assert (folder / "study.db").exists()


def test_a_success_leaves_only_what_was_written(tmp_path):
    folder = tmp_path / "run"
    with output_folder(folder):
        (folder / "model.json").write_text("{}")
    assert [found.name for found in folder.iterdir()] == ["model.json"]


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(ExportError, match="a file of this name is in the way"), output_folder(tmp_path / "run"):
        pass
    with pytest.raises(ExportError, match=r"deeper.*not a directory"), output_folder(tmp_path / "run" / "deeper"):
        pass
    assert (tmp_path / "run").read_text() == "a file"


def test_a_place_that_cannot_be_written_to_is_named():
    with pytest.raises(ExportError, match=r"'/proc/taskloom'.*--out"), output_folder(Path("/proc/taskloom")):
        pass


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(ExportError, match=r"disk that holds the output folder.*is full"):
        stop_inside(folder, OSError(errno.ENOSPC, "No space left on device"), "study.db")
    assert not folder.exists()


def test_a_disk_that_is_full_from_the_start(tmp_path, monkeypatch):
    def refuse(folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_output, "_probe", refuse)
    with pytest.raises(ExportError, match="is full"), output_folder(tmp_path / "run"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_complete_or_not_there(tmp_path):
    target = tmp_path / "predictions.csv"
    target.write_text("old")
    with pytest.raises(ValueError, match="bad"):
        stop_writing(target, ValueError("bad"))
    assert [found.name for found in tmp_path.iterdir()] == ["predictions.csv"]
    assert target.read_text() == "old"
    with written_file(target) as part:
        part.write_text("new")
    assert target.read_text() == "new"
    with pytest.raises(ExportError, match="is full"):
        stop_writing(target, OSError(errno.ENOSPC, "No space left on device"))


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(ExportError, match="it is a folder"):
        check_file(tmp_path)
    with pytest.raises(ExportError, match="does not exist"):
        check_file(tmp_path / "missing" / "file.csv")
    with pytest.raises(ExportError, match="give a place you may write to"):
        check_file(Path("/proc/predictions.csv"))


def test_the_default_folder_has_the_name_of_the_data():
    assert default_folder(Path("a/b.c.parquet"), "-x") == Path("taskloom-runs/b-x")
    assert default_folder(Path(".csv")) == Path("taskloom-runs/run")
