"""How long it takes to find the weights of a step from inner products of gradients, and how right they are.

    python benchmarks/weight_solvers.py [--tasks 2 5 10 40] [--repeats 9] [--budget 0.01]

K gradients that lean to one side, of 2 K + 4 coordinates and of similar norm ("plain") or of norms that differ by up to
100 ("unequal"); or K gradients of K / 2 coordinates that lean to no side ("deficient": their Gramian is singular, and
many methods have nothing to gain). Three ways take turns on the same Gramians: this library compiled by numba, this
library without it (a second process with TASKLOOM_NO_NUMBA=1), and the weightings of TorchJD 0.18.0 with their default
settings. One thread each. What is timed goes from a Gramian tensor to a weight tensor: for us the link of the method
alone ("numba", "NumPy") and the public call ``balancer.weights(gramian)`` of the whole method, with its checks
("call"). Times are processor times, so that other work on the machine counts as little as it can: medians over repeats
with their range; the smallest is nearest to an idle machine.

Ours is asserted to meet the optimality conditions of each method to 1e-7 (where it has such), and both of ours to
agree. "error" is the relative distance between TorchJD's directions and ours: what an inexact solver or a ridge makes
of the equations; PCGrad and GradVac visit tasks in random order there, so theirs are not compared.

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

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"  # before anything imports numpy or torch

HERE = Path(__file__).parent
SOLVED = ("mgda", "cagrad", "nash_mtl", "fairgrad", "upgrad", "dualproj")
DIRECT = ("pcgrad", "gradvac", "imtl_g", "config", "aligned_mtl", "krum")
METHODS = (*SOLVED, *DIRECT)
IN_RANDOM_ORDER = ("pcgrad", "gradvac")  # in TorchJD; ours visits tasks in order here
NEED_A_SOLUTION = ("nash_mtl", "fairgrad", "imtl_g", "config")  # which singular Gramians do not have
KINDS = ("plain", "unequal", "deficient")
GRAMIANS = 3  # per row of the table


def problems(n_tasks: int, kind: str) -> list[Any]:
    """Jacobians (K, P)."""
    import torch

    generator = torch.Generator().manual_seed(n_tasks)
    size = n_tasks // 2 if kind == "deficient" else 2 * n_tasks + 4
    found = []
    for _ in range(GRAMIANS):
        rows = torch.randn(n_tasks, size, generator=generator, dtype=torch.float64)
        exponents = 2 * torch.rand(n_tasks, 1, generator=generator, dtype=torch.float64) - 1
        lean = 0.3 * torch.randn(size, generator=generator, dtype=torch.float64)
        if kind == "deficient":
            found.append(rows)
        else:
            found.append((10**exponents if kind == "unequal" else 1.0) * (rows + lean))
    return found


def ours() -> dict[str, Callable[[Any], Any]]:
    """Weights from a Gramian: the links alone, without a bound on the length."""
    import torch

    from taskloom.balance.mix.gradvac import _turned
    from taskloom.balance.mix.pcgrad import project_conflicts
    from taskloom.balance.mix.upgrad import project_dual_cone
    from taskloom.balance.reduce.aligned_mtl import aligned_mtl
    from taskloom.balance.reduce.cagrad import CAGrad
    from taskloom.balance.reduce.config import config
    from taskloom.balance.reduce.dualproj import dualproj
    from taskloom.balance.reduce.fairgrad import FairGrad
    from taskloom.balance.reduce.imtl_g import imtl_g
    from taskloom.balance.reduce.krum import krum
    from taskloom.balance.reduce.mgda import Mgda
    from taskloom.balance.reduce.nash_mtl import Bargain

    projection, surgery = project_dual_cone(), project_conflicts("ascending")
    remembered: dict[int, Any] = {}

    def vaccinated(gramian: Any) -> Any:
        n_tasks = len(gramian)
        target, keys = remembered.setdefault(n_tasks, (torch.zeros_like(gramian), torch.zeros_like(gramian)))
        mix, target = _turned(gramian, target, keys, 0.5)
        remembered[n_tasks] = target, keys
        return mix.sum(0)

    def first(balancer: Any) -> Any:
        return next(iter(balancer)).weights

    return {
        "mgda": Mgda("none", "raw").weights,
        "cagrad": CAGrad(0.4, 0).weights,
        "nash_mtl": Bargain("regularise").weights,
        "fairgrad": FairGrad(2.0, "regularise").weights,
        "upgrad": lambda gramian: projection.mix(gramian).mean(0),
        "dualproj": first(dualproj()),
        "pcgrad": lambda gramian: surgery.mix(gramian).sum(0),
        "gradvac": vaccinated,
        "imtl_g": first(imtl_g()),
        "config": first(config()),
        "aligned_mtl": first(aligned_mtl()),
        "krum": first(krum()),
    }


def theirs(n_tasks: int) -> dict[str, Callable[[Any, Any], Any]]:
    """Weights from (Gramian, Jacobian); Nash-MTL and ConFIG look at the Jacobian there."""
    from torchjd import aggregation
    from torchjd.aggregation._nash_mtl import _NashMTLWeighting

    def on_gramian(weighting: Any) -> Callable[[Any, Any], Any]:
        return lambda gramian, rows: weighting(gramian)

    nash = _NashMTLWeighting(n_tasks=n_tasks, max_norm=0.0, update_weights_every=1, optim_niter=20)
    conflict_free = aggregation.ConFIG()

    return {
        "mgda": on_gramian(aggregation.MGDAWeighting()),
        "cagrad": on_gramian(aggregation.CAGradWeighting(c=0.4)),
        "nash_mtl": lambda gramian, rows: nash(rows),  # keeps its program and starts from its last weights, as in use
        "fairgrad": on_gramian(aggregation.FairGradWeighting(alpha=2.0)),
        "upgrad": on_gramian(aggregation.UPGradWeighting()),
        "dualproj": on_gramian(aggregation.DualProjWeighting()),
        "pcgrad": on_gramian(aggregation.PCGradWeighting()),
        "gradvac": on_gramian(aggregation.GradVacWeighting(beta=0.5)),
        "imtl_g": on_gramian(aggregation.IMTLGWeighting()),
        "config": lambda gramian, rows: conflict_free(rows),  # the direction itself
        "aligned_mtl": on_gramian(aggregation.AlignedMTLWeighting()),
        "krum": on_gramian(aggregation.KrumWeighting(n_byzantine=0, n_selected=1)),
    }


# -- correctness ------------------------------------------------------------------------------------------------------


def violation(method: str, rows: Any, weights: Any) -> float:
    """How far weights are from the optimality conditions of a method, relative; 0 for methods without such."""
    from taskloom.balance._solve import conflict_averse
    from taskloom.balance.mix.upgrad import project_dual_cone

    direction = weights @ rows
    progress = rows @ direction
    scale = float((rows.norm(dim=1) * direction.norm()).max())
    if method in ("imtl_g", "config"):
        along = progress / rows.norm(dim=1)
        return float((along - along.mean()).abs().max() / along.abs().max())
    if method in DIRECT:
        return 0.0
    if method == "mgda":
        gap = direction.square().sum() - progress.min()
        longest = float(rows.norm(dim=1).max()) ** 2  # the shortest vector may be zero
        return max(float(gap) / max(scale, 1e-7 * longest), float(-weights.min()), abs(float(weights.sum()) - 1))
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
        assert float((projections.mean(0) - direction).norm()) <= 1e-9 * float(rows.norm())
        return max(float(-(projections @ rows.T).min()), float(given_up)) / float(rows.norm(dim=1).max()) ** 2
    given_up = ((rows.mean(0) - direction) @ direction).abs()
    return max(float(-progress.min()), float(given_up)) / float(rows.norm(dim=1).max()) ** 2


def distance(found: Any, reference: Any, rows: Any) -> float:
    """Of directions, relative; directions shorter than a thousandth of the longest gradient count as that long."""
    return float((found - reference).norm()) / max(float(reference.norm()), 1e-3 * float(rows.norm(dim=1).max()))


# -- timing -----------------------------------------------------------------------------------------------------------


def seconds(function: Callable[[], Any], budget: float) -> float:
    """Mean processor time of a call: as many calls as fit into ``budget`` seconds, at least one."""
    start = time.process_time()
    function()
    once = time.process_time() - start
    if once > budget:
        return once
    calls = max(1, int(budget / max(once, 1e-6)))
    start = time.process_time()
    for _ in range(calls):
        function()
    return (time.process_time() - start) / calls


class Ours:
    """This library in this process."""

    def __init__(self) -> None:
        import torch

        torch.set_num_threads(1)
        self.solvers = ours()
        self.given: dict[tuple[int, str], list[Any]] = {}
        self.balancers: dict[tuple[str, int], Any] = {}

    def gramians(self, n_tasks: int, kind: str) -> list[Any]:
        if (n_tasks, kind) not in self.given:
            self.given[n_tasks, kind] = [rows @ rows.T for rows in problems(n_tasks, kind)]
        return self.given[n_tasks, kind]

    def weights(self, method: str, n_tasks: int, kind: str) -> list[list[float]]:
        return [self.solvers[method](gramian).tolist() for gramian in self.gramians(n_tasks, kind)]

    def time(self, method: str, n_tasks: int, kind: str, budget: float) -> float:
        """The link alone."""
        solve, gramians = self.solvers[method], self.gramians(n_tasks, kind)
        return seconds(lambda: [solve(gramian) for gramian in gramians], budget) / len(gramians)

    def time_call(self, method: str, n_tasks: int, kind: str, budget: float) -> float:
        """The public call of the whole method with its defaults."""
        import taskloom as tl

        if (method, n_tasks) not in self.balancers:
            self.balancers[method, n_tasks] = getattr(tl, method)()
        solve, gramians = self.balancers[method, n_tasks].weights, self.gramians(n_tasks, kind)
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


def measure(method: str, n_tasks: int, kind: str, here: Ours, elsewhere: OursElsewhere, options: Any) -> dict[str, Any]:
    """One row of the table."""
    import torch

    jacobians, gramians = problems(n_tasks, kind), here.gramians(n_tasks, kind)
    their_solver = theirs(n_tasks)[method]

    def solve_theirs() -> list[Any]:
        return [their_solver(gramian, rows) for gramian, rows in zip(gramians, jacobians, strict=True)]

    own = [torch.tensor(w, dtype=torch.float64) for w in here.weights(method, n_tasks, kind)]
    plain = [torch.tensor(w, dtype=torch.float64) for w in elsewhere.call("weights", method, n_tasks, kind)]
    has_solution = kind != "deficient" or method not in NEED_A_SOLUTION
    worst = max(violation(method, rows, w) for w, rows in zip(own, jacobians, strict=True)) if has_solution else 0.0
    assert worst <= 1e-7, f"{method}, K = {n_tasks}, {kind}: off by {worst:.1e}"
    if method != "gradvac":  # which remembers the steps before
        apart = max(distance(a @ rows, b @ rows, rows) for a, b, rows in zip(plain, own, jacobians, strict=True))
        assert apart <= 1e-6, f"{method}, K = {n_tasks}, {kind}: compiled and plain differ by {apart:.1e}"
    with contextlib.redirect_stdout(io.StringIO()):
        errors = []
        if method not in IN_RANDOM_ORDER and has_solution:
            for answer, weights, rows in zip(solve_theirs(), own, jacobians, strict=True):
                found = answer if method == "config" else answer @ rows
                errors.append(distance(found, weights @ rows, rows))
        times: dict[str, list[float]] = {"numba": [], "numpy": [], "call_numba": [], "call_numpy": [], "torchjd": []}
        for _ in range(options.repeats):
            for label, name in (("", "time"), ("call_", "time_call")):
                times[f"{label}numba"].append(getattr(here, name)(method, n_tasks, kind, options.budget))
                times[f"{label}numpy"].append(elsewhere.call(name, method, n_tasks, kind, options.budget))
            if sum(times["torchjd"]) * len(gramians) < options.patience:
                times["torchjd"].append(seconds(solve_theirs, options.budget) / len(gramians))
    return {
        "method": method,
        "tasks": n_tasks,
        "kind": kind,
        "violation": worst,
        **{label: spread(values) for label, values in times.items()},
        "torchjd_repeats": len(times["torchjd"]),
        "torchjd_error_largest": max(errors, default=None),
        "ratio_numba": statistics.median(times["torchjd"]) / statistics.median(times["numba"]),
        "ratio_numpy": statistics.median(times["torchjd"]) / statistics.median(times["numpy"]),
    }


def text_of(row: dict[str, Any]) -> str:
    def time_of(label: str) -> str:
        return f"{row[label]['median_us']:9.0f} ({row[label]['low_us']:.0f})"

    error = row["torchjd_error_largest"]
    cells = "".join(f"{time_of(label):<18}" for label in ("numba", "numpy", "call_numba", "call_numpy", "torchjd"))
    return (
        f"{row['method']:<12}{row['tasks']:>3}  {row['kind']:<10}{cells}{row['ratio_numba']:7.1f}"
        f"{row['ratio_numpy']:8.1f}  {'' if error is None else f'{error:.0e}'}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, nargs="+", default=[2, 5, 10, 40], help="numbers of tasks K")
    parser.add_argument("--repeats", type=int, default=9, help="turns")
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
    print("microseconds of processor time per solution: median (smallest)")
    labels = "".join(f"    {label:<14}" for label in ("numba", "NumPy", "call, numba", "call, NumPy", "TorchJD"))
    print(f"{'method':<12}{'K':>3}  {'kind':<10}{labels}{'x numba':>7}{'x NumPy':>8}  largest error of TorchJD")
    with torch.no_grad():
        for n_tasks in options.tasks:
            for kind in KINDS:
                for method in METHODS[: -1 if n_tasks < 3 else None]:  # Krum needs three
                    table.append(measure(method, n_tasks, kind, here, elsewhere, options))
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
