"""From the results of a comparison of architectures to figures and a Markdown table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

import taskloom as tl
from taskloom.metrics import t_interval

__all__ = ["gain_over", "summary", "table"]

_FEW_TASKS = 4
_HARD = "hard_sharing"


def gain_over(
    reference: Mapping[str, Mapping[int, float]],
    own: Mapping[str, Mapping[int, float]],
    *,
    lower_is_better: bool | Mapping[str, bool],
) -> dict[str, Any]:
    """Mean gain over tasks in percent, positive is better, with its 95 % t interval over seeds and what that says."""
    gain = tl.transfer_report(reference, own, lower_is_better=lower_is_better).mean_gain
    assert gain is not None
    low, high = gain.interval
    found = "better" if low > 0 else "worse" if high < 0 else "no difference found"
    return _rounded({"mean": gain.mean, "low": low, "high": high, "t_p": gain.t_p, "found": found})


def summary(results: tl.Results, *, metric: str) -> dict[str, Any]:
    """What the table shows, JSON-able.

    Args:
        results: of the comparison.
        metric: shown of every task, or as the mean over tasks where there are many; gains are in it.
    """
    lower = bool(results.scores.filter(pl.col("metric") == metric)["lower_is_better"][0])
    rows = []
    for name in results.candidates:
        row: dict[str, Any] = {"candidate": name, "title": results.describe(name)["title"]}
        row["parameters"] = round(_parameters(results, name))
        row["scores"] = _scores(results, name, metric)
        row["validation_score"] = results.validation_score(name)
        for key, other in (("against_hard", _HARD), ("against_single", results.reference)):
            if name != other:
                pair = (_by_seed(results, one, metric) for one in (other, name))
                row[key] = gain_over(*pair, lower_is_better=lower)
        rows.append(_rounded(row))
    labelled = results.labelled.group_by("part").agg(pl.col("rows").sum() / pl.col("seed").n_unique()).iter_rows()
    return {
        "title": results.settings["title"],
        "metric": metric,
        "setting": {
            "labels": {part: round(rows) for part, rows in labelled},
            "tasks": len(results.settings["tasks"]),
            "split": results.settings["split"],
            "trials": results.settings["trials"],
            "seeds": len(results.settings["seeds"]),
            "versions": results.environment["versions"],
        },
        "candidates": rows,
    }


def _of_metric(results: tl.Results, name: str, metric: str) -> pl.DataFrame:
    """Test scores of a candidate by one metric."""
    rows = (pl.col("candidate") == name) & (pl.col("metric") == metric) & (pl.col("split") == "test")
    return results.scores.filter(rows)


def _by_seed(results: tl.Results, name: str, metric: str) -> dict[str, dict[int, float]]:
    """Task -> seed -> score."""
    found: dict[str, dict[int, float]] = {}
    for task, seed, value in _of_metric(results, name, metric).select("task", "seed", "value").iter_rows():
        found.setdefault(task, {})[seed] = value
    return found


def _parameters(results: tl.Results, name: str) -> float:
    """Parameters of all networks of a candidate, mean over seeds."""
    by_seed = results.runs.filter(pl.col("candidate") == name).group_by("seed").agg(pl.col("parameters").sum())
    return float(by_seed["parameters"].mean())


def _scores(results: tl.Results, name: str, metric: str) -> dict[str, Any]:
    """Mean and 95 % t interval over seeds on test rows: per task, or of the mean over many tasks."""
    rows = _of_metric(results, name, metric)
    if rows["task"].n_unique() > _FEW_TASKS:
        rows = rows.with_columns(pl.lit("mean over tasks").alias("task"))
    means = rows.group_by("task", "seed", maintain_order=True).agg(pl.col("value").mean())
    return {
        task: _interval(values)
        for task, values in means.group_by("task", maintain_order=True).agg(pl.col("value")).iter_rows()
    }


def _interval(values: Sequence[float]) -> dict[str, float]:
    low, high = t_interval(values)
    return {"mean": sum(values) / len(values), "low": low, "high": high}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return float(f"{value:.6g}") if isinstance(value, float) else value


def table(found: Mapping[str, Any]) -> str:
    """The figures of :func:`summary` as a Markdown table."""
    shown = list(found["candidates"][0]["scores"])
    head = ["architecture", "parameters", *(f"{one}, {found['metric']}" for one in shown)]
    head += ["against hard sharing, %", "found", "against single task, %"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in found["candidates"]:
        cells = [row["title"], f"{row['parameters']:,}", *(_score(row["scores"][one]) for one in shown)]
        hard = row.get("against_hard")
        cells += [_gain(hard), hard["found"] if hard else "", _gain(row.get("against_single"))]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _score(value: Mapping[str, float]) -> str:
    return f"{value['mean']:.3f} ± {(value['high'] - value['low']) / 2:.3f}"


def _gain(value: Mapping[str, float] | None) -> str:
    return f"{value['mean']:+.1f} ({value['low']:+.1f} to {value['high']:+.1f})" if value else ""
