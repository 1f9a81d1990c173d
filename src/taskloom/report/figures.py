"""The numbers behind the figures, compact enough for one page.

The page holds the numbers once, as JSON, and its script draws every figure from them (so that a reader can choose a
candidate, a task or an epoch without the file holding each drawing). Long curves are thinned to the points that a
screen can show and written with four digits; where there are more tasks than a person can compare line by line, the
spread over tasks is kept beside the lowest and highest ones. Positive gains mean that multi-task is better.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from taskloom.report.markup import Html, raw
from taskloom.report.reading import GainRow, Reading, finite

if TYPE_CHECKING:
    import polars as pl

    from taskloom.study.results import Results

__all__ = ["MANY_TASKS", "figure_numbers", "numbers_as_json"]

MANY_TASKS = 20
"""Above this number of tasks a figure shows the spread and the extremes instead of one line or cell per task."""

_CURVE_NUMBERS = 60_000
_EXTREMES = 10
_CURVES = frozenset({"curves", "weights", "cosine", "spread", "below"})


def figure_numbers(results: Results, reading: Reading) -> dict[str, Any]:
    """Collect what the page's script draws.

    Args:
        results: the results of a comparison.
        reading: the same results as read by :func:`taskloom.report.reading.read`.

    Returns:
        a JSON-able mapping; tasks are indices into ``tasks``, missing numbers are None.
    """
    names = [task.name for task in reading.tasks]
    index = {name: position for position, name in enumerate(names)}
    return {
        "tasks": names,
        "seeds": list(reading.seeds),
        "reference": reading.reference,
        "focus": reading.focus,
        "relative": reading.is_relative,
        "margin": reading.margin,
        "many": MANY_TASKS,
        "candidates": [
            {
                "name": row.name,
                "title": row.title,
                "family": row.family,
                "delta": [row.delta_m, row.low, row.high],
                "seeds": list(row.seeds),
            }
            for row in reading.candidates
        ],
        "gains": {name: [_gain(row, index) for row in rows] for name, rows in reading.gains.items()},
        "curves": _curves(results.curves, index, reading),
        "conflicts": _conflicts(results.conflicts, index),
        "weights": _weights(results.weights, index),
        "diagnostics": {
            name: [
                [index[row.task], row.best_epoch, row.checkpoint_regret, row.rate_mismatch, row.conflict_share]
                for row in rows
            ]
            for name, rows in reading.diagnostics.items()
        },
    }


def numbers_as_json(numbers: Mapping[str, Any]) -> Html:
    r"""Write the numbers so that they may stand inside a ``<script>`` element.

    Example:
        >>> numbers_as_json({"name": "</script>", "value": 0.123456})
        '{"name":"\\u003c/script\\u003e","value":0.123456}'
    """
    text = json.dumps(_short(numbers), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return raw(text)


def _short(value: Any, digits: int = 8) -> Any:
    """Numbers that are also written in tables keep eight digits, so that both round alike; curves keep four."""
    if isinstance(value, Mapping):
        return {str(key): _short(inner, 4 if key in _CURVES else digits) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_short(inner, digits) for inner in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        short = float(f"{value:.{digits}g}")
        return int(short) if short.is_integer() and abs(short) < 1e15 else short
    return value


def _gain(row: GainRow, index: Mapping[str, int]) -> dict[str, Any]:
    return {
        "task": index[row.task],
        "mean": row.mean,
        "low": row.low,
        "high": row.high,
        "verdict": row.verdict,
        "flag": row.flag,
        "note": row.note,
        "p": row.corrected_p,
        "n": row.n,
        "seeds": list(row.seeds),
    }


def _curves(curves: pl.DataFrame, index: Mapping[str, int], reading: Reading) -> dict[str, dict[str, Any]]:
    """Per candidate and task: epochs, mean training and validation loss, and each seed's validation loss."""
    if curves.is_empty():
        return {}
    parts = curves.partition_by("candidate", "task", as_dict=True, maintain_order=True)
    points = int(np.clip(_CURVE_NUMBERS // max(1, 2 * len(parts)), 12, 80))
    with_seeds = len(reading.seeds) > 1 and len(index) <= MANY_TASKS
    result: dict[str, dict[str, Any]] = {}
    for (candidate, task), part in parts.items():
        if task in index:
            result.setdefault(str(candidate), {})[str(index[task])] = _curve(part, reading.seeds, points, with_seeds)
    return result


def _curve(part: pl.DataFrame, seeds: Sequence[int], points: int, with_seeds: bool) -> dict[str, Any]:
    epochs = np.unique(part["epoch"].to_numpy())
    train, validation = (_grid(part, column, "seed", seeds, epochs) for column in ("train_loss", "validation_loss"))
    running = np.isfinite(validation).sum(axis=0)
    shown = np.flatnonzero(2 * running >= max(1, running.max()))  # runs that stop early must not bend the mean
    mean = _mean(validation[:, shown])
    kept = _thin(len(shown), points, keep=None if np.isnan(mean).all() else int(np.nanargmin(mean)))
    chosen = shown[kept]
    numbers = {
        "e": _counted(epochs[chosen]),
        "t": _listed(_mean(train[:, chosen])),
        "v": _listed(_mean(validation[:, chosen])),
    }
    if with_seeds:
        thinned = _thin(len(epochs), points)
        numbers["se"] = _counted(epochs[thinned])
        numbers["s"] = [_listed(line[thinned]) for line in validation]
    return numbers


def _conflicts(conflicts: pl.DataFrame, index: Mapping[str, int]) -> dict[str, Any]:
    """Per candidate: cosines of each pair over epochs (mean over seeds), or their spread when there are many tasks."""
    result: dict[str, Any] = {}
    for (candidate,), part in _parts(conflicts):
        mean = (
            part.drop("candidate", "seed")
            .group_by("epoch", "task_a", "task_b")
            .mean()
            .sort("epoch", "task_a", "task_b")
        )
        pairs = [
            (index[first], index[second])
            for first, second in mean.select("task_a", "task_b").unique().sort("task_a", "task_b").iter_rows()
            if first in index and second in index and first != second
        ]
        if not pairs:
            continue
        keyed = mean.with_columns(pair=mean["task_a"] + "\x00" + mean["task_b"])
        names = list(index)
        labels = [f"{names[first]}\x00{names[second]}" for first, second in pairs]
        epochs = np.unique(mean["epoch"].to_numpy())
        cosine = _grid(keyed, "cosine", "pair", labels, epochs)
        overall = _mean(cosine.T)
        share = _mean(_grid(keyed, "conflict_share", "pair", labels, epochs).T)
        kept = _thin(len(epochs), 40)
        order = np.argsort(np.where(np.isnan(overall), np.inf, overall), kind="stable")
        shown = np.arange(len(pairs))
        numbers: dict[str, Any] = {"e": _counted(epochs[kept]), "n": len(pairs)}
        if len(index) > MANY_TASKS:
            numbers["spread"] = _spread(cosine[:, kept])
            numbers["below"] = _listed(_mean(np.where(np.isnan(cosine), np.nan, cosine < 0)[:, kept]))
            shown = np.concatenate([order[:_EXTREMES], order[-_EXTREMES:]]) if len(order) > 2 * _EXTREMES else order
        numbers["pairs"] = [list(pairs[position]) for position in shown]
        numbers["cosine"] = [_listed(cosine[position, kept]) for position in shown]
        numbers["mean"] = _listed(overall[shown])
        numbers["share"] = _listed(share[shown])
        result[str(candidate)] = numbers
    return result


def _weights(weights: pl.DataFrame, index: Mapping[str, int]) -> dict[str, Any]:
    """Per candidate whose weights move or differ: weight of each task over epochs (mean over seeds)."""
    result: dict[str, Any] = {}
    for (candidate,), part in _parts(weights):
        tasks = [name for name in index if name in set(part["task"].to_list())]
        mean = part.drop("candidate", "seed").group_by("epoch", "task").mean().sort("epoch", "task")
        epochs = np.unique(mean["epoch"].to_numpy())
        grid = _grid(mean, "weight", "task", tasks, epochs)
        finished = grid[np.isfinite(grid)]
        if finished.size == 0 or float(np.ptp(finished)) <= 1e-9 * float(np.abs(finished).max()):
            continue  # equal weights throughout: a flat line says nothing
        kept = _thin(len(epochs), 60)
        shown = list(range(len(tasks)))
        numbers: dict[str, Any] = {"e": _counted(epochs[kept]), "n": len(tasks)}
        if len(index) > MANY_TASKS:
            numbers["spread"] = _spread(grid[:, kept])
            order = np.argsort(np.where(np.isnan(grid[:, -1]), np.inf, grid[:, -1]), kind="stable")
            shown = [*order[:4].tolist(), *order[-4:].tolist()]
        numbers["tasks"] = [index[tasks[position]] for position in shown]
        numbers["w"] = [_listed(grid[position, kept]) for position in shown]
        result[str(candidate)] = numbers
    return result


def _parts(frame: pl.DataFrame) -> Iterable[tuple[tuple[Any, ...], pl.DataFrame]]:
    return frame.partition_by("candidate", as_dict=True, maintain_order=True).items() if not frame.is_empty() else ()


def _grid(
    frame: pl.DataFrame, value: str, key: str, keys: Sequence[Any], epochs: np.ndarray
) -> np.ndarray:  # (len(keys), len(epochs))
    row_of = {name: position for position, name in enumerate(keys)}
    grid = np.full((len(keys), len(epochs)), np.nan)
    rows = np.array([row_of.get(name, -1) for name in frame[key].to_list()], dtype=np.int64)
    columns = np.searchsorted(epochs, frame["epoch"].to_numpy())
    values = frame[value].cast(float).fill_null(float("nan")).to_numpy()
    known = rows >= 0
    grid[rows[known], columns[known]] = values[known]
    grid[~np.isfinite(grid)] = np.nan
    return grid


def _mean(grid: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what is there; NaN where nothing is."""
    there = np.isfinite(grid)
    number = there.sum(axis=0)
    total = np.where(there, grid, 0.0).sum(axis=0)
    mean = np.full(number.shape, np.nan)
    np.divide(total, number, out=mean, where=number > 0)
    return mean


def _spread(grid: np.ndarray) -> dict[str, list[float | None]]:
    """10th, 50th and 90th percentile over the first axis."""
    filled = np.where(np.isfinite(grid).any(axis=0), grid, 0.0)
    low, middle, high = np.nanpercentile(filled, [10, 50, 90], axis=0)
    return {"low": _listed(low), "middle": _listed(middle), "high": _listed(high)}


def _thin(length: int, points: int, *, keep: int | None = None) -> np.ndarray:
    """Positions of at most ``points`` (+ 1) evenly spread entries, first and last included."""
    if length <= points:
        return np.arange(length)
    positions = np.unique(np.linspace(0, length - 1, points).round().astype(np.int64))
    return positions if keep is None else np.unique(np.append(positions, keep))


def _counted(epochs: np.ndarray) -> list[int]:
    """Epochs as people count them: the first is 1."""
    return [int(epoch) + 1 for epoch in epochs]


def _listed(values: np.ndarray) -> list[float | None]:
    return [finite(value) for value in values]
