"""Parts (a) and (b): one design for all tasks, and a design for each, against other libraries."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

from _classical.contest import Way, compete
from _classical.peers import ragged_ways, shared_ways
from _classical.problems import Ragged, Shared, ragged, shared
from _classical.record import Record

__all__ = ["SHARES", "ragged_contest", "ragged_table", "shared_contest", "shared_table"]

Row = dict[str, Any]

SHARES = (0.5, 0.1, 0.01)  # of the largest alpha
SHARED = (
    (5000, 200, 20), (5000, 200, 100), (5000, 1000, 20), (1000, 200, 5), (1000, 200, 100), (1000, 2000, 20),
    (100, 200, 5), (100, 200, 100), (100, 2000, 20), (100, 20000, 5),
)  # fmt: skip
SHARED_IN_FULL = tuple((n, d, t) for n in (100, 1000, 5000) for d in (200, 2000, 20000) for t in (5, 20, 100))
RAGGED = ((50, 200, 5), (50, 200, 20), (200, 100, 20), (100, 1000, 10))  # mean samples of a task, features, tasks
RAGGED_IN_FULL = (*RAGGED, (500, 200, 20), (100, 5000, 10), (100, 1000, 50), (100, 28, 139))
WANTED = 5  # times faster on ragged designs
LARGE = 5  # times as many samples as features: where Gram matrices should win


def shared_contest(
    record: Record, *, sizes: Sequence[Sequence[int]], shares: Sequence[float], patience: float
) -> list[Row]:
    """One row per size and strength."""
    return [row for size in sizes for row in _contest(record, shared, size, shares, patience, shared_ways)]


def ragged_contest(
    record: Record, *, sizes: Sequence[Sequence[int]], shares: Sequence[float], patience: float
) -> list[Row]:
    """One row per size and strength; the samples of the tasks lie between half and one and a half of the mean."""
    return [row for size in sizes for row in _contest(record, _ragged, size, shares, patience, ragged_ways)]


def _ragged(n: int, d: int, n_tasks: int) -> Ragged:
    return ragged([n // 2 + (n * t) // max(n_tasks - 1, 1) for t in range(n_tasks)], d)


def _contest(
    record: Record,
    make: Callable[..., Any],
    size: Sequence[int],
    shares: Sequence[float],
    patience: float,
    ways_of: Callable[[Any, float], dict[str, Way]],
) -> list[Row]:
    problem = cache(lambda: make(*size))  # large ones are not made where everything about them is known

    def measure(share: float) -> Row:
        _warm_up(ways_of, type(problem()))
        alpha = share * problem().largest_alpha
        return compete(problem(), alpha, ways_of(problem(), alpha), patience=patience)

    rows = []
    for share in shares:
        cell = {"n": size[0], "d": size[1], "tasks": size[2], "share": share}
        rows.append(record.row(cell, partial(measure, share)))
        print(_line(rows[-1]), flush=True)
    return rows


_WARM: set[Any] = set()


def _warm_up(ways_of: Callable[[Any, float], dict[str, Way]], kind: type[Shared] | type[Ragged]) -> None:
    """Every loop compiled before it is timed."""
    if kind in _WARM:
        return
    problem: Any = shared(20, 30, 3) if kind is Shared else ragged((10, 20), 30)
    compete(problem, problem.largest_alpha / 10, ways_of(problem, problem.largest_alpha / 10), patience=0.0)
    _WARM.add(kind)


def _line(row: Row) -> str:
    times = [f"{name} {_milliseconds(way)}" for name, way in row["ways"].items()]
    ratios = [f"{name} {one['ratio']:.2f}" for name, one in row["ratios"].items() if one["ratio"] is not None]
    return (
        f"{row['n']:>5}{row['d']:>6}{row['tasks']:>4}{row['share']:>6}  {', '.join(times)}  ratios {', '.join(ratios)}"
    )


def _milliseconds(way: dict[str, Any]) -> str:
    if "seconds" not in way:
        return "-"
    text = f"{1e3 * way['seconds']:.3g}"
    if "failed" in way:
        return f"> {text}"
    return text if "rounds" in way else f"{text} (once)"


def shared_table(rows: Sequence[Row]) -> str:
    """Milliseconds, best peer over ours, and what is wanted."""
    names = list(rows[0]["ways"])
    lines = [f"| n | d | T | share | {' | '.join(names)} | best peer / ours | best peer / estimator |"]
    lines.append("|" + "---|" * (len(names) + 6))
    for row in rows:
        times = [_milliseconds(way) for way in row["ways"].values()]
        ratios = [_ratio(_best(row, own), False) for own in ("taskloom", "estimator")]
        head = [str(row[key]) for key in ("n", "d", "tasks", "share")]
        lines.append(f"| {' | '.join([*head, *times, *ratios])} |")
    return "\n".join([*lines, "", _shared_summary(rows)])


def _shared_summary(rows: Sequence[Row]) -> str:
    def ratio(row: Row) -> float:
        if "taskloom" not in row["ratios"]:
            return 0.0  # did not reach the gap
        found = _best(row)
        return float("inf") if found is None else found  # no peer reached it

    many = [row for row in rows if row["n"] >= LARGE * row["d"]]
    behind = [row for row in rows if ratio(row) < 1 / 1.2]
    missed = [row for row in many if ratio(row) < 3]
    lines = [
        f"more than 1.2 times the best peer: {len(behind)} of {len(rows)} ({_named(behind, ratio)})",
        f"less than 3 times faster where n >= {LARGE} d: {len(missed)} of {len(many)} ({_named(missed, ratio)})",
        f"median of best peer / ours: {statistics.median(map(ratio, rows)):.2f}",
    ]
    return "\n".join(lines)


def _named(rows: Sequence[Row], ratio: Callable[[Row], float]) -> str:
    named = (f"{row['n']} x {row['d']} x {row['tasks']} at {row['share']}: {ratio(row):.2f}" for row in rows)
    return "; ".join(named) or "none"


def ragged_table(rows: Sequence[Row]) -> str:
    """Milliseconds and the ratios to each peer."""
    names = list(rows[0]["ways"])
    peers = [name for name in names if name != "taskloom"]
    lines = [f"| n | d | T | share | {' | '.join(names)} | {' | '.join(f'{name} / ours' for name in peers)} |"]
    lines.append("|" + "---|" * (len(names) + len(peers) + 4))
    for row in rows:
        times = [_milliseconds(way) for way in row["ways"].values()]
        head = [str(row[key]) for key in ("n", "d", "tasks", "share")]
        against = row["ratios"].get("taskloom", {}).get("peers", {})
        ratios = [_ratio(against.get(name), "failed" in row["ways"][name]) for name in peers]
        lines.append(f"| {' | '.join([*head, *times, *ratios])} |")
    return "\n".join([*lines, "", _behind(rows, "celer, blocks", "skglm, blocks"), _behind(rows, "loop over all rows")])


def _behind(rows: Sequence[Row], *peers: str) -> str:
    """Where the best of some peers is less than ``WANTED`` times slower."""

    def ratio(row: Row) -> float:
        against = row["ratios"].get("taskloom", {}).get("peers", {})
        reached = [name for name in peers if "failed" not in row["ways"].get(name, {"failed": ""})]
        return min((against.get(name, 0.0) for name in reached), default=float("inf"))

    behind = [row for row in rows if ratio(row) < WANTED]
    count = f"{len(behind)} of {len(rows)} ({_named(behind, ratio)})"
    return f"less than {WANTED} times faster than {' and '.join(peers)}: {count}"


def _best(row: Row, own: str = "taskloom") -> float | None:
    """The time of the best peer over that of ours."""
    found = row["ratios"].get(own, {}).get("ratio")
    return None if found is None else float(found)


def _ratio(value: float | None, is_bound: bool) -> str:
    if value is None:
        return "-"
    return f"{'> ' if is_bound else ''}{value:.3g}"
