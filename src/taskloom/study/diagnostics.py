"""Why a task gains or loses: when it was at its best, what the shared checkpoint cost it, how often it conflicts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from taskloom.errors import DataError, TaskError
from taskloom.metrics import rate_report

__all__ = ["UNMEASURED", "conflict_shares", "rates_of"]

UNMEASURED: Mapping[str, Any] = {"best_epoch": None, "checkpoint_regret": None, "rate_mismatch": None}
"""What is said of a task whose training has no curve."""


def rates_of(
    curves: Iterable[Mapping[str, Any]], shared_epochs: Mapping[int, int] | None
) -> dict[str, Mapping[str, Any]]:
    """Best epoch, checkpoint regret and rate mismatch of every task.

    Args:
        curves: rows with task, seed, epoch (in order) and validation_loss.
        shared_epochs: seed -> epoch (from 0) of the checkpoint that all tasks share; None if every task has its own.

    Returns:
        task -> the three values; empty if there are no usable curves.

    Example:
        >>> rows = [{"task": "a", "seed": 0, "epoch": e, "validation_loss": v} for e, v in enumerate([2.0, 1.0, 1.5])]
        >>> rates_of(rows, None)["a"]["best_epoch"]
        2.0
    """
    losses: dict[str, dict[int, list[float]]] = {}
    for row in curves:
        value = row["validation_loss"]
        by_seed = losses.setdefault(row["task"], {})
        by_seed.setdefault(int(row["seed"]), []).append(math.nan if value is None else float(value))
    usable = {
        task: by_seed
        for task, by_seed in losses.items()
        if all(any(math.isfinite(value) for value in curve) for curve in by_seed.values())
    }
    if not usable:
        return {}
    if shared_epochs is None:
        # a network per task keeps a checkpoint per task: nothing is lost by sharing one
        return {
            task: {
                "best_epoch": sum(1.0 + _lowest(curve) for curve in by_seed.values()) / len(by_seed),
                "checkpoint_regret": 0.0,
                "rate_mismatch": False,
            }
            for task, by_seed in usable.items()
        }
    try:
        report = rate_report(usable, shared_epochs={seed: epoch + 1 for seed, epoch in shared_epochs.items()})
    except (DataError, TaskError):  # a training that diverged has no checkpoint to compare with
        return {}
    return {
        rate.task: {
            "best_epoch": float(rate.best_epoch),
            "checkpoint_regret": float(rate.checkpoint_regret),
            "rate_mismatch": bool(rate.rate_mismatch),
        }
        for rate in report.tasks
    }


def _lowest(curve: list[float]) -> int:
    return min(range(len(curve)), key=lambda epoch: curve[epoch] if math.isfinite(curve[epoch]) else math.inf)


def conflict_shares(conflicts: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Mean share of conflicting steps over the pairs that a task is in.

    Args:
        conflicts: rows with task_a, task_b and conflict_share.

    Example:
        >>> conflict_shares([{"task_a": "a", "task_b": "b", "conflict_share": 0.5}])
        {'a': 0.5, 'b': 0.5}
    """
    shares: dict[str, list[float]] = {}
    for row in conflicts:
        share = row["conflict_share"]
        if share is not None and math.isfinite(share):
            for side in ("task_a", "task_b"):
                shares.setdefault(row[side], []).append(float(share))
    return {task: sum(values) / len(values) for task, values in shares.items()}
