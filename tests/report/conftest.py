"""A made-up comparison that looks like a real one; every test of the report starts from it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest

from taskloom.study.results import SCHEMAS, Results

CANDIDATES = (
    ("single_task", "Single-task networks", "single", 0.0, "One network per task, nothing shared."),
    ("ridge", "Ridge regression", "baseline", -9.0, "Independent linear models."),
    ("boosted_trees", "Gradient-boosted trees", "baseline", -2.0, "Independent boosted trees."),
    ("pooled", "Pooled network", "pooled", -14.0, "One network that does not know the task."),
    ("hard_sharing", "Hard sharing", "joint", 3.0, "One shared encoder, one head per task."),
    ("hard_sharing_uncertainty", "Hard sharing, uncertainty weights", "joint", 4.5, "Weights learned from noise."),
    ("hard_sharing_pcgrad", "Hard sharing, PCGrad", "joint", 3.6, "Conflicting gradients are projected."),
    ("soft_sharing", "Soft sharing (L2 to the mean)", "joint", 1.5, "Networks drawn to their mean."),
)
JOINT = tuple(name for name, _, family, _, _ in CANDIDATES if family == "joint")


def task_names(count: int) -> tuple[str, ...]:
    """Names as users write them: spaces, slashes, markup, Korean; then plain ones."""
    odd = ("motor UPDRS", "total / UPDRS", "a/b <script>alert('x')</script>", "수학 점수", "tremor & gait")
    return (odd + tuple(f"school {number}" for number in range(1, count)))[:count]


def make(
    *,
    tasks: int | Sequence[str] = 3,
    seeds: int = 5,
    epochs: int = 30,
    with_conflicts: bool = True,
    with_weights: bool = True,
    missing: str | None = None,
    candidates: Sequence[str] | None = None,
    base: int = 0,
) -> dict[str, Any]:
    """Make a comparison; ``missing`` names a task whose joint scores of the first seed are not a number."""
    random = np.random.default_rng(base)
    names = task_names(tasks) if isinstance(tasks, int) else tuple(tasks)
    chosen = [row for row in CANDIDATES if candidates is None or row[0] in candidates]
    seed_list = list(range(seeds))
    level = {task: float(random.uniform(0.5, 9.0)) for task in names}
    lift = {task: float(random.normal(0.0, 3.5)) for task in names}
    scores, runs, curves, conflicts, weights = [], [], [], [], []
    for name, _, family, effect, _ in chosen:
        for seed in seed_list:
            for task in names:
                gain = 0.0 if family == "single" else effect + lift[task] + float(random.normal(0.0, 1.2))
                value = level[task] * (1 + 0.01 * seed) * (1 - gain / 100)
                if missing == task and family == "joint" and seed == 0:
                    value = math.nan
                for split, factor in (("validation", 0.97), ("test", 1.0)):
                    scores.append((name, task, "RMSE", seed, split, value * factor, True))
                    scores.append((name, task, "R2", seed, split, 1 - value * factor / 20, False))
            for task in names if family in ("single", "baseline") else ("",):
                joint = family in ("joint", "pooled")
                size = 5000 + 1500 * (len(names) if joint else 1)
                settings = json.dumps({"learning_rate": 0.003, "weight_decay": 0.01, "hidden": [64, 64]})
                loss = 0.5 - 0.01 * effect
                seconds = float(random.uniform(1, 9))
                runs.append(
                    (name, seed, task, 3, settings, loss, loss, size, seconds, 12.5, 24, min(14, epochs - 1), 24 * 40)
                )
            if family == "baseline":
                continue
            for task in names:
                for epoch in range(epochs):
                    decay = math.exp(-epoch / 6)
                    train = 0.15 + 0.9 * decay + float(random.normal(0, 0.01))
                    held_out = 0.28 + 0.8 * decay + 0.0004 * max(0, epoch - 14) ** 2 + float(random.normal(0, 0.02))
                    curves.append((name, seed, task, epoch, train, held_out))
            if family != "joint":
                continue
            for epoch in range(epochs if with_conflicts else 0):
                for first in range(len(names)):
                    for second in range(first + 1, len(names)):
                        pull = math.sin(first * 2.1 + second) * 0.6 + 0.2 * math.cos(epoch / 5 + first)
                        cosine = max(-1.0, min(1.0, pull + float(random.normal(0, 0.05))))
                        share = min(1.0, max(0.0, 0.5 - cosine / 2))
                        conflicts.append((name, seed, epoch, names[first], names[second], cosine, share))
            for epoch in range(epochs if with_weights else 0):
                for index, task in enumerate(names):
                    learned = name.endswith("uncertainty")
                    weight = 1 + 0.6 * math.sin(index + 1) * (1 - math.exp(-epoch / 8)) if learned else 1.0
                    weights.append((name, seed, epoch, task, weight))
    rows = {task: int(random.integers(40, 900)) for task in names}
    labelled = [
        (task, seed, part, int(rows[task] * share))
        for task in names
        for seed in seed_list
        for part, share in (("train", 0.6), ("validation", 0.2), ("test", 0.2))
    ]
    settings_of_study: dict[str, Any] = {
        "title": "Parkinson's telemonitoring",
        "tasks": [
            {
                "name": task,
                "slug": f"task-{index}",
                "kind": "regression",
                "labels": [],
                "metric": "RMSE",
                "metrics": [{"name": "RMSE", "lower_is_better": True}, {"name": "R2", "lower_is_better": False}],
                "auxiliary": False,
            }
            for index, task in enumerate(names)
        ],
        "main": None,
        "candidates": [
            {"name": name, "title": title, "family": family, "summary": summary, "source": "Caruana 1997"}
            for name, title, family, _, summary in chosen
        ],
        "left_out": {"film": "the data have no <task> column"},
        "seeds": seed_list,
        "seed": 0,
        "budget": "8 trials",
        "alpha": 0.05,
        "margin": 0.01,
        "split": "grouped by subject, 60 / 20 / 20",
        "data": {
            "source": "parkinsons & friends.csv",
            "fingerprint": "3f2a9c11d0",
            "n_rows": 5875,
            "n_features": 3,
            "layout": "multi_label",
            "features": [
                {"name": "age", "kind": "numeric", "note": ""},
                {"name": "sex", "kind": "categorical", "note": "2 values"},
                {"name": "<b>jitter</b>", "kind": "numeric", "note": "standardised by training rows"},
            ],
        },
        "notices": ["Column 'comment' holds text and was ignored.", "Column 'x<y' was dropped: it is constant."],
        "command": "taskloom compare parkinsons.csv --target 'motor UPDRS' --seeds 5",
        "reference": "single_task",
    }
    environment = {
        "python": "3.11.7",
        "torch": "2.13.0",
        "platform": "Linux-x86_64",
        "cores": 2,
        "versions": {"taskloom": "0.1.0", "numpy": "2.3.0"},
    }
    rows_of = {"scores": scores, "runs": runs, "curves": curves, "conflicts": conflicts, "weights": weights}
    rows_of["labelled"] = labelled
    tables = {name: pl.DataFrame(rows_of[name], orient="row", schema=dict(SCHEMAS[name])) for name in SCHEMAS}
    return {"settings": settings_of_study, "environment": environment, **tables}


@pytest.fixture(scope="session")
def make_results() -> Callable[..., Results]:
    """Make results by the arguments of :func:`make`."""

    def made(**arguments: Any) -> Results:
        return Results(**make(**arguments))

    return made
