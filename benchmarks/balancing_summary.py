"""From the results of a comparison to the figures and tables of ``balancing_on_data.py``.

Four questions are asked of every candidate: what it scores, what it gains over the tuned single-task networks, how it
differs from hard sharing with the plain sum of losses, and how from the same with tuned loss weights. Differences are
paired by seed. With five seeds the exact test
that ``tl.compare`` bases its verdicts on can find nothing (its smallest p is 0.0625), so the words here rest on 95 % t
intervals, and on t tests corrected by Holm's method for the number of methods on the data set.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

import taskloom as tl
from taskloom.metrics import GainSummary, holm, t_interval

__all__ = ["AGAINST", "PLAIN", "TUNED", "digest", "store", "summary", "tables"]

PLAIN = "hard_sharing"
TUNED = "hard_sharing_tuned_weights"
AGAINST = {"against_plain": PLAIN, "against_tuned": TUNED}
_TWINS = (f"{PLAIN}_again", f"{TUNED}_again")
_REFERENCES = ("single_task", PLAIN, TUNED, *_TWINS)


# -- figures ------------------------------------------------------------------------------------------------------


def summary(results: tl.Results) -> dict[str, Any]:
    """Everything the tables show, JSON-able."""
    times = dict(results.table().select("candidate", "step_milliseconds").iter_rows())
    rows = [_candidate(results, name, times[name] / times[PLAIN]) for name in results.candidates]
    methods = [row for row in rows if row["candidate"] not in _REFERENCES]
    for reference in AGAINST:
        differences = [row[reference] for row in methods]
        for difference, p in zip(differences, holm([one["t_p"] for one in differences]), strict=True):
            difference["holm_p"] = float(p)
            difference["found"] = _found(difference, results.settings["alpha"])
    labelled = results.labelled.group_by("part").agg(pl.col("rows").mean()).iter_rows()
    return {
        "title": results.settings["title"],
        "setting": {
            "rows": {part: round(rows) for part, rows in labelled},
            "inputs": results.settings["data"]["n_features"],
            "split": results.settings["split"],
            "trials": results.settings["trials"],
            "seeds": len(results.settings["seeds"]),
            "margin": results.settings["margin"],
            "versions": results.environment["versions"],
        },
        "tasks": {task["name"]: [one["name"] for one in task["metrics"]] for task in results.settings["tasks"]},
        "candidates": rows,
    }


def _candidate(results: tl.Results, name: str, step: float) -> dict[str, Any]:
    row = {
        "candidate": name,
        "title": results.describe(name)["title"],
        "scores": {task: _scores(results, name, task) for task in results.main_scores(name)},
        "validation_score": results.validation_score(name),
        "step": step if math.isfinite(step) else None,
        "conflict_share": results.diagnostics(name)["conflict_share"].mean(),
    }
    if name != results.reference:
        gains = results.gains(name)
        row["against_single"] = {**_report(gains), "delta_m": gains.delta_m}
    for reference, other in AGAINST.items():
        if name not in (results.reference, other):
            row[reference] = _report(_against(results, name, other))
    return row


def _against(results: tl.Results, name: str, other: str) -> tl.metrics.TransferReport:
    """The paired comparison of two candidates by their main metrics; positive: the first is better."""
    lower = {
        task["name"]: next(one["lower_is_better"] for one in task["metrics"] if one["name"] == task["metric"])
        for task in results.settings["tasks"]
    }
    return tl.transfer_report(
        results.main_scores(other),
        results.main_scores(name),
        lower_is_better=lower,
        alpha=results.settings["alpha"],
        margin=results.settings["margin"],
    )


def _scores(results: tl.Results, name: str, task: str) -> dict[str, Any]:
    """Metric -> mean and 95 % t interval over seeds, on test rows."""
    rows = results.scores.filter((pl.col("candidate") == name) & (pl.col("task") == task) & (pl.col("split") == "test"))
    found = {}
    for metric, values in rows.group_by("metric", maintain_order=True).agg(pl.col("value")).iter_rows():
        low, high = t_interval(values)
        found[metric] = {"mean": sum(values) / len(values), "low": low, "high": high}
    return found


def _report(report: tl.metrics.TransferReport) -> dict[str, Any]:
    """Gains in percent: of every task with its verdict, and their mean."""
    tasks = {
        gain.task: {**_gain(gain), "corrected_p": gain.corrected_p, "verdict": gain.verdict} for gain in report.tasks
    }
    assert report.mean_gain is not None
    return {**_gain(report.mean_gain), "t_p": report.mean_gain.t_p, "tasks": tasks}


def _gain(gain: GainSummary) -> dict[str, Any]:
    return {"mean": gain.mean, "low": gain.interval[0], "high": gain.interval[1], "p": gain.p}


def _found(against: Mapping[str, Any], alpha: float) -> str:
    """What the interval of the mean gain over tasks says, in a word or two."""
    if against["low"] <= 0.0 <= against["high"]:
        return "no difference found"
    word = "better" if against["mean"] > 0 else "worse"
    return word if against["holm_p"] <= alpha else f"{word}, not after correction"


# -- files --------------------------------------------------------------------------------------------------------


def _rounded(value: Any) -> Any:
    """The same with numbers to six digits: more would only change with the machine."""
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def store(path: Path, name: str, found: Mapping[str, Any], results: tl.Results) -> None:
    """Write one data set's figures, tables and test scores into three files; those of the others stay."""
    figures, scores = path.with_suffix(".json"), path.with_suffix(".csv")
    sets = json.loads(figures.read_text())["sets"] if figures.exists() else {}
    sets[name] = _rounded(found)
    figures.write_text(json.dumps({"sets": sets}, indent=1) + "\n")
    pages = [f"# {one['title']}\n\n{tables(one)}\n" for one in sets.values()]
    path.with_suffix(".md").write_text("\n".join(pages))
    own = results.scores.filter(pl.col("split") == "test").drop("split").select(pl.lit(name).alias("set"), pl.all())
    if scores.exists():
        own = pl.concat([pl.read_csv(scores).filter(pl.col("set") != name), own])
    own.write_csv(scores, float_precision=6)


# -- tables -------------------------------------------------------------------------------------------------------


def tables(found: Mapping[str, Any]) -> str:
    """The figures of one data set as a Markdown table, best mean difference from the plain sum first."""
    return "\n".join(_lines(found))


def digest(sets: Mapping[str, Mapping[str, Any]]) -> str:
    """All data sets as one table in reStructuredText: how many methods differ from sums of losses, and by how much."""
    rows = [("data", "against", "methods", "better", "worse", "from worst to best, %", "the same again, %")]
    for found in sets.values():
        for reference, other in AGAINST.items():
            by_name = {row["candidate"]: row[reference] for row in found["candidates"] if reference in row}
            methods = [against for name, against in by_name.items() if name not in _REFERENCES]
            means = [against["mean"] for against in methods]
            counts = [sum(one["found"] == word for one in methods) for word in ("better", "worse")]
            uncertain = [sum(one["found"].startswith(f"{word},") for one in methods) for word in ("better", "worse")]
            shown = [f"{sure} (and {maybe} before correction)" for sure, maybe in zip(counts, uncertain, strict=True)]
            span = f"{min(means):+.1f} to {max(means):+.1f}"
            words = "plain sum" if other == PLAIN else "tuned weights"
            again = _difference(by_name[f"{other}_again"])
            rows.append((found["title"], words, str(len(methods)), *shown, span, again))
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in rows:
        lines += [f"   {'* ' if place == 0 else '  '}- {cell}" for place, cell in enumerate(row)]
    return "\n".join(lines)


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    tasks = found["tasks"]
    shown = [(task, metric) for task, metrics in tasks.items() for metric in _shown(metrics)]
    head = ["candidate", *(f"{task}, {metric}" for task, metric in shown)]
    head.append("Δm against single task, %")
    head += ["against the plain sum, %", "found", "against tuned weights, %", "found", "step"]
    yield _line(head)
    yield _line(["---"] * len(head))
    rank = {name: place for place, name in enumerate(_REFERENCES)}
    rows = sorted(
        found["candidates"],
        key=lambda row: (rank.get(row["candidate"], len(rank)), -row.get("against_plain", {"mean": 0.0})["mean"]),
    )
    for row in rows:
        cells = [row["title"].removeprefix("hard sharing, ")]
        cells += [_score(row["scores"][task][metric]) for task, metric in shown]
        single = row.get("against_single")
        cells.append(_difference(single, single["delta_m"]) if single else "")
        for reference in AGAINST:
            difference = row.get(reference)
            cells += [_difference(difference), difference.get("found", "")] if difference else ["", ""]
        cells.append(f"{row['step']:.1f}" if row["step"] else "")
        yield _line(cells)


def _shown(metrics: list[str]) -> list[str]:
    """The main metric, and of the others the one that papers print."""
    return [metrics[0], next(one for one in ("R2", "AUROC", "accuracy") if one in metrics)]


def _score(value: Mapping[str, float]) -> str:
    digits = max(0, 2 - math.floor(math.log10(abs(value["mean"])))) if value["mean"] else 3
    half = (value["high"] - value["low"]) / 2
    return f"{value['mean']:.{digits}f} ± {half:.{digits}f}"


def _difference(value: Mapping[str, float], mean: float | None = None) -> str:
    mean = value["mean"] if mean is None else mean
    return f"{mean:+.1f} ({value['low']:+.1f} to {value['high']:+.1f})"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
