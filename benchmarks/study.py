"""How much faster the default comparison is when networks of one shape are trained together.

    python benchmarks/study.py [--data school parkinsons] [--trials 8] [--seeds 5]

Every candidate of the default set that is a network is tuned on the table, in one process and on one thread, as
``taskloom compare`` does it: all trials and seeds of one width in one batched run. One by one, under Lightning's
Trainer, the same trainings would take hours; so of every width the first setting under the first seed is trained one by
one, and its seconds per optimiser step are multiplied by the optimiser steps of all trainings of that width. Both are
measured in turns within one process, width after width; what PyTorch loads at its first use is loaded before.
Estimators (the same code on both sides) are left out.

Data: folders ``school`` and ``parkinsons_telemonitoring`` below TASKLOOM_DATA (default ../shared/data).
Prints a table and writes study.json beside this file.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import torch

import taskloom as tl
from taskloom.data import default_split
from taskloom.study.candidate import Candidate
from taskloom.study.catalogue import choose
from taskloom.study.problem import Problem
from taskloom.study.tuner import Trial, Tuner
from taskloom.study.unit import Unit, run_unit, units_of

HERE = Path(__file__).parent
DATA = Path(os.environ.get("TASKLOOM_DATA", HERE.parent.parent / "shared" / "data"))


def school() -> tl.MultiTaskData:
    """139 schools, one examination score: one task per school."""
    from scipy.io import loadmat

    contents = loadmat(DATA / "school" / "school.mat", mat_dtype=True)
    parts = zip(contents["X"].ravel(), contents["Y"].ravel(), strict=True)
    tables = {f"school {place + 1}": (x, y.ravel()) for place, (x, y) in enumerate(parts)}
    return tl.MultiTaskData.from_tasks(tables, tl.Regression())


def parkinsons() -> tl.MultiTaskData:
    """42 patients, two scores: one table with two targets, split by patient."""
    folder = Path(mkdtemp())
    table = folder / "parkinsons.csv"
    table.write_bytes(gzip.decompress((DATA / "parkinsons_telemonitoring" / "parkinsons_updrs.data.gz").read_bytes()))
    data = tl.read_table(table, targets=["motor_UPDRS", "total_UPDRS"], group_column="subject#")
    shutil.rmtree(folder)
    return data


TABLES: dict[str, Callable[[], tl.MultiTaskData]] = {"school": school, "parkinsons": parkinsons}


def timed(units: list[Unit], problems: dict[int, Problem], *, batched: bool) -> tuple[float, int, int]:
    """Seconds, optimiser steps and trainings of some units."""
    folder = Path(mkdtemp())
    start = time.perf_counter()
    outcomes = [run_unit(unit, problems, folder, batched=batched) for unit in units]
    seconds = time.perf_counter() - start
    shutil.rmtree(folder)
    pieces = [p for one in outcomes for seeds in one.outcomes.values() for found in seeds.values() for p in found]
    return seconds, sum(piece["steps"] for piece in pieces), len(pieces)


def warm_up() -> None:
    """Train something small both ways, so that no side pays for imports."""
    x = np.random.default_rng(0).normal(size=(60, 3))
    tasks = [tl.Task(name=name, kind=tl.Regression()) for name in ("a", "b")]
    data = tl.MultiTaskData.from_arrays(x, {"a": x[:, 0], "b": x[:, 1]}, tasks=tasks)
    problems = {0: Problem(data, default_split(data), 0)}
    candidate = next(one for one in choose("default", data)[0] if one.name == "hard_sharing")
    unit = Unit(candidate, (Trial(0, {"width": 4, "learning_rate": 1e-3, "weight_decay": 0.0}, 0),))
    for batched in (True, False):
        timed([unit], problems, batched=batched)


def compare_one(candidate: Candidate, data: tl.MultiTaskData, problems: dict[int, Problem], trials: int) -> dict:
    """Time of one candidate, batched and one by one."""
    tuner = Tuner("sqlite:///:memory:", name="benchmark", seed=0, owner="benchmark")
    space = candidate.plan.space(data)
    tuner.plan(candidate.name, space, n_trials=trials)
    taken: list[Trial] = tuner.take(candidate.name)
    first = dict([next(iter(problems.items()))])
    batched = one_by_one = 0.0
    steps = trainings = 0
    for unit in units_of(candidate, taken, space):
        seconds, unit_steps, unit_trainings = timed([unit], problems, batched=True)
        alone, alone_steps, _ = timed([Unit(candidate, unit.trials[:1])], first, batched=False)
        batched += seconds
        one_by_one += alone / alone_steps * unit_steps
        steps += unit_steps
        trainings += unit_trainings
    return {
        "candidate": candidate.name,
        "trainings": trainings,
        "steps": steps,
        "batched_seconds": batched,
        "one_by_one_seconds": one_by_one,
        "ratio": one_by_one / batched,
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--data", nargs="*", default=list(TABLES), choices=list(TABLES))
    arguments.add_argument("--trials", type=int, default=8)
    arguments.add_argument("--seeds", type=int, default=5)
    given = arguments.parse_args()
    torch.set_num_threads(1)
    written = HERE / "study.json"
    report = json.loads(written.read_text())["tables"] if written.exists() else {}  # tables are measured one by one
    for name in given.data:
        data = TABLES[name]()
        warm_up()
        problems = {seed: Problem(data, default_split(data), seed) for seed in range(given.seeds)}
        candidates, _ = choose("default", data)
        rows = []
        print(f"\n{name}: {given.trials} trials, {given.seeds} seeds")
        print(f"{'candidate':28}{'trainings':>10}{'steps':>12}{'batched s':>11}{'one by one s':>14}{'ratio':>8}")
        for candidate in candidates:
            if candidate.family == "baseline":
                continue
            row = compare_one(candidate, data, problems, given.trials)
            rows.append(row)
            print(
                f"{row['candidate']:28}{row['trainings']:10d}{row['steps']:12d}{row['batched_seconds']:11.1f}"
                f"{row['one_by_one_seconds']:14.0f}{row['ratio']:8.1f}",
                flush=True,
            )
        batched, alone = (
            float(np.sum([row[key] for row in rows])) for key in ("batched_seconds", "one_by_one_seconds")
        )
        print(f"{'together':28}{'':22}{batched:11.1f}{alone:14.0f}{alone / batched:8.1f}")
        setting = {"trials": given.trials, "seeds": given.seeds, "torch": torch.__version__}
        sums = {"batched_seconds": batched, "one_by_one_seconds": alone, "ratio": alone / batched}
        report[name] = {"setting": setting, "rows": rows, **sums}
        written.write_text(json.dumps({"tables": report}, indent=1) + "\n")


if __name__ == "__main__":
    main()
