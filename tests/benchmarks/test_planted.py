"""How groups are read from learned structures, and the benchmark of planted groups at its smallest."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from taskloom.nn import MLP, AdaShare, HardSharing, PartialSharing, SharingGraph, SoftOrdering
from taskloom.task import Regression, Task

SCRIPTS = Path(__file__).parents[2] / "benchmarks"
TASKS = [Task(name=name, kind=Regression()) for name in "abcdef"]
PLANTED = [0, 0, 0, 1, 1, 1]


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return import_module("_planted.groups")


def test_the_groups_of_a_tree_are_those_of_its_first_split(groups: Any) -> None:
    table = [dict.fromkeys("abcdef", 0), dict(zip("abcdef", PLANTED)), dict(zip("abcdef", range(6)))]
    model = PartialSharing([lambda: MLP(2, (3,)), *[lambda: MLP(3, (3,))] * 2], TASKS, table=table)
    assert groups.groups_of(model) == PLANTED
    assert groups.first_split(table[:1], "abcdef") == [0] * 6


def test_agreement(groups: Any) -> None:
    assert groups.agreement([2, 2, 2, 1, 1, 1], PLANTED) == 1.0
    assert groups.agreement([0] * 6, PLANTED) == 0.0
    assert groups.agreement([0, 0, 1, 1, 1, 1], PLANTED) < 0.9


def test_rows_that_are_all_alike_are_one_group(groups: Any) -> None:
    assert len(set(groups.clusters(np.ones((6, 3))))) == 1


def test_policies(groups: Any) -> None:
    model = AdaShare([MLP(3, (3,)) for _ in range(3)], TASKS)
    rows = [[True, False, True], [True, False, False], [True, False, True], *[[False, True, False]] * 3]
    fixed = model.with_structure(rows)
    assert np.array_equal(groups.usage(fixed), np.array(rows, dtype=float))
    assert groups.agreement(groups.groups_of(fixed), PLANTED) == 1.0


def test_mixtures_of_layers(groups: Any) -> None:
    model = SoftOrdering(lambda: nn.Linear(3, 3), TASKS, n_layers=2)
    assert len(set(groups.groups_of(model))) == 1
    with torch.no_grad():
        for group, scores in zip(PLANTED, model.scores, strict=True):
            scores.values[0, group] = 2.0
    assert groups.agreement(groups.groups_of(model), PLANTED) == 1.0


def test_shares_of_a_graph_are_followed_to_the_first_depth(groups: Any) -> None:
    model = SharingGraph([lambda: MLP(2, (3,)), lambda: MLP(3, (3,))], TASKS, widths=[2, 2])
    with torch.no_grad():
        model.edges[0][0].scores.copy_(torch.tensor([0.8, 0.2]).log())
        model.edges[0][1].scores.copy_(torch.tensor([0.4, 0.6]).log())
        for group, row in zip(PLANTED, model.edges[1], strict=True):
            row.scores.copy_(torch.tensor([[0.75, 0.25], [0.0625, 0.9375]])[group].log())
    found = groups.usage(model)
    assert found[0] == pytest.approx([0.75, 0.25, 0.75 * 0.8 + 0.25 * 0.4, 0.75 * 0.2 + 0.25 * 0.6])
    assert groups.agreement(groups.groups_of(model), PLANTED) == 1.0
    assert groups.groups_of(model.derive()) == groups.groups_of(model)


def test_a_network_without_a_learned_structure(groups: Any) -> None:
    with pytest.raises(TypeError, match="HardSharing has no learned structure"):
        groups.groups_of(HardSharing(MLP(2, (3,)), TASKS))


def run(*arguments: object) -> str:
    command = [sys.executable, str(SCRIPTS / "planted.py"), *map(str, arguments), "--rows", "120", "--epochs", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_smallest_comparison(tmp_path: Path) -> None:
    output = tmp_path / "found.json"
    arguments = ["--seeds", 2, "--trials", 1, "--only", "soft_ordering", "--out", tmp_path, "--output", output]
    printed = run(*arguments)
    assert "| soft ordering |" in printed
    found = json.loads(output.read_text())["groups, gain 2"]
    rows = {row["candidate"]: row for row in found["rows"]}
    assert list(rows) == ["single_task", "hard_sharing", "hard_narrow", "true_groups", "soft_ordering"]
    assert rows["true_groups"]["parameters"] == 2 * (13 * 8 + 2 * 9 * 8) + 6 * 9
    assert len(rows["soft_ordering"]["agreement"]) == len(found["groups"]["soft_ordering"]) == 2
    assert "against_hard" not in rows["hard_sharing"]
    assert "against_narrow" not in rows["hard_narrow"]
    for baseline in ("against_hard", "against_narrow"):
        against = rows["soft_ordering"][baseline]
        assert against["low"] < against["mean"] < against["high"]
    assert printed.splitlines()[:-1] == run(*arguments).splitlines()[:-1]  # what is done is not done again


def test_smallest_sweep(tmp_path: Path) -> None:
    output = tmp_path / "found.json"
    run("--sweep", "--seeds", 2, "--weights", 0, 0.1, "--cycles", 1, "--out", tmp_path, "--output", output)
    found = json.loads(output.read_text())["sparsity"]
    assert [(one["form"], one["weight"], one["seeds"]) for one in found] == [
        (form, weight, 2) for form in ("expected", "log") for weight in (0.0, 0.1)
    ]
    for one in found:
        assert one["loss"] > 0
        assert 1 <= one["least"] <= one["kept"] <= 6
