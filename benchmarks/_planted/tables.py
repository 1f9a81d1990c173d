"""From what every seed found to figures and Markdown tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from _shares import gain_over

from _planted.networks import HARD, NARROW
from taskloom.metrics import t_interval

__all__ = ["MIN_AGREEMENT", "found_table", "summary", "sweep_summary", "sweep_table"]

MIN_AGREEMENT = 0.9  # of the adjusted Rand index, for groups to count as found

Scores = Mapping[str, Mapping[str, Mapping[int, float]]]
"""Candidate -> task -> seed -> RMSE on test rows."""


def summary(scores: Scores, agreements: Mapping[str, Sequence[float]], sizes: Mapping[str, Sequence[int]]) -> list[Any]:
    """Per candidate: its error, how often it found the groups, and its gains over hard sharing, paired by seed."""
    rows = []
    for name, by_task in scores.items():
        every = np.array([list(by_seed.values()) for by_seed in by_task.values()])
        row: dict[str, Any] = {
            "candidate": name,
            "rmse": float(every.mean()),
            "parameters": float(np.median(sizes[name])),
        }
        if name in agreements:
            row["agreement"] = list(agreements[name])
            row["n_found"] = sum(one >= MIN_AGREEMENT for one in agreements[name])
        if name != HARD:
            row["against_hard"] = gain_over(scores[HARD], by_task, lower_is_better=True)
        if name != NARROW:
            row["against_narrow"] = gain_over(scores[NARROW], by_task, lower_is_better=True)
        rows.append(row)
    return rows


def found_table(rows: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> str:
    """The figures of :func:`summary` as a Markdown table."""

    def lines() -> Iterator[str]:
        head = ["network", "parameters", "test RMSE"]
        for baseline in ("wide hard sharing", "hard sharing as wide"):
            head += [f"against {baseline}, %", "found"]
        head += ["groups found", "adjusted Rand index"]
        yield "| " + " | ".join(head) + " |"
        yield "|---" * len(head) + "|"
        for row in rows:
            cells = [titles[row["candidate"]], f"{row['parameters']:.0f}", f"{row['rmse']:.3f}"]
            for baseline in ("against_hard", "against_narrow"):
                gain = row.get(baseline)
                cells += [f"{gain['mean']:+.1f} ({gain['low']:+.1f} to {gain['high']:+.1f})" if gain else ""]
                cells += [gain["found"] if gain else ""]
            if "agreement" in row:
                cells += [f"{row['n_found']} of {len(row['agreement'])}"]
                cells += [", ".join(f"{one:.2f}" for one in row["agreement"])]
            else:
                cells += ["", ""]
            yield "| " + " | ".join(cells) + " |"

    return "\n".join(lines())


def sweep_summary(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Runs of the sweep by form and weight: means over seeds, and the change of the error from that of weight 0."""
    losses: dict[tuple[str, float], dict[int, float]] = {}
    for run in runs:
        losses.setdefault((run["form"], run["weight"]), {})[run["seed"]] = run["loss"]
    found = []
    for (form, weight), by_seed in losses.items():
        own = [run for run in runs if (run["form"], run["weight"]) == (form, weight)]
        entry: dict[str, Any] = {"form": form, "weight": weight, "seeds": len(own)}
        entry["loss"] = float(np.mean(list(by_seed.values())))
        without = losses[form, 0.0]
        changes = [100 * (loss / without[seed] - 1) for seed, loss in by_seed.items()]
        low, high = t_interval(changes)
        entry["change"] = {"mean": float(np.mean(changes)), "low": low, "high": high}
        entry["kept"] = float(np.mean([run["kept"] for run in own]))
        entry |= {"least": min(run["least"] for run in own), "warned": sum(run["warned"] for run in own)}
        found.append(entry)
    return found


def sweep_table(found: Sequence[Mapping[str, Any]]) -> str:
    """The figures of :func:`sweep_summary` as a Markdown table, one row per form and weight."""
    head = ["form", "weight", "error", "change from weight 0, %", "blocks run of 6", "fewest", "guard stepped in"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for one in found:
        change = one["change"]
        shown = f"{change['mean']:+.0f} ({change['low']:+.0f} to {change['high']:+.0f})" if one["weight"] else ""
        cells = [one["form"], f"{one['weight']:g}", f"{one['loss']:.3f}", shown, f"{one['kept']:.1f}"]
        lines.append("| " + " | ".join([*cells, str(one["least"]), f"{one['warned']} of {one['seeds']}"]) + " |")
    return "\n".join(lines)
