"""Parts of the comparison of architectures on data, on pictures that are made here."""

from __future__ import annotations

import io
import zipfile
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

import taskloom as tl
from taskloom.study.catalogue import catalogue

SCRIPTS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SCRIPTS))

    def load(name: str) -> ModuleType:
        return import_module(name)

    return load


@pytest.fixture
def drawings(tmp_path: Path, part: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Two alphabets of two and three characters, in the form of the archives; the ink says which character it is."""
    (tmp_path / "omniglot").mkdir()
    for archive, alphabet, n_characters in (("background", "Beta", 3), ("evaluation", "Alpha", 2)):
        with zipfile.ZipFile(tmp_path / "omniglot" / f"images_{archive}.zip", "w") as file:
            for character in range(n_characters):
                for drawer in range(10):
                    pixels = np.ones((105, 105), dtype=bool)
                    pixels[20 * character : 20 * character + 10 + drawer // 2] = False
                    stream = io.BytesIO()
                    Image.fromarray(pixels).save(stream, "PNG")
                    name = f"images_{archive}/{alphabet}/character{character + 1:02}/{drawer:04}_{drawer:02}.png"
                    file.writestr(name, stream.getvalue())
    data_sets = part("_data_sets")
    monkeypatch.setattr(data_sets, "DATA", tmp_path)
    return data_sets


def test_drawings_are_read(drawings: Any) -> None:
    data = drawings.omniglot()
    assert [(task.name, task.kind.n_classes) for task in data.tasks] == [("Alpha", 2), ("Beta", 3)]
    assert data.inputs.shape == (50, 21, 21)
    rows = data.rows_of("Beta")
    first = data.inputs[rows[0]]
    assert data.targets["Beta"][rows[0]] == 0
    assert np.array_equal(first, np.repeat([1.0, 1.0, *[0.0] * 19], 21).reshape(21, 21))  # ink in rows 0 to 9
    assert drawings.omniglot(1).tasks[0].name == "Alpha"


def test_smallest_comparison(drawings: Any, part: Any) -> None:
    schedule = tl.Schedule(max_epochs=1, batch_size=8)
    candidates = part("_omniglot").candidates(schedule, stitched=True)
    assert [one.name for one in part("_omniglot").candidates(schedule, stitched=False)] == [
        one.name for one in candidates if one.name != "cross_stitch"
    ]
    results = tl.compare(
        drawings.omniglot(),
        candidates=candidates,
        seeds=2,
        budget=tl.Budget(trials=1),
        split=tl.RandomSplit((0.5, 0.2, 0.3)),
        workers=1,
        progress=False,
    )
    shares = part("_shares")
    found = shares.summary(results, metric="accuracy")
    rows = {row["candidate"]: row for row in found["candidates"]}
    assert set(rows) == {one.name for one in candidates}
    convolutions = 26 * 8 + (9 * 8 + 1) * 12 + (9 * 12 + 1) * 16
    encoder = convolutions + (16 * 4 + 1) * 64
    assert rows["hard_sharing"]["parameters"] == encoder + 65 * 5
    assert rows["single_task"]["parameters"] == 2 * encoder + 65 * 5
    assert "against_hard" not in rows["hard_sharing"]
    assert set(rows["tucker"]["scores"]) == {"Alpha", "Beta"}
    text = shares.table(found)
    assert text.splitlines()[0].count("|") == text.splitlines()[-1].count("|") == 8
    assert found["setting"]["labels"] == {"train": 25, "validation": 10, "test": 15}


def test_gains_are_paired_by_seed(part: Any) -> None:
    reference = {"a": {0: 1.0, 1: 2.0, 2: 4.0}}
    better = {"a": {0: 0.9, 1: 1.8, 2: 3.4}}
    gain = part("_shares").gain_over(reference, better, lower_is_better=True)
    assert gain["mean"] == pytest.approx(100 * (0.1 + 0.1 + 0.15) / 3, rel=1e-4)
    assert gain["found"] == "better"
    assert part("_shares").gain_over(reference, reference, lower_is_better=True)["found"] == "no difference found"


def test_every_set_names_candidates_that_exist(part: Any) -> None:
    sets = part("architectures_on_data").SETS
    known = {one.name for one in catalogue()}
    for compared in sets.values():
        assert {one for one in compared.candidates() if isinstance(one, str)} <= known
