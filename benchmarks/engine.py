"""What a step with per-task gradients costs beside an ordinary one, and how exact it is.

    python benchmarks/engine.py [--only mlp lenet] [--seconds 1.5] [--threads 1]

For every workload and number of tasks, whole training steps (forward, losses, backward, SGD) take turns in one process:

* equal weights: ``sum(losses).backward()``;
* ``tl.balance(losses, tl.pcgrad(), ...)`` with ``AutogradEngine``, one backward pass per task;
* the same with ``LayerEngine``, the default.

Printed are medians over turns of the ratio to the equal-weight step of the same turn (processor time, so that others on
the machine matter less), the figures that ``engine.md`` aims at, and the largest error of the Gramian and of the
direction against float64, relative to the largest entry. Writes engine.json beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from _workloads import Work, make_work
from torch import Tensor

from taskloom.balance.mix.pcgrad import pcgrad
from taskloom.engine import AutogradEngine, balance
from taskloom.engine.layers.engine import LayerEngine

HERE = Path(__file__).parent

# workload -> numbers of tasks -> target of engine.md, None where it names none
TARGETS: dict[str, dict[int, float | None]] = {
    "tabular": {2: 1.7, 10: 4.5, 40: 8.0},
    "wide": {2: None, 10: 2.8},
    "lenet": {2: None, 5: 2.8},
    "resnet": {5: 3.4},
    "transformer": {2: None, 5: 3.7},
    "recommender": {2: 1.7, 10: 5.0},
    "own batches": {5: 1.15, 20: 1.2},
    "one label": {20: 1.3},
    "library": {10: None, 40: None},
    "tiny": {2: None, 10: None, 40: None},
}


def steps(work: Work) -> dict[str, Callable[[], None]]:
    """The steps that are compared."""
    optimiser = torch.optim.SGD(work.model.parameters(), lr=1e-4)

    def finish(scalar: Tensor) -> None:
        scalar.backward()
        optimiser.step()
        optimiser.zero_grad()

    def equal() -> None:
        losses = work.losses()
        finish(torch.stack(list(losses.values())).sum())

    def balanced(engine: Any) -> Callable[[], None]:
        balancer = pcgrad()
        return lambda: finish(balance(work.losses(), balancer, shared=work.shared, engine=engine))

    return {"equal": equal, "autograd": balanced(AutogradEngine()), "layers": balanced(LayerEngine())}


def turns(work: Work, seconds: float) -> Iterator[dict[str, float]]:
    """Processor seconds of each step, over turns."""
    known = steps(work)
    for step in [*known.values()] * 2:
        step()  # warms up: memory, kernels, the check of the first step
    begin, n_turns = time.perf_counter(), 0
    random.seed(0)
    while n_turns < 5 or time.perf_counter() - begin < seconds:
        found = {}
        # what a step leaves of free memory changes the time of the next one, so everybody follows everybody
        for name in random.sample(list(known), len(known)):
            start = time.process_time()
            known[name]()
            found[name] = time.process_time() - start
        n_turns += 1
        yield found


def errors(name: str, n_tasks: int) -> dict[str, float]:
    """Largest errors of the Gramian and the direction against float64, relative to the largest entry."""
    weights = torch.linspace(1, 2, n_tasks, dtype=torch.float64)

    def measured(engine: Any, work: Work) -> tuple[Tensor, list[Tensor | None]]:
        rows = engine.rows(list(work.losses().values()), list(work.shared.parameters()))
        return rows.gramian(), rows.gradients(weights)

    work = make_work(name, n_tasks)
    exact_gramian, exact_direction = measured(AutogradEngine(), work.copy(torch.float64))
    found = {}
    for label, engine in (("autograd", AutogradEngine()), ("layers", LayerEngine())):
        gramian, direction = measured(engine, work)
        found[f"{label} gramian"] = _relative(gramian, exact_gramian)
        pairs = zip(direction, exact_direction, strict=True)
        found[f"{label} direction"] = max(
            _relative(one, exact) for one, exact in pairs if one is not None and exact is not None
        )
    return found


def _relative(found: Tensor, exact: Tensor) -> float:
    return float((found.double() - exact).abs().max() / exact.abs().max().clamp(min=1e-300))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[], choices=TARGETS)
    parser.add_argument("--tasks", nargs="*", type=int, default=[])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-errors", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    rows: list[dict[str, Any]] = []
    print(f"{'':14}{'':>4}{'equal':>10}{'autograd':>10}{'layers':>9}{'':>8}{'error of':>10}{'error of':>10}")
    print(f"{'workload':14}{'K':>4}{'ms':>10}{'ratio':>10}{'ratio':>9}{'target':>8}{'layers':>10}{'autograd':>10}")
    for name, aims in TARGETS.items():
        if given.only and name not in given.only:
            continue
        for n_tasks, target in aims.items():
            if given.tasks and n_tasks not in given.tasks:
                continue
            found = list(turns(make_work(name, n_tasks), given.seconds))
            ratio = {
                engine: statistics.median(turn[engine] / turn["equal"] for turn in found)
                for engine in ("autograd", "layers")
            }
            exact = {} if given.no_errors else errors(name, n_tasks)
            row = {
                "workload": name,
                "tasks": n_tasks,
                "equal_ms": 1e3 * statistics.median(turn["equal"] for turn in found),
                **{f"{engine}_ratio": value for engine, value in ratio.items()},
                "target": target,
                "turns": len(found),
                **exact,
            }
            rows.append(row)
            worst = [max((v for k, v in exact.items() if k.startswith(e)), default=float("nan")) for e in ratio]
            print(
                f"{name:14}{n_tasks:>4}{row['equal_ms']:>10.2f}{ratio['autograd']:>10.2f}{ratio['layers']:>9.2f}"
                f"{target or '':>8}{worst[1]:>10.1e}{worst[0]:>10.1e}",
                flush=True,
            )
    setting = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": given.threads,
    }
    if not given.only:
        (HERE / "engine.json").write_text(json.dumps({"setting": setting, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
