"""Ways to solve one problem take turns until each has reached the same certified gap; processor time, one thread."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from _classical.problems import Array, Ragged, Shared, relative_gap

__all__ = ["GAP", "Way", "compete", "processor_time"]

GAP = 1e-6  # relative to the objective at 0, by ``relative_gap``
_SHORTEST = 0.01  # seconds: shorter runs are repeated
_MOST_ROUNDS, _BUDGET = 7, 2.0  # seconds of all ways together, on one problem
_STEPS = 12  # of the tolerance


@dataclass(frozen=True)
class Way:
    """A solver with a tolerance of its own.

    Args:
        solve: from a tolerance to coefficients, shape (d, T).
        first: the first tolerance to try; each further one is ``step`` times the last.
        step: below 1.
        is_ours: part of this library.
    """

    solve: Callable[[float], Array]
    first: float
    step: float = 0.3
    is_ours: bool = False


def processor_time(function: Callable[[], Any], *, shortest: float = _SHORTEST) -> float:
    """Of one call, in seconds."""
    start, calls = time.process_time(), 0
    while calls == 0 or time.process_time() - start < shortest:
        function()
        calls += 1
    return (time.process_time() - start) / calls


def compete(problem: Shared | Ragged, alpha: float, ways: dict[str, Way], *, patience: float) -> dict[str, Any]:
    """Times of all ways on one problem.

    Every way is given its loosest tolerance with which it reaches the gap. Ways that need more than ``patience``
    seconds, or never reach it, take no turns; what is known about them is written down.

    Args:
        problem: the problem.
        alpha: strength.
        ways: by name.
        patience: in seconds of processor time.
    """
    found: dict[str, Any] = {}
    tolerances = {}
    for name, way in ways.items():
        found[name], tolerance = _admit(problem, alpha, way, patience)
        if tolerance is not None:
            tolerances[name] = tolerance
    once = sum(found[name]["seconds"] for name in tolerances)
    rounds = max(3, min(_MOST_ROUNDS, int(_BUDGET / max(once, 1e-3)))) if once < 2 * _BUDGET else 1
    times: dict[str, list[float]] = {name: [] for name in tolerances}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(rounds):
            for name, tolerance in tolerances.items():
                way = ways[name]
                times[name].append(processor_time(lambda way=way, tolerance=tolerance: way.solve(tolerance)))
    for name, values in times.items():
        found[name]["seconds"] = statistics.median(values)
        found[name]["rounds"] = rounds
    return {"ways": found, "ratios": _ratios(ways, times, found)}


def _admit(problem: Shared | Ragged, alpha: float, way: Way, patience: float) -> tuple[dict[str, Any], float | None]:
    tolerance, spent, seconds, gap = way.first, 0.0, 0.0, float("inf")
    for _ in range(_STEPS):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            start = time.process_time()
            try:
                A = way.solve(tolerance)
            except MemoryError as error:
                return {"failed": str(error) or "out of memory"}, None
            seconds = time.process_time() - start
        gap, spent = relative_gap(problem, A, alpha), spent + seconds
        if gap <= GAP:
            known = {"seconds": seconds, "gap": gap, "tolerance": tolerance}
            return known, (tolerance if way.is_ours or seconds <= patience else None)
        if spent > patience:
            break
        tolerance *= way.step
    return {"seconds": seconds, "gap": gap, "failed": "did not reach the gap"}, None


def _ratios(ways: dict[str, Way], times: dict[str, list[float]], found: dict[str, Any]) -> dict[str, Any]:
    """Times of peers over those of ours: medians of the ratios of each round; single runs for who took no turns."""
    ratios: dict[str, Any] = {}
    for own in (name for name, way in ways.items() if way.is_ours):
        if own not in times:
            continue
        against = {name: _median_ratio(times[name], times[own]) for name in times if not ways[name].is_ours}
        for name, way in ways.items():
            if not way.is_ours and name not in times and "seconds" in found[name]:
                against[name] = found[name]["seconds"] / found[own]["seconds"]
        reached = {name: ratio for name, ratio in against.items() if "failed" not in found[name]}
        best = min(reached, key=lambda name: reached[name]) if reached else None
        ratios[own] = {"peers": against, "best": best, "ratio": reached[best] if best else None}
    return ratios


def _median_ratio(theirs: Sequence[float], own: Sequence[float]) -> float:
    return statistics.median(one / other for one, other in zip(theirs, own, strict=True))
