"""What the library costs beside the computation itself.

    python benchmarks/overhead.py [--pairs 9] [--epochs 3] [--skip throughput imports orchestration]

1. Training throughput: optimiser steps per second of ``tl.fit`` over a bare PyTorch loop of the same network (three
   hidden layers of 256 units, two regression tasks) on the same tensors (50,000 rows of 20 inputs, batch 256), on one
   thread.
   The two take turns in one process; the ratio is the median over pairs. ``tl.fit`` also validates, keeps the best
   weights and records the history, which the bare loop does not. Wall time, and processor time beside it, which says
   more on a machine that others use too.
2. ``import taskloom`` in fresh processes: median time over that of an empty process, and whether it loads torch.
3. Orchestration: the part of a whole ``tl.compare`` (networks of three candidates on a table, one process, one thread)
   that is spent outside training: splits, tuner, storage, scoring, tables.

Prints a table and writes overhead.json beside this file.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

HERE = Path(__file__).parent
ROWS, VALIDATION, INPUTS, WIDTH, BATCH = 50_000, 2_000, 20, 256, 256
TARGETS = {"throughput": 0.85, "import seconds": 0.2, "orchestration": 0.10}


def throughput(pairs: int, epochs: int) -> dict[str, Any]:
    """Steps per second of ``tl.fit`` and of a bare loop."""
    import numpy as np
    import torch

    import taskloom as tl
    from taskloom.data.tensors import TaskTensors

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS + VALIDATION, INPUTS, generator=generator)
    y = torch.stack([x[:, 0] + x[:, 1] ** 2, x[:, 2] - x[:, 0]], dim=1)
    tasks = tuple(tl.Task(name=name, kind=tl.Regression()) for name in ("a", "b"))
    tensors = TaskTensors(
        tasks=tasks,
        inputs=x,
        targets=y,
        mask=torch.ones_like(y, dtype=torch.bool),
        train=np.arange(ROWS),
        validation=np.arange(ROWS, ROWS + VALIDATION),
    )

    def network() -> tl.HardSharing:
        torch.manual_seed(0)
        return tl.HardSharing(tl.MLP(INPUTS, hidden=(WIDTH,) * 3), tasks)

    def bare() -> int:
        model, steps = network(), 0
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2, fused=True)
        for _ in range(epochs):
            for rows in torch.randperm(ROWS).split(BATCH):
                outputs, target = model(x[rows]), y[rows]
                loss = sum((outputs[name][:, 0] - target[:, k]).square().mean() for k, name in enumerate(model.tasks))
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                steps += 1
        return steps

    def fit() -> int:
        return tl.fit(network(), tensors, schedule=tl.Schedule(max_epochs=epochs, batch_size=BATCH)).steps

    speeds: dict[str, list[tuple[float, float]]] = {"bare": [], "fit": []}
    for turn in range(pairs + 1):
        for name, run in (("bare", bare), ("fit", fit)):
            wall, processor, steps = timed(run)
            if turn:  # the first turn warms up
                speeds[name].append((steps / wall, steps / processor))
    columns = zip(zip(*speeds["bare"], strict=True), zip(*speeds["fit"], strict=True), strict=True)
    (bare_wall, fit_wall), (bare_processor, fit_processor) = columns
    return {
        "bare_steps_per_second": statistics.median(bare_wall),
        "fit_steps_per_second": statistics.median(fit_wall),
        "ratio": statistics.median(f / b for b, f in zip(bare_wall, fit_wall, strict=True)),
        "ratio_of_processor_time": statistics.median(f / b for b, f in zip(bare_processor, fit_processor, strict=True)),
        "pairs": pairs,
        "epochs": epochs,
    }


def timed(run: Callable[[], int]) -> tuple[float, float, int]:
    """Wall seconds, processor seconds and what the function returns."""
    wall, processor = time.perf_counter(), time.process_time()
    found = run()
    return time.perf_counter() - wall, time.process_time() - processor, found


def imports(repetitions: int = 9) -> dict[str, Any]:
    """Seconds of ``import taskloom`` beyond those of a process that imports nothing."""

    def seconds(code: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - start

    importing, empty = [], []
    for _ in range(repetitions + 1):  # the first turn fills the caches of the disk
        importing.append(seconds("import taskloom"))
        empty.append(seconds("pass"))
    code = "import sys, taskloom; print('torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    differences = [one - other for one, other in zip(importing[1:], empty[1:], strict=True)]
    return {"seconds": statistics.median(differences), "loads_torch": said.strip() == "True"}


def orchestration() -> dict[str, Any]:
    """Seconds of a whole comparison, of its trainings, and of their optimiser steps."""
    import numpy as np
    import torch

    import taskloom as tl

    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    x = random.normal(size=(2_000, 12))
    noise = random.normal(size=(3, len(x)))
    y = {f"target {k}": x[:, k] * x[:, k + 1] + x[:, 5] + 0.5 * noise[k] for k in range(3)}
    data = tl.MultiTaskData.from_arrays(x, y, tasks=[tl.Task(name=name, kind=tl.Regression()) for name in y])
    spent = {"trainings": 0.0, "steps": 0.0}

    def watched(function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                spent[name] += time.perf_counter() - start

        return call

    unit = importlib.import_module("taskloom.study.unit")
    run = importlib.import_module("taskloom.fit.batched")._BatchedRun
    unit.train = watched(unit.train, "trainings")
    run._train_epoch = watched(run._train_epoch, "steps")
    candidates = ["single_task", "hard_sharing", "hard_sharing_pcgrad"]

    def whole(trials: int) -> float:
        with TemporaryDirectory() as folder:
            start = time.perf_counter()
            tl.compare(
                data, candidates=candidates, budget=trials, seeds=5, workers=1, out=Path(folder) / "run", progress=False
            )
            return time.perf_counter() - start

    whole(1)  # loads modules
    spent.update(trainings=0.0, steps=0.0)
    seconds = whole(8)
    return {
        "seconds": seconds,
        "training_seconds": spent["trainings"],
        "step_seconds": spent["steps"],
        "share": 1 - spent["trainings"] / seconds,
        "share_outside_epochs": 1 - spent["steps"] / seconds,
    }


PARTS = ("throughput", "imports", "orchestration")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--pairs", type=int, default=9)
    arguments.add_argument("--epochs", type=int, default=3)
    arguments.add_argument("--skip", nargs="*", default=[], choices=PARTS)
    given = arguments.parse_args()
    found: dict[str, Any] = {}
    if "imports" not in given.skip:
        found["imports"] = imports()
    if "throughput" not in given.skip:
        found["throughput"] = throughput(given.pairs, given.epochs)
    if "orchestration" not in given.skip:
        found["orchestration"] = orchestration()
    rows: list[tuple[str, str, str]] = []
    if part := found.get("throughput"):
        rows += [
            ("bare loop, steps/s", f"{part['bare_steps_per_second']:.0f}", ""),
            ("tl.fit, steps/s", f"{part['fit_steps_per_second']:.0f}", ""),
            ("tl.fit over bare loop", f"{part['ratio']:.3f}", f"at least {TARGETS['throughput']}"),
            ("the same by processor time", f"{part['ratio_of_processor_time']:.3f}", ""),
        ]
    if part := found.get("imports"):
        rows += [
            ("import taskloom, s", f"{part['seconds']:.3f}", f"below {TARGETS['import seconds']}"),
            ("loads torch", str(part["loads_torch"]), "False"),
        ]
    if part := found.get("orchestration"):
        rows += [
            ("a whole compare, s", f"{part['seconds']:.1f}", ""),
            ("outside its trainings", f"{part['share']:.1%}", f"at most {TARGETS['orchestration']:.0%}"),
            ("outside its epochs of steps", f"{part['share_outside_epochs']:.1%}", ""),
        ]
    print(f"{'':32}{'found':>12}{'wanted':>16}")
    for name, value, wanted in rows:
        print(f"{name:32}{value:>12}{wanted:>16}")
    setting = {"python": platform.python_version(), "machine": platform.machine(), "cores": os.cpu_count()}
    (HERE / "overhead.json").write_text(json.dumps({"setting": setting, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
