"""The script on exporting trained networks task by task: equal answers, and less of everything."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore:.*LeafSpec.*")
def test_every_task_alone_answers_as_the_whole(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = runpy.run_path(str(repository / "examples" / "export_per_task.py"))
    exact = {"cross-stitch": 0.0, "MMoE": 0.0, "AdaShare": 0.0}
    assert {name: names["largest_difference"][name] for name in exact} == exact
    assert names["largest_difference"]["LoRA"] < 1e-6  # merged weights
    trained = names["trained"]
    assert trained["AdaShare"].structure() is not None
    for model in trained.values():
        whole = sum(parameter.numel() for parameter in model.parameters())
        for task in model.tasks:
            assert sum(parameter.numel() for parameter in model.export(task).parameters()) < whole
    if names["has_onnx"]:
        assert set(names["onnx_difference"]) == set(trained)
        assert max(names["onnx_difference"].values()) < 1e-5
    assert len(capsys.readouterr().out.splitlines()) == 16
