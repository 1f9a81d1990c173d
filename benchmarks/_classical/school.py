"""Part (c): paths on the School data, 139 schools of 22 to 251 pupils, 28 unscaled features, often collinear."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from _classical.record import Record
from taskloom.regularised import (
    EntryNorm,
    PartSum,
    RowNorm,
    Solution,
    SpectralBox,
    SquaredRisk,
    TaskCoupling,
    TaskData,
    Trace,
    largest_alpha,
    solve,
)
from taskloom.regularised.coupled_ridge import solve_coupled_ridge

__all__ = ["school_paths", "school_table"]

DATA = Path(os.environ.get("TASKLOOM_DATA", Path(__file__).parents[3] / "shared" / "data"))
TOLERANCES = (1e-4, 1e-6, 1e-8)
N_STRENGTHS, SHORT = 50, 1e-3  # values and the end of the path as a share of its beginning
N_CLUSTERS, WITHIN, BETWEEN, MEAN = 4, 1.0, 0.1, 0.01
COUPLING = 10.0

Solve = Callable[[float, float, Any], Any]  # strength, tolerance, last solution


def school_data() -> TaskData:
    """All pupils; the constant feature stands for the intercept."""
    found = loadmat(DATA / "school" / "school.mat", mat_dtype=True)
    designs = tuple(np.asfortranarray(X, dtype=np.float64) for X in found["X"].ravel())
    targets = tuple(np.asarray(y, dtype=np.float64).ravel() for y in found["Y"].ravel())
    weight = len(designs) / sum(len(y) for y in targets)
    return TaskData(designs, targets, tuple(np.full(len(y), weight) for y in targets), fit_intercept=False)


def school_paths(record: Record, *, patience: float) -> list[dict[str, Any]]:
    """One row per method and tolerance."""
    rows = []
    for name, begin in _methods(school_data()):
        for tolerance in TOLERANCES:
            row = record.row({"method": name, "tolerance": tolerance}, partial(_path, begin, tolerance, patience))
            rows.append(row)
            print({key: value for key, value in row.items() if key != "gaps"}, flush=True)
    return rows


def _methods(data: TaskData) -> Iterator[tuple[str, Callable[[], tuple[float, float, Solve]]]]:
    """What begins a path: from the data alone to the largest strength, the risk at 0, and one step."""
    n_tasks = data.n_tasks

    def penalised(penalty: Callable[[float], Any], first: float | None = None) -> tuple[float, float, Solve]:
        risk = SquaredRisk(data)
        largest = largest_alpha(risk, penalty(1.0)) if first is None else first
        at_zero = risk.at(np.zeros((data.n_features, n_tasks))).loss

        def step(strength: float, tolerance: float, last: Solution | None) -> Solution:
            return solve(risk, penalty(strength), tol=tolerance, start=last)

        return largest, at_zero, step

    def clusters(strength: float) -> SpectralBox:
        low, high = 1 / (WITHIN * strength), 1 / (BETWEEN * strength)
        return SpectralBox(low, high, n_tasks * low + (N_CLUSTERS - 1) * (high - low), MEAN * strength)

    def dirty(strength: float) -> PartSum:
        return PartSum((RowNorm(strength, np.inf), EntryNorm(strength / np.sqrt(n_tasks))))

    def ridge() -> tuple[float, float, Solve]:
        def step(strength: float, tolerance: float, last: Solution | None) -> Solution:
            coupling = TaskCoupling.to_mean(n_tasks, alpha=strength, coupling=COUPLING)
            return solve_coupled_ridge(data, coupling, tol=tolerance)

        return 100.0, penalised(Trace)[1], step

    yield "trace norm", lambda: penalised(Trace)
    yield "dirty model", lambda: penalised(dirty)
    yield "clusters", lambda: penalised(clusters, 100.0)
    yield "coupled ridge", ridge


def _path(begin: Callable[[], tuple[float, float, Solve]], tolerance: float, patience: float) -> dict[str, Any]:
    start = time.process_time()
    largest, at_zero, step = begin()
    gaps: list[float] = []
    iterations, converged, last = 0, 0, None
    for strength in largest * np.geomspace(1.0, SHORT, N_STRENGTHS):
        last = step(strength, tolerance, last)
        gaps.append(last.gap / at_zero)
        iterations, converged = iterations + last.n_iterations, converged + bool(last.converged)
        if time.process_time() - start > patience:
            break
    seconds = time.process_time() - start
    return {"seconds": seconds, "iterations": iterations, "solved": len(gaps), "converged": converged, "gaps": gaps}


def school_table(rows: Sequence[dict[str, Any]]) -> str:
    """Seconds for a path, and the gaps that were reached."""
    lines = ["| path | gap asked for | seconds | strengths | iterations | largest gap | median gap |"]
    lines.append("|---|---|---|---|---|---|---|")
    for row in rows:
        reached = f"{row['converged']} of {row['solved']}"
        gaps = f"{max(row['gaps']):.1e} | {np.median(row['gaps']):.1e}"
        head = f"{row['method']} | {row['tolerance']:.0e} | {row['seconds']:.2f}"
        lines.append(f"| {head} | {reached} | {row['iterations']} | {gaps} |")
    return "\n".join(lines)
