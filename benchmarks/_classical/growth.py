"""Part (d): how time and peak memory grow with the number of tasks, of features and of samples."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
from scipy.sparse import csc_array, random_array

from _classical.record import Record
from taskloom.regularised import RowNorm, Solution, SquaredRisk, TaskCoupling, TaskData, Trace, largest_alpha, solve
from taskloom.regularised.coupled_ridge import solve_coupled_ridge

__all__ = ["CASES", "Case", "growth", "growth_table"]

SHARE = 0.1  # of the largest alpha
REPEATS = 3


@dataclass(frozen=True)
class Case:
    """What grows.

    Args:
        method: what is solved.
        letter: T, d or n.
        sizes: from small to large.
        data: from a size to data.
        solve: from data to a solution.
        fixed: the other sizes, as text.
    """

    method: str
    letter: str
    sizes: tuple[int, ...]
    data: Callable[[int], TaskData]
    solve: Callable[[TaskData], Solution]
    fixed: str


def _group_lasso(data: TaskData) -> Solution:
    risk = SquaredRisk(data)
    return solve(risk, RowNorm(SHARE * largest_alpha(risk, RowNorm(1.0))))


def _trace(data: TaskData) -> Solution:
    risk = SquaredRisk(data)
    return solve(risk, Trace(SHARE * largest_alpha(risk, Trace(1.0))))


def _ridge(data: TaskData) -> Solution:
    return solve_coupled_ridge(data, TaskCoupling.to_mean(data.n_tasks, alpha=0.1, coupling=10.0))


def _tasks(n: int, d: int, n_tasks: int) -> TaskData:
    """Samples of their own; the tasks have a common part and one of their own, in a tenth of the features."""
    random = np.random.default_rng([n, d, n_tasks])
    common = random.normal(size=d) * (np.arange(d) % 10 == 0)
    designs = tuple(np.asfortranarray(random.normal(size=(n, d))) for _ in range(n_tasks))
    own = (common * (1 + 0.5 * random.normal(size=d)) for _ in range(n_tasks))
    targets = tuple(X @ a + 0.5 * random.normal(size=n) for X, a in zip(designs, own, strict=True))
    return TaskData(designs, targets, (np.full(n, 1 / n),) * n_tasks, fit_intercept=True)


def _sparse(n: int, d: int, n_tasks: int, per_row: int = 100) -> TaskData:
    """One sparse design with the same number of values in a row whatever d is."""
    random = np.random.default_rng([n, d, n_tasks])
    X = csc_array(random_array((n, d), density=per_row / d, format="csc", rng=random))
    A = np.zeros((d, n_tasks))
    A[random.choice(d, 30, replace=False)] = random.normal(size=(30, n_tasks))
    Y = X @ A + 0.1 * random.normal(size=(n, n_tasks))
    weights = np.full(n, 1 / n)
    return TaskData((X,) * n_tasks, tuple(np.ascontiguousarray(Y.T)), (weights,) * n_tasks, fit_intercept=True)


CASES = (
    Case("group lasso", "T", (10, 30, 100, 300, 1000), lambda T: _tasks(50, 100, T), _group_lasso, "n_t 50, d 100"),
    Case("trace norm", "T", (10, 30, 100, 300, 1000), lambda T: _tasks(50, 30, T), _trace, "n_t 50, d 30"),
    Case("coupled ridge", "T", (10, 30, 100, 300, 1000), lambda T: _tasks(50, 100, T), _ridge, "n_t 50, d 100"),
    Case(
        "group lasso", "d", (1_000, 3_000, 10_000, 30_000, 100_000), lambda d: _sparse(2_000, d, 10), _group_lasso,
        "sparse, n 2,000, 100 values in a row, T 10",
    ),
    Case("group lasso", "d", (100, 300, 1_000, 3_000), lambda d: _tasks(100, d, 20), _group_lasso, "n_t 100, T 20"),
    Case("group lasso", "n", (100, 1_000, 10_000), lambda n: _tasks(n, 50, 10), _group_lasso, "d 50, T 10"),
    Case("coupled ridge", "n", (1_000, 10_000, 100_000), lambda n: _tasks(n, 30, 10), _ridge, "d 30, T 10"),
)  # fmt: skip


def growth(record: Record, *, cases: Sequence[Case] = CASES, largest: int | None = None) -> list[dict[str, Any]]:
    """One row per case and size: seconds and peak memory.

    Args:
        record: of what was measured before.
        cases: what grows.
        largest: sizes above are left out.
    """
    cases[0].solve(cases[0].data(10))  # loops compiled
    rows = []
    for case in cases:
        name = {"method": case.method, "letter": case.letter, "fixed": case.fixed}
        for size in case.sizes:
            if largest is None or size <= largest:
                rows.append(record.row({**name, "size": size}, partial(_measure, case, size)))
                print(_line(rows[-1]), flush=True)
    return rows


def _measure(case: Case, size: int) -> dict[str, Any]:
    data = case.data(size)
    times = []
    while len(times) < REPEATS and sum(times) < 20:
        start = time.process_time()
        solution = case.solve(data)
        times.append(time.process_time() - start)
    tracemalloc.start()
    case.solve(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {
        "seconds": float(np.median(times)),
        "peak_bytes": peak,
        "data_bytes": _bytes(data),
        "block_diagonal_bytes": 8 * sum(len(y) for y in data.targets) * data.n_features * data.n_tasks,
        "converged": solution.converged,
    }


def _bytes(data: TaskData) -> int:
    """Of the designs."""
    different = {id(X): X for X in data.designs}.values()
    return sum(int(X.data.nbytes + (X.indices.nbytes if isinstance(X, csc_array) else 0)) for X in different)


def _exponent(pairs: Sequence[tuple[float, float]]) -> float:
    """Slope on logarithmic scales over the upper half of the sizes, where small costs do not count."""
    upper = np.log(np.array(pairs[-3:], dtype=np.float64))
    return float(np.polyfit(upper[:, 0], upper[:, 1], 1)[0]) if len(upper) > 1 else float("nan")


def _line(row: dict[str, Any]) -> str:
    name = f"{row['method']} in {row['letter']}"
    return f"{name}: {row['size']}: {row['seconds']:.3g} s {row['peak_bytes'] / 2**20:.1f} MiB"


def growth_table(rows: Sequence[dict[str, Any]]) -> str:
    """Sizes from the smallest to the largest, exponents, memory at the largest."""
    lines = ["| method | grows | beside | seconds | exponent | peak MiB beyond the data | exponent | data MiB |"]
    lines.append("|" + "---|" * 8)
    for (method, letter, fixed), group in groupby(rows, key=itemgetter("method", "letter", "fixed")):
        measured = list(group)
        first, last = measured[0], measured[-1]
        seconds = f"{first['seconds']:.3g} to {last['seconds']:.3g}"
        peaks = f"{first['peak_bytes'] / 2**20:.1f} to {last['peak_bytes'] / 2**20:.0f}"
        grows = f"{letter}: {first['size']:,} to {last['size']:,}"
        in_time, in_memory = (
            f"{_exponent([(one['size'], one[name]) for one in measured]):.2f}" for name in ("seconds", "peak_bytes")
        )
        data = f"{last['data_bytes'] / 2**20:.0f}"
        times, memory = f"{seconds} | {in_time}", f"{peaks} | {in_memory} | {data}"
        lines.append(f"| {method} | {grows} | {fixed} | {times} | {memory} |")
    return "\n".join(lines)
