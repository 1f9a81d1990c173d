"""How long it takes to find the weights of a step from inner products of gradients, and how right they are.

    python benchmarks/weight_solvers.py [--tasks 2 5 10 40] [--repeats 7] [--budget 0.01]

K gradients of 2 K + 4 coordinates that lean to one side, of similar norm ("plain") or of norms that differ by up to 100
("unequal"). Three ways take turns on the same Gramians: this library compiled by numba, this library as plain NumPy (a
second process with TASKLOOM_NO_NUMBA=1), and the weightings of TorchJD 0.18.0 with their default settings. One thread
each. What is timed goes from a Gramian tensor to a weight tensor. Times are medians over repeats, with their range.

Ours is asserted to meet the optimality conditions of each method to 1e-7, and both of ours to agree. "error" is the
relative distance between TorchJD's directions and ours: what an inexact solver or a ridge makes of the equations.

Needs numba and the extra ``benchmarks``. Prints a table and writes weight_solvers.json beside this file.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
METHODS = ("mgda", "cagrad", "nash_mtl", "fairgrad", "upgrad", "dualproj")
SCALES = {"plain": 0.0, "unequal": 1.0}
GRAMIANS = 3  # per row of the table


def problems(n_tasks: int, scale: float) -> list[Any]:
    """Jacobians (K, P) with leaning gradients, so that every method has a solution."""
    import torch

    generator = torch.Generator().manual_seed(n_tasks)
    found = []
    for _ in range(GRAMIANS):
        rows = torch.randn(n_tasks, 2 * n_tasks + 4, generator=generator, dtype=torch.float64)
        norms = 10 ** (scale * (2 * torch.rand(n_tasks, 1, generator=generator, dtype=torch.float64) - 1))
        found.append(norms * (rows + 0.3 * torch.randn(rows.shape[1], generator=generator, dtype=torch.float64)))
    return found


def ours() -> dict[str, Callable[[Any], Any]]:
    """Weights from a Gramian: the links alone, without a bound on the length."""
    from taskloom.balance.mix.upgrad import project_dual_cone
    from taskloom.balance.reduce.cagrad import CAGrad
    from taskloom.balance.reduce.dualproj import dualproj
    from taskloom.balance.reduce.fairgrad import FairGrad
    from taskloom.balance.reduce.mgda import Mgda
    from taskloom.balance.reduce.nash_mtl import Bargain

    projection = project_dual_cone()
    return {
        "mgda": Mgda("none", "raw").weights,
        "cagrad": CAGrad(0.4, 0).weights,
        "nash_mtl": Bargain("regularise").weights,
        "fairgrad": FairGrad(2.0, "regularise").weights,
        "upgrad": lambda gramian: projection.mix(gramian).mean(0),
        "dualproj": next(iter(dualproj())).weights,
    }


def theirs(n_tasks: int) -> dict[str, Callable[[Any, Any], Any]]:
    """Weights from (Gramian, Jacobian); Nash-MTL looks at the Jacobian there."""
    from torchjd import aggregation
    from torchjd.aggregation._nash_mtl import _NashMTLWeighting

    def on_gramian(weighting: Any) -> Callable[[Any, Any], Any]:
        return lambda gramian, rows: weighting(gramian)

    nash = _NashMTLWeighting(n_tasks=n_tasks, max_norm=0.0, update_weights_every=1, optim_niter=20)

    return {
        "mgda": on_gramian(aggregation.MGDAWeighting()),
        "cagrad": on_gramian(aggregation.CAGradWeighting(c=0.4)),
        "nash_mtl": lambda gramian, rows: nash(rows),  # keeps its program and starts from its last weights, as in use
        "fairgrad": on_gramian(aggregation.FairGradWeighting(alpha=2.0)),
        "upgrad": on_gramian(aggregation.UPGradWeighting()),
        "dualproj": on_gramian(aggregation.DualProjWeighting()),
    }


# -- correctness ------------------------------------------------------------------------------------------------------


def violation(method: str, rows: Any, weights: Any) -> float:
    """How far weights are from the optimality conditions of a method, relative."""
    from taskloom.balance._solve import conflict_averse
    from taskloom.balance.mix.upgrad import project_dual_cone

    direction = weights @ rows
    progress = rows @ direction
    scale = float((rows.norm(dim=1) * direction.norm()).max())
    if method == "mgda":
        gap = direction.square().sum() - progress.min()
        return max(float(gap), float(-weights.min()), abs(float(weights.sum()) - 1)) / max(scale, 1e-300)
    if method == "nash_mtl":
        return float((weights * progress - 1).abs().max())
    if method == "fairgrad":
        return float((weights.sqrt() * progress - 1).abs().max())
    if method == "cagrad":
        mean = rows.mean(0)
        point = conflict_averse(rows @ rows.T, 0.4)
        objective = point @ rows @ mean + 0.4 * mean.norm() * (point @ rows).norm()
        return float((progress.min() - objective).abs()) / scale
    if method == "upgrad":  # every projection opposes nobody and is orthogonal to what was given up
        projections = project_dual_cone().mix(rows @ rows.T) @ rows
        given_up = ((rows - projections) * projections).sum(1).abs().max()
        assert distance(projections.mean(0), direction) <= 1e-9
        return max(float(-(projections @ rows.T).min()), float(given_up)) / float(rows.norm(dim=1).max()) ** 2
    given_up = ((rows.mean(0) - direction) @ direction).abs()
    return max(float(-progress.min()), float(given_up)) / scale


def distance(found: Any, reference: Any) -> float:
    return float((found - reference).norm() / reference.norm())


# -- timing -----------------------------------------------------------------------------------------------------------


def seconds(function: Callable[[], Any], budget: float) -> float:
    """Mean time of a call: as many calls as fit into ``budget`` seconds, at least one."""
    start = time.perf_counter()
    function()
    once = time.perf_counter() - start
    if once > budget:
        return once
    calls = max(1, int(budget / once))
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - start) / calls


class Ours:
    """This library in this process."""

    def __init__(self) -> None:
        import torch

        torch.set_num_threads(1)
        self.solvers = ours()
        self.given: dict[tuple[int, str], list[Any]] = {}

    def gramians(self, n_tasks: int, scale: str) -> list[Any]:
        if (n_tasks, scale) not in self.given:
            self.given[n_tasks, scale] = [rows @ rows.T for rows in problems(n_tasks, SCALES[scale])]
        return self.given[n_tasks, scale]

    def weights(self, method: str, n_tasks: int, scale: str) -> list[list[float]]:
        return [self.solvers[method](gramian).tolist() for gramian in self.gramians(n_tasks, scale)]

    def time(self, method: str, n_tasks: int, scale: str, budget: float) -> float:
        solve, gramians = self.solvers[method], self.gramians(n_tasks, scale)
        return seconds(lambda: [solve(gramian) for gramian in gramians], budget) / len(gramians)


class OursElsewhere:
    """This library in a process without numba; takes the same calls."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TASKLOOM_NO_NUMBA": "1"},
        )

    def call(self, name: str, *arguments: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([name, *arguments]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def serve() -> None:
    """Answer the calls of :class:`OursElsewhere`."""
    from taskloom.solvers._compiled import IS_COMPILED

    assert not IS_COMPILED
    here = Ours()
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        sys.stdout.write(json.dumps(getattr(here, name)(*arguments)) + "\n")
        sys.stdout.flush()


def spread(times: list[float]) -> dict[str, float]:
    return {"median_us": 1e6 * statistics.median(times), "low_us": 1e6 * min(times), "high_us": 1e6 * max(times)}


def measure(
    method: str, n_tasks: int, scale: str, here: Ours, elsewhere: OursElsewhere, options: Any
) -> dict[str, Any]:
    """One row of the table."""
    import torch

    jacobians = problems(n_tasks, SCALES[scale])
    gramians = here.gramians(n_tasks, scale)
    their_solver = theirs(n_tasks)[method]

    def solve_theirs() -> list[Any]:
        return [their_solver(gramian, rows) for gramian, rows in zip(gramians, jacobians, strict=True)]

    own = [torch.tensor(w, dtype=torch.float64) for w in here.weights(method, n_tasks, scale)]
    plain = [torch.tensor(w, dtype=torch.float64) for w in elsewhere.call("weights", method, n_tasks, scale)]
    worst = max(violation(method, rows, w) for w, rows in zip(own, jacobians, strict=True))
    assert worst <= 1e-7, f"{method}, K = {n_tasks}, {scale}: off by {worst:.1e}"
    apart = max(distance(a @ rows, b @ rows) for a, b, rows in zip(plain, own, jacobians, strict=True))
    assert apart <= 1e-7, f"{method}, K = {n_tasks}, {scale}: compiled and plain differ by {apart:.1e}"
    with contextlib.redirect_stdout(io.StringIO()):
        answers = solve_theirs()
        errors = [distance(a @ rows, b @ rows) for a, b, rows in zip(answers, own, jacobians, strict=True)]
        times: dict[str, list[float]] = {"numba": [], "numpy": [], "torchjd": []}
        for _ in range(options.repeats):
            times["numba"].append(here.time(method, n_tasks, scale, options.budget))
            times["numpy"].append(elsewhere.call("time", method, n_tasks, scale, options.budget))
            if sum(times["torchjd"]) * len(gramians) < options.patience:
                times["torchjd"].append(seconds(solve_theirs, options.budget) / len(gramians))
    return {
        "method": method,
        "tasks": n_tasks,
        "scale": scale,
        "violation": worst,
        **{label: spread(values) for label, values in times.items()},
        "torchjd_repeats": len(times["torchjd"]),
        "torchjd_error_median": statistics.median(errors),
        "torchjd_error_largest": max(errors),
        "ratio_numba": statistics.median(times["torchjd"]) / statistics.median(times["numba"]),
        "ratio_numpy": statistics.median(times["torchjd"]) / statistics.median(times["numpy"]),
    }


def text_of(row: dict[str, Any]) -> str:
    def time_of(label: str) -> str:
        one = row[label]
        return f"{one['median_us']:9.0f} ({one['low_us']:.0f}-{one['high_us']:.0f})"

    return (
        f"{row['method']:<9}{row['tasks']:>3}  {row['scale']:<8}{time_of('numba'):<24}{time_of('numpy'):<26}"
        f"{time_of('torchjd'):<32}{row['ratio_numba']:7.1f}{row['ratio_numpy']:8.1f}"
        f"  {row['torchjd_error_median']:.0e} {row['torchjd_error_largest']:.0e}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, nargs="+", default=[2, 5, 10, 40], help="numbers of tasks K")
    parser.add_argument("--repeats", type=int, default=7, help="turns")
    parser.add_argument("--budget", type=float, default=0.01, help="seconds per turn, more where one call takes longer")
    parser.add_argument(
        "--patience", type=float, default=1.0, help="seconds per row after which TorchJD gets no more turn"
    )
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    import torch

    from taskloom.solvers._compiled import IS_COMPILED

    assert IS_COMPILED, "install numba (pip install taskloom[fast]) and unset TASKLOOM_NO_NUMBA"
    warnings.simplefilter("ignore")
    here, elsewhere, table = Ours(), OursElsewhere(), []
    print("microseconds per solve: median (range)")
    print(
        f"{'method':<9}{'K':>3}  {'norms':<8}{'    numba':<24}{'    NumPy':<26}{'  TorchJD':<32}"
        f"{'x numba':>7}{'x NumPy':>8}  error of TorchJD: median, largest"
    )
    with torch.no_grad():
        for n_tasks in options.tasks:
            for scale in SCALES:
                for method in METHODS:
                    table.append(measure(method, n_tasks, scale, here, elsewhere, options))
                    print(text_of(table[-1]), flush=True)
    elsewhere.close()
    found = {
        "gramians_per_row": GRAMIANS,
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "numpy", "numba", "torchjd", "cvxpy", "qpsolvers", "scipy")},
        },
        "rows": table,
    }
    (HERE / "weight_solvers.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
