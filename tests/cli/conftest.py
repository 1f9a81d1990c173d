"""A small table, and a comparison that answers at once."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import taskloom as tl


class InstantResults:
    """Stands for the results of a comparison, with the methods that the commands read."""

    def table(self) -> pl.DataFrame:
        return pl.DataFrame(
            {
                "candidate": ["hard_sharing", "linear"],
                "title": ["hard sharing [equal]", "ridge"],
                "delta_m": [2.5, None],
                "parameters": [1234, 0],
                "train_seconds": [0.5, float("nan")],
                "predict_microseconds": [1.5, 0.2],
            }
        )

    def verdicts(self) -> pl.DataFrame:
        tasks = ["price", "sold", *(f"task {number}" for number in range(30))]
        return pl.DataFrame(
            {
                "candidate": ["hard_sharing"] * len(tasks),
                "task": tasks,
                "mean_gain": [0.1] * len(tasks),
                "low": [0.05] * len(tasks),
                "high": [0.15] * len(tasks),
                "corrected_p": [0.04] * len(tasks),
                "verdict": ["better", "worse", *["inconclusive"] * 30],
                "flag": [None, "negative transfer", *[None] * 30],
            }
        )

    def best(self) -> InstantResults:
        return self

    candidate = "hard_sharing"

    def answer(self) -> str:
        return "Yes, it is better. Sharing helps."


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """An empty working folder with a small table."""
    monkeypatch.chdir(tmp_path)
    lines = ["x,z,patient,price,sold"]
    lines += [
        f"{7 * i % 60 / 10},{i * i % 23},p{i % 12},{i * 37 % 101 / 7},{'yes' if i * 13 % 7 > 3 else 'no'}"
        for i in range(60)
    ]
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.fixture
def compared(monkeypatch) -> list[dict[str, object]]:
    """Replaces the comparison; every call is recorded."""
    calls: list[dict[str, object]] = []

    def compare(data: tl.MultiTaskData, **options: object) -> InstantResults:
        calls.append({"data": data, **options})
        return InstantResults()

    monkeypatch.setitem(vars(tl), "compare", compare)
    return calls
