"""The main job on public tables, small: School (139 tasks, a task column) and Parkinson's (two targets, groups)."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest

import taskloom as tl


@pytest.fixture(scope="module")
def school_table(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The School data as a person would have them: one row per pupil, a column that names the school."""
    from scipy.io import loadmat

    contents = loadmat(shared_data / "school" / "school.mat", mat_dtype=True)
    parts = []
    for place, (x, y) in enumerate(zip(contents["X"].ravel(), contents["Y"].ravel(), strict=True)):
        columns = {f"x{column}": x[:, column] for column in range(x.shape[1])}
        parts.append(pl.DataFrame({**columns, "score": y.ravel(), "school": [f"school {place + 1}"] * len(x)}))
    table = tmp_path_factory.mktemp("school") / "school.csv"
    pl.concat(parts).write_csv(table)
    return table


@pytest.fixture(scope="module")
def parkinsons_table(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the repository, unpacked."""
    packed = shared_data / "parkinsons_telemonitoring" / "parkinsons_updrs.data.gz"
    table = tmp_path_factory.mktemp("parkinsons") / "parkinsons.csv"
    table.write_bytes(gzip.decompress(packed.read_bytes()))
    return table


def test_school(school_table: Path, tmp_path: Path) -> None:
    data = tl.read_table(school_table, targets=["score"], task_column="school")
    assert (len(data.tasks), data.n_rows, data.layout) == (139, 15362, "multi_data_set")
    results = tl.compare(
        data,
        candidates=["hard_sharing", "conditioned_one_hot", "linear", "boosted_trees_pooled"],
        seeds=1,
        budget=1,
        out=tmp_path,
        progress=False,
    )
    assert results.delta_m("conditioned_one_hot") > 0  # few pupils per school: sharing helps on the whole
    assert len(results.gains("hard_sharing").tasks) == 139
    scores = results.scores.filter((pl.col("metric") == "RMSE") & (pl.col("split") == "test"))
    assert scores["value"].is_between(3.0, 20.0).mean() > 0.98  # the scores have a standard deviation of 12.7
    assert results.report(tmp_path / "report.html").stat().st_size < 12_000_000


def test_parkinsons(parkinsons_table: Path, tmp_path: Path) -> None:
    data = tl.read_table(parkinsons_table, targets=["motor_UPDRS", "total_UPDRS"], group_column="subject#")
    results = tl.compare(
        data, candidates=["hard_sharing", "soft_sharing_mean"], seeds=2, budget=1, out=tmp_path, progress=False
    )
    assert "GroupedSplit" not in results.settings["split"]  # the report says it in words
    split = tl.GroupedSplit().split(data, 0)
    groups = [set(data.groups[rows].tolist()) for rows in (split.train, split.validation, split.test)]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 42  # every patient in one part
    assert {task.task for task in results.gains("hard_sharing").tasks} == {"motor_UPDRS", "total_UPDRS"}
    assert results.answer().startswith("Not settled: with 2 seeds")
