"""What the ways past the exact floor cost beside the exact engine, and how far they are off.

    python benchmarks/approximate.py [--only transformer] [--tasks 10] [--seconds 20] [--threads 1]

For every workload, whole training steps with PCGrad (forward, losses, weights, backward, SGD) take turns in one
process, measured exactly and in each of the other ways. Printed are medians over turns of the ratio to the exact step
and to the step of the plain sum (processor time, so that others on the machine matter less), and the peak memory of a
step.

How far off: the network learns from fresh batches of a teacher network of its own kind (Adam on the sum of the losses),
and at every step each way measures what the exact engine measures. Printed are the error of the Gramian (largest over
entries, over the lengths of the two gradients; median over steps), the estimate of it that an engine gives itself, and
the error of the weights of six methods (||w' - w|| / ||w||, mean over steps). ``every(4)`` is off by what happens to
the weights in three steps; this depends on the learning rate and the noise of batches more than on anything else.

Writes approximate.json beside this file.
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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from _measuring import peak_bytes, seconds_of
from _workloads import OnFeatures, Work, make_work
from torch import Tensor, nn

import taskloom as tl
from taskloom.balance.base import Balancer
from taskloom.engine import LastStageEngine, LayerEngine, LeanEngine, LowPrecisionEngine, SketchedEngine
from taskloom.engine.base import GradientEngine

HERE = Path(__file__).parent
CPU = torch.device("cpu")

METHODS: dict[str, Callable[[], Balancer]] = {
    "mgda": tl.mgda,
    "pcgrad": lambda: tl.pcgrad(order="ascending"),
    "cagrad": lambda: tl.cagrad(0.4, rescale=0),
    "nash_mtl": tl.nash_mtl,
    "upgrad": tl.upgrad,
    "aligned_mtl": tl.aligned_mtl,
}


@dataclass(frozen=True)
class Way:
    """One way to measure.

    Args:
        engine: makes the engine for a workload.
        every: interval of ``tl.every``; 1 measures in every step.
    """

    engine: Callable[[Work], GradientEngine]
    every: int = 1

    def balancer(self) -> Balancer:
        """PCGrad, at every k-th step."""
        return tl.pcgrad() if self.every == 1 else tl.every(self.every, tl.pcgrad())


def last_stage(work: Work) -> nn.Module:
    """The last block of a transformer or a residual network, the last layer of others."""
    layers = getattr(work.shared, "layers", None)
    if isinstance(layers, nn.TransformerEncoder):
        return layers.layers[-1]
    return [module for module in work.shared.children() if next(module.parameters(), None) is not None][-1]


WAYS: dict[str, Way] = {
    "exact": Way(lambda work: LayerEngine()),
    "lean": Way(lambda work: LeanEngine()),
    "low precision": Way(lambda work: LowPrecisionEngine()),
    "sketch, 32": Way(lambda work: SketchedEngine(32, tolerance=None)),
    "sketch, 16": Way(lambda work: SketchedEngine(16, tolerance=None)),
    "last stage": Way(lambda work: LastStageEngine(last_stage(work))),
    "every 4": Way(lambda work: LayerEngine(), every=4),
}


# -- time and memory --------------------------------------------------------------------------------------------------


def step_of(work: Work, way: Way | None) -> Callable[[], None]:
    """A whole step; None is the plain sum. With ``every`` it is as many steps as the interval."""
    optimiser = torch.optim.SGD(work.model.parameters(), lr=1e-4)
    engine, balancer = (None, None) if way is None else (way.engine(work), way.balancer())

    def step() -> None:
        for _ in range(1 if way is None else way.every):
            losses = work.losses()
            if balancer is None:
                scalar = torch.stack(list(losses.values())).sum()
            else:
                scalar = tl.balance(losses, balancer, shared=work.shared, engine=engine)
            scalar.backward()
            optimiser.step()
            optimiser.zero_grad()

    return step


def times(name: str, n_tasks: int, seconds: float) -> dict[str, list[float]]:
    """Seconds per step of every way and of the plain sum ("equal"), turn by turn."""
    work = make_work(name, n_tasks)
    intervals = {"equal": 1, **{kind: way.every for kind, way in WAYS.items()}}
    steps = {"equal": step_of(work, None), **{kind: step_of(work, way) for kind, way in WAYS.items()}}
    for step in [*steps.values()] * 2:
        step()  # warms up: memory, kernels, the check of the first step
    found: dict[str, list[float]] = {kind: [] for kind in steps}
    begin = time.perf_counter()
    while len(found["equal"]) < 7 or time.perf_counter() - begin < seconds:
        # what a step leaves of free memory changes the time of the next one, so everybody follows everybody
        for kind in random.sample(list(steps), len(steps)):
            found[kind].append(seconds_of(steps[kind], CPU) / intervals[kind])
    return found


def peaks(name: str, n_tasks: int) -> dict[str, int]:
    """Bytes that a step takes at most, its activations and gradients among them."""
    found = {}
    for kind, way in {"equal": None, **WAYS}.items():
        if kind != "every 4":
            step = step_of(make_work(name, n_tasks), way)
            found[kind] = peak_bytes(step, CPU)
    return found


# -- errors -----------------------------------------------------------------------------------------------------------


def batches(work: Work, n_tasks: int) -> Iterator[tuple[Tensor, ...]]:
    """Fresh inputs, and what a teacher of the same kind says of them."""
    torch.manual_seed(1)
    teacher = type(work)(_redrawn(work), work.batch).model
    while True:
        inputs = work.batch[0]
        fresh = torch.randn_like(inputs) if inputs.is_floating_point() else torch.randint_like(inputs, 1000)
        with torch.no_grad():
            z = teacher.shared(fresh)
            targets = torch.stack([head(z).squeeze(-1) for head in teacher.heads])
        yield fresh, (targets - targets.mean(1, keepdim=True)) / targets.std()


def _redrawn(work: Work) -> OnFeatures:
    """A network of the same kind with other weights."""
    model = work.copy().model
    assert isinstance(model, OnFeatures)
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return model


@dataclass
class Errors:
    """What is found of one way, step by step."""

    gramian: list[float] = field(default_factory=list)
    estimated: list[float] = field(default_factory=list)
    weights: dict[str, list[float]] = field(default_factory=lambda: {method: [] for method in METHODS})
    exact_because: set[str] = field(default_factory=set)


def errors(name: str, n_tasks: int, n_steps: int) -> dict[str, Errors]:
    """Errors of every way along a training."""
    work = make_work(name, n_tasks)
    parameters = list(work.shared.parameters())
    optimiser = torch.optim.Adam(work.model.parameters(), lr=1e-3)
    engines = {kind: way.engine(work) for kind, way in WAYS.items() if kind != "exact"}
    found = {kind: Errors() for kind in engines}
    exact, old = LayerEngine(), torch.empty(0)
    source = batches(work, n_tasks)
    for number in range(n_steps):
        batch = next(source)
        losses = list(work.model(*batch).losses.values())
        gramian = exact.gramian(losses, parameters)
        weights = {method: make().weights(gramian) for method, make in METHODS.items()}
        for kind, engine in engines.items():
            every = WAYS[kind].every
            if every > 1:
                old = gramian if number % every == 0 else old
                near = old
            else:
                near = engine.gramian(losses, parameters)
            _note(found[kind], gramian, near, weights, engine)
        optimiser.zero_grad()
        torch.stack(losses).sum().backward()
        optimiser.step()
    return found


def _note(errors: Errors, gramian: Tensor, near: Tensor, weights: dict[str, Tensor], engine: GradientEngine) -> None:
    lengths = gramian.diagonal().sqrt()
    errors.gramian.append(float(((near - gramian) / (lengths[:, None] * lengths)).abs().max()))
    last = getattr(engine, "last", None)
    if last is not None:
        errors.exact_because.add(last.exact_because)
        if last.error is not None:
            errors.estimated.append(last.error)
    for method, make in METHODS.items():
        own = make().weights(near)
        errors.weights[method].append(float((own - weights[method]).norm() / weights[method].norm()))


# -- tables -----------------------------------------------------------------------------------------------------------


def row_of(kind: str, measured: dict[str, list[float]], peak: dict[str, int], errors: Errors | None) -> dict[str, Any]:
    """What is stored of one way on one workload."""
    own = measured[kind]
    row: dict[str, Any] = {
        "way": kind,
        "ms": 1e3 * statistics.median(own),
        "to_exact": statistics.median(a / b for a, b in zip(own, measured["exact"], strict=True)),
        "to_equal": statistics.median(a / b for a, b in zip(own, measured["equal"], strict=True)),
        "turns": len(own),
        "peak_bytes": peak.get(kind),
    }
    if errors is not None:
        row["gramian_error"] = statistics.median(errors.gramian)
        row["estimated_error"] = statistics.median(errors.estimated) if errors.estimated else None
        row["weight_errors"] = {method: statistics.mean(values) for method, values in errors.weights.items()}
        row["exact_because"] = sorted(filter(None, errors.exact_because))
    return row


HEAD = ("workload", "way", "time / exact", "time / sum", "peak, MiB", "error of G", "estimate", *METHODS)


def cells(workload: str, row: dict[str, Any]) -> list[str]:
    """One line of the table."""
    found = [workload, row["way"], f"{row['to_exact']:.2f}", f"{row['to_equal']:.1f}"]
    found.append("-" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 2**20:.0f}")
    found.append(_small(row.get("gramian_error")))
    found.append(_small(row.get("estimated_error")))
    return found + [_small(row.get("weight_errors", {}).get(method)) for method in METHODS]


def _small(value: float | None) -> str:
    return "-" if value is None else "0" if value < 5e-5 else f"{value:.1%}" if value >= 1e-3 else f"{value:.2%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=["transformer", "tabular", "lenet"])
    parser.add_argument("--tasks", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    random.seed(0)
    stored: list[dict[str, Any]] = []
    print("| " + " | ".join(HEAD) + " |\n" + "|---" * len(HEAD) + "|")
    for name in given.only:
        measured, peak = times(name, given.tasks, given.seconds), peaks(name, given.tasks)
        off = errors(name, given.tasks, given.steps)
        rows = [row_of(kind, measured, peak, off.get(kind)) for kind in WAYS]
        for row in rows:
            print("| " + " | ".join(cells(name, row)) + " |", flush=True)
        equal = {"ms": 1e3 * statistics.median(measured["equal"]), "peak_bytes": peak["equal"]}
        stored.append({"workload": name, "tasks": given.tasks, "equal": equal, "ways": rows})
    setting = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "bfloat16": dict(torch.cpu.get_capabilities()).get("avx512_bf16", False),
        "cores": os.cpu_count(),
        "threads": given.threads,
        "load": os.getloadavg()[0],
    }
    (HERE / "approximate.json").write_text(json.dumps({"setting": setting, "workloads": stored}, indent=1) + "\n")


if __name__ == "__main__":
    main()
