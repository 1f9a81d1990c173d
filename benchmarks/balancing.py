"""What a step under a balancing method costs here, in TorchJD, and with one backward pass per task.

    python benchmarks/balancing.py [--workloads tabular wide] [--tasks 2 10] [--methods mgda upgrad] [--seconds 2]
    python benchmarks/balancing.py --quick
    python benchmarks/balancing.py --device cuda

For every workload, number of tasks K and method, whole training steps (forward, losses, backward, SGD) take turns in
one process, in random order:

* equal: ``sum(losses).backward()``, what all others are divided by;
* taskloom: ``tl.balance(losses, balancer, shared=...)`` as it comes;
* TorchJD 0.18.0: ``mtl_backward`` and ``jac_to_grad``, or its autogram engine, in the setting that is quickest for this
  workload and K (tried once with Aligned-MTL; all tasks at once or one by one, Gramians summed or gradients laid end to
  end; the tries are in the JSON), with its own solvers as they come;
* K passes: one ``backward()`` per task, every gradient flattened into a row, as LibMTL does; weights from this library,
  so that only the way to the gradients differs.

Times are processor time on one thread (on a GPU: between CUDA events), after first steps that are not counted: no
compiling, no check of a first step, no first allocations are in them. Ratios are taken within a turn; printed are
medians, in the JSON also ranges. A cell takes five turns, three where five take more than ten seconds, and more turns
until they have taken two.

Right: the shared gradient of the first step is compared with one backward pass per task in float64 under the same
method, ``||d - d64|| / ||d64||``. "float32" is what rounding alone does (gradients of plain float32 passes, exact
weights); it is large where an activation changes sign. This library is asserted to add at most ``ALLOWED`` to twice
that, the K passes, whose Gramian is added up in float32, ``ALLOWED_PLAIN``. TorchJD's error is only noted: its solvers
have tolerances of their own, its PCGrad another random order.

Memory: the most bytes alive during a step beyond model and batch (see ``_measuring.peak_bytes``), in runs of their own,
once per workload and K, with the first of the methods.

Needs numba and the extra ``benchmarks``. Writes balancing.json (balancing-cuda.json) beside this file after every
workload and K, unless cells were selected; ``--output`` names another file.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import statistics
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _process  # noqa: F401  first: sets what PyTorch reads when it is loaded
import torch
from _measuring import peak_bytes, relative_error, seconds_of, setting_of, spread
from _tables import markdown, one_line, shortfalls
from _ways import METHODS, REFUSALS, Method, Setting, Way, by_k_passes, by_taskloom, by_torchjd, decide, equal
from _workloads import Work, make_work
from torch import Tensor

from taskloom.engine import AutogradEngine
from taskloom.engine.base import ParameterRows
from taskloom.solvers._compiled import IS_COMPILED

HERE = Path(__file__).parent

# workload -> numbers of tasks; 40 where a turn takes seconds, not minutes
TASKS: dict[str, tuple[int, ...]] = {
    "tabular": (2, 5, 10, 40),
    "wide": (2, 5, 10),
    "lenet": (2, 5, 10),
    "resnet": (2, 5, 10),
    "transformer": (2, 5, 10),
    "recommender": (2, 5, 10),
    "own batches": (2, 5, 10),
    "one label": (2, 5, 10, 40),
    "tiny": (),
}
ALLOWED, ALLOWED_PLAIN = 1e-4, 1e-2


class Reference:
    """Task gradients of a workload in float64, by one backward pass each, and the same in float32."""

    def __init__(self, work: Work) -> None:
        (_, self.rounded), (losses, self.exact) = (_plain_rows(work.copy(dtype)) for dtype in (None, torch.float64))
        self.losses = losses.float()  # cut-offs of methods are those of float32 gradients
        self.gramian = self.exact.gramian()

    def direction(self, method: Method) -> tuple[list[Tensor], float]:
        """What a step of a method should follow, one tensor per shared parameter, and how far off float32 is."""
        weights = decide(method.ours(), self.losses, self.gramian)
        exact = [one for one in self.exact.gradients(weights) if one is not None]
        return exact, relative_error(self.rounded.gradients(weights), exact)

    def condition(self) -> float:
        """Condition number of the task gradients scaled to length 1: how much methods may amplify rounding."""
        lengths = self.gramian.diagonal().sqrt().clamp(min=1e-300)
        values = torch.linalg.eigvalsh(self.gramian / lengths / lengths.unsqueeze(1))
        return float((values[-1] / values[0].clamp(min=1e-300)).sqrt())


def _plain_rows(work: Work) -> tuple[Tensor, ParameterRows]:
    losses = list(work.losses().values())
    return torch.stack(losses).detach(), AutogradEngine().rows(losses, list(work.shared.parameters()))


def best_settings(fresh: Work, n_tasks: int, device: torch.device) -> tuple[list[Setting], dict[str, Any]]:
    """TorchJD's settings, the quickest first, and the ratio of each to the equal-weight step or why it is refused."""
    method = METHODS["aligned_mtl"]
    plain = equal(fresh.copy())
    plain.step()
    unit = min(seconds_of(plain.step, device) for _ in range(3))
    times: dict[Setting, float] = {}
    refused: dict[str, str] = {}

    def attempt(setting: Setting) -> None:
        try:
            way = by_torchjd(fresh.copy(), method.theirs(n_tasks), setting)
            way.step()
            times[setting] = min(seconds_of(way.step, device) for _ in range(2)) / unit
        except REFUSALS as error:
            refused[str(setting)] = f"{type(error).__name__}: {error}".splitlines()[0]

    for setting in (Setting(chunk=None, optimise=True), Setting(chunk=1, optimise=True), Setting("autogram")):
        attempt(setting)
    by_jacobian = [setting for setting in times if setting.engine == "autojac"]
    chunk = min(by_jacobian, key=times.__getitem__).chunk if by_jacobian else 1
    attempt(Setting(chunk=chunk))
    known = sorted(times, key=times.__getitem__)
    return known, {**{str(setting): times[setting] for setting in known}, **refused}


def torchjd_of(
    work: Work, method: Method, n_tasks: int, settings: Sequence[Setting]
) -> tuple[Way | None, list[Tensor | None], str]:
    """The quickest setting that the method has, its first gradient and its name; or None, nothing, and why."""
    reason = "no setting works for this network"
    for setting in settings:
        try:
            way = by_torchjd(work, method.theirs(n_tasks), setting)
            return way, way.gradient(), str(setting)
        except REFUSALS as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
    return None, [], reason


def memory(fresh: Work, n_tasks: int, name: str, settings: Sequence[Setting], device: torch.device) -> dict[str, Any]:
    """Peak bytes of a step of every way under one method."""
    method = METHODS[name]
    found: dict[str, Any] = {"method": name, "equal": peak_bytes(equal(fresh.copy()).step, device)}
    found["taskloom"] = peak_bytes(by_taskloom(fresh.copy(), method).step, device)
    way, _, _ = torchjd_of(fresh.copy(), method, n_tasks, settings)
    found["torchjd"] = None if way is None else peak_bytes(way.step, device)
    found["k_passes"] = peak_bytes(by_k_passes(fresh.copy(), method).step, device)
    return found


def measure(
    fresh: Work, reference: Reference, n_tasks: int, name: str, settings: Sequence[Setting], given: argparse.Namespace
) -> dict[str, Any]:
    """One cell: errors of the first step, then turns."""
    method, work, device = METHODS[name], fresh.copy(), torch.device(given.device)
    ways = {"taskloom": by_taskloom(work, method), "k_passes": by_k_passes(work, method)}
    exact, rounding = reference.direction(method)
    errors = {label: relative_error(way.gradient(), exact) for label, way in ways.items()}
    theirs, gradient, setting = torchjd_of(work, method, n_tasks, settings)
    if theirs is not None:
        ways["torchjd"], errors["torchjd"] = theirs, relative_error(gradient, exact)
    del exact, gradient
    for label, allowed in (("taskloom", ALLOWED), ("k_passes", ALLOWED_PLAIN)):
        found = errors[label]
        assert found <= allowed + 2 * rounding, f"{name}: {label} is off by {found:.1e}, float32 by {rounding:.1e}"
    errors["float32"] = rounding
    ways["equal"] = equal(work)
    for label in ("equal", "taskloom"):  # the others are warm, and have no first step of another kind
        ways[label].step()
    times: dict[str, list[float]] = {label: [] for label in ways}
    while goes_on(len(times["equal"]), sum(map(sum, times.values())), given):
        # what a step leaves of free memory changes the time of the next one, so everybody follows everybody
        for label in random.sample(list(ways), len(ways)):
            times[label].append(seconds_of(ways[label].step, device))
    peers = [label for label in ("torchjd", "k_passes") if label in ways]
    quickest = min(peers, key=lambda label: statistics.median(times[label]))
    return {
        "method": name,
        "turns": len(times["equal"]),
        "equal_ms": spread(1e3 * one for one in times["equal"]),
        "ratio": {label: _ratios(times, label, "equal") for label in ("taskloom", *peers)},
        "quickest_peer": quickest,
        "to_quickest_peer": _ratios(times, "taskloom", quickest),
        "error": errors,
        "torchjd": setting,
    }


def goes_on(n_turns: int, seconds: float, given: argparse.Namespace) -> bool:
    """Whether a cell gets one more turn."""
    if seconds < given.seconds:
        return True
    return n_turns < given.turns and (n_turns < 3 or seconds * given.turns / n_turns < given.longest)


def _ratios(times: dict[str, list[float]], over: str, under: str) -> dict[str, float]:
    return spread(one / other for one, other in zip(times[over], times[under], strict=True))


def block(workload: str, n_tasks: int, given: argparse.Namespace) -> dict[str, Any]:
    """All methods on one workload with one number of tasks."""
    device = torch.device(given.device)
    fresh = make_work(workload, n_tasks, device=device)
    settings, tries = best_settings(fresh, n_tasks, device)
    found: dict[str, Any] = {
        "workload": workload,
        "tasks": n_tasks,
        "shared_parameters": sum(one.numel() for one in fresh.shared.parameters()),
        "torchjd_settings": tries,
        "peak_bytes": memory(fresh, n_tasks, given.methods[0], settings, device),
    }
    reference = Reference(fresh)
    found["condition"] = reference.condition()
    found["cells"] = []
    for name in given.methods:
        found["cells"].append(measure(fresh, reference, n_tasks, name, settings, given))
        print(one_line(found, found["cells"][-1]), flush=True)
        gc.collect()
    return found


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", nargs="+", choices=TASKS, help="default: all but tiny")
    parser.add_argument("--tasks", nargs="+", type=int, help="numbers of tasks K; default: see TASKS")
    parser.add_argument("--methods", nargs="+", choices=METHODS, help="default: all")
    parser.add_argument("--turns", type=int, default=5, help="turns per cell, and")
    parser.add_argument("--seconds", type=float, default=2.0, help="more until they have taken so long;")
    parser.add_argument("--longest", type=float, default=10.0, help="three where all would take longer than this")
    parser.add_argument("--quick", action="store_true", help="three workloads, K = 5, two methods, three turns")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, help="JSON file")
    given = parser.parse_args()
    if given.quick:
        given.workloads = given.workloads or ["tabular", "own batches", "one label"]
        given.tasks, given.methods = given.tasks or [5], given.methods or ["pcgrad", "upgrad"]
        given.turns, given.seconds = 3, 0.0
    if given.output is None and not (given.workloads or given.tasks or given.methods):
        given.output = HERE / f"balancing{'' if given.device == 'cpu' else '-' + given.device}.json"
    given.workloads = given.workloads or [name for name, tasks in TASKS.items() if tasks]
    given.methods = given.methods or list(METHODS)
    return given


def main() -> None:
    given = read_arguments()
    assert IS_COMPILED, "install numba (pip install taskloom[fast]) and unset TASKLOOM_NO_NUMBA"
    torch.set_num_threads(1)
    random.seed(0)
    warnings.filterwarnings("ignore", module="torch|torchjd|cvxpy")
    found: dict[str, Any] = {"setting": setting_of(torch.device(given.device)), "blocks": []}
    for workload in given.workloads:
        for n_tasks in given.tasks or TASKS[workload]:
            found["blocks"].append(block(workload, n_tasks, given))
            gc.collect()
            if given.output is not None:
                given.output.write_text(json.dumps(found, indent=1) + "\n")
    print(markdown(found["blocks"]))
    print(shortfalls(found["blocks"]))


if __name__ == "__main__":
    main()
