"""How fast the sharing architectures are beside the usual way of writing them: loops over tasks, experts and encoders.

    python benchmarks/architectures.py [--only mixing experts] [--tasks 2 5 10] [--seconds 3] [--threads 1]

For every case and number of tasks, steps (forward and backward pass in training mode, the sum of squared outputs) of
the library's model and of the peer take turns in random order in one process, on the same inputs, with the same weights
and the same encoder. In a turn each makes one step that is not timed and then as many as fill about 20 ms, as in
training, where a step follows its like. Printed are medians over turns of the processor time of a step, for some cases
also that of a step of the floor (what no way of writing can avoid), the median of the ratio within a turn (how many
times faster the library is), the peak of memory that a step allocates (inputs and weights not counted, gradients
counted), and the largest difference of the outputs relative to the largest output. Writes architectures.json beside
this file.

A family of architectures takes part through a file in ``_architectures/`` with a list ``CASES`` (see
``_architectures/case.py``), which is imported here and named in ``FAMILIES``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from _architectures import attention, experts, mixing
from _architectures.case import Case, Pair
from torch import nn
from torch.profiler import ProfilerActivity, profile

HERE = Path(__file__).parent
FAMILIES: dict[str, list[Case]] = {
    "mixing": mixing.CASES,
    "experts": experts.CASES,
    "attention": attention.CASES,
}
MOST_DIFFERENT = 1e-3  # of the outputs of two models that should agree, in float32


def step_of(model: nn.Module, inputs: Any) -> Callable[[], None]:
    """One forward and backward pass."""
    parameters = list(model.train().parameters())

    def step() -> None:
        for parameter in parameters:
            parameter.grad = None
        outputs = model(inputs)
        sum(output.square().sum() for output in outputs.values()).backward()

    return step


def turns(pair: Pair, seconds: float) -> Iterator[dict[str, float]]:
    """Processor seconds of a step of each, over turns."""
    models = {"ours": pair.ours, "peer": pair.peer} | ({} if pair.floor is None else {"floor": pair.floor})
    steps = {name: step_of(model, pair.inputs) for name, model in models.items()}
    for step in [*steps.values()] * 3:
        step()  # warms up
    n_steps = {name: max(1, math.ceil(0.02 / timed(step, 1))) for name, step in steps.items()}
    begin, n_turns = time.perf_counter(), 0
    random.seed(0)
    while n_turns < 7 or time.perf_counter() - begin < seconds:
        found = {}
        for name in random.sample(list(steps), len(steps)):
            steps[name]()
            found[name] = timed(steps[name], n_steps[name])
        n_turns += 1
        yield found


def timed(step: Callable[[], None], n_steps: int) -> float:
    """Processor seconds of a step, mean of some."""
    start = time.process_time()
    for _ in range(n_steps):
        step()
    return (time.process_time() - start) / n_steps


def peak_memory(model: nn.Module, inputs: Any) -> int:
    """Largest number of bytes that one step holds at once beyond inputs and weights."""
    step = step_of(model, inputs)
    step()
    model.zero_grad(set_to_none=True)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        step()
    held = most = 0
    for event in seen.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


def difference(pair: Pair) -> float:
    """Largest difference of the outputs relative to the largest output, in training mode."""
    with torch.no_grad():
        ours, peer = pair.ours.train()(pair.inputs), pair.peer.train()(pair.inputs)
    if list(ours) != list(peer):
        raise SystemExit(f"the outputs have other names: {list(ours)} and {list(peer)}")
    largest = max(float(output.abs().max()) for output in ours.values())
    return max(float((ours[task] - peer[task]).abs().max()) for task in ours) / largest


def measured(family: str, case: Case, *, n_tasks: int, seconds: float) -> dict[str, Any]:
    """The row of one case and number of tasks."""
    torch.manual_seed(0)
    pair = case.make(n_tasks)
    gap = difference(pair)
    if pair.agree and not gap <= MOST_DIFFERENT:
        raise SystemExit(f"{case.name}, {n_tasks} tasks: the outputs of the two differ by {gap:.3g} of the largest")
    found = list(turns(pair, seconds))
    return {
        "family": family,
        "case": case.name,
        "tasks": n_tasks,
        "ours_ms": 1e3 * statistics.median(turn["ours"] for turn in found),
        "peer_ms": 1e3 * statistics.median(turn["peer"] for turn in found),
        "floor_ms": None if pair.floor is None else 1e3 * statistics.median(turn["floor"] for turn in found),
        "times_faster": statistics.median(turn["peer"] / turn["ours"] for turn in found),
        "target": case.target,
        "ours_mb": peak_memory(pair.ours, pair.inputs) / 1e6,
        "peer_mb": peak_memory(pair.peer, pair.inputs) / 1e6,
        "difference": gap if pair.agree else None,
        "turns": len(found),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=list(FAMILIES), choices=FAMILIES)
    parser.add_argument("--case", default="", help="only cases whose name contains this text")
    parser.add_argument("--tasks", nargs="*", type=int, default=[])
    parser.add_argument("--seconds", type=float, default=3.0, help="for each row of the table")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(f"{'':36}{'':>4}{'ours':>9}{'peer':>9}{'floor':>9}{'times':>8}{'':>8}{'ours':>9}{'peer':>9}")
    print(
        f"{'case':36}{'K':>4}{'ms':>9}{'ms':>9}{'ms':>9}{'faster':>8}{'target':>8}{'MB':>9}{'MB':>9}{'difference':>12}"
    )
    rows = []
    for family in given.only:
        for case in FAMILIES[family]:
            for n_tasks in given.tasks or case.n_tasks:
                if given.case in case.name:
                    row = measured(family, case, n_tasks=n_tasks, seconds=given.seconds)
                    rows.append(row)
                    show(row)
    if not (given.case or given.tasks):
        keep(rows, given.threads)


def show(row: dict[str, Any]) -> None:
    gap = "" if row["difference"] is None else f"{row['difference']:.1e}"
    floor = "" if row["floor_ms"] is None else f"{row['floor_ms']:.2f}"
    print(
        f"{row['case']:36}{row['tasks']:>4}{row['ours_ms']:>9.2f}{row['peer_ms']:>9.2f}{floor:>9}"
        f"{row['times_faster']:>8.2f}{row['target'] or '':>8}{row['ours_mb']:>9.2f}{row['peer_mb']:>9.2f}{gap:>12}",
        flush=True,
    )


def keep(rows: list[dict[str, Any]], threads: int) -> None:
    """Write architectures.json; rows of families that were not run stay as they were."""
    file = HERE / "architectures.json"
    before = json.loads(file.read_text())["rows"] if file.exists() else []
    run = {row["family"] for row in rows}
    kept = [row for row in before if row["family"] not in run and row["family"] in FAMILIES]
    setting = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": threads,
    }
    file.write_text(json.dumps({"setting": setting, "rows": [*kept, *rows]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
