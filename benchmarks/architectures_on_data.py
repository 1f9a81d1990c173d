"""Does another architecture than hard sharing help on real data? One tuning budget for all, three seeds.

    python benchmarks/architectures_on_data.py [SET ...] [--seeds 3] [--out taskloom-runs/architectures]

``census``: income and marital status (two tasks on the same 30,000 rows); single-task networks, hard sharing ("shared
bottom"), MMoE, CGC and PLE as ``tl.compare`` has them. ``omniglot_10``, ``omniglot_50``: one task per alphabet, each
with drawings of its own; single-task networks, hard sharing, factorised weights (Tucker, tensor train), soft ordering,
and with ten alphabets cross-stitch networks, which send every drawing through the networks of all tasks. Pictures are
shrunk to 21 x 21 (means of squares of 5 x 5 pixels) and trainings end after 25 epochs, which is what two slow cores can
do; rows are divided 50 / 20 / 30 % within each alphabet's characters.

Data: folders ``census_income_kdd`` and ``omniglot`` below TASKLOOM_DATA (default ../shared/data). A run that was
stopped goes on where it was. Prints tables, and writes architectures_on_data.json beside this file.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import _process  # noqa: F401
import torch
from _data_sets import census, omniglot
from _omniglot import candidates
from _shares import summary, table

import taskloom as tl

HERE = Path(__file__).parent
SCHEDULE = tl.Schedule(max_epochs=25, patience=5, batch_size=16)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What is compared on which data with how many trials, and which metric its table shows."""

    title: str
    read: Callable[[], tl.MultiTaskData]
    candidates: Callable[[], Sequence[tl.Candidate | str]]
    trials: int
    metric: str
    split: tl.RandomSplit | None = None


def _few() -> list[tl.Candidate]:
    return candidates(SCHEDULE, stitched=True)


def _many() -> list[tl.Candidate]:
    return candidates(SCHEDULE, stitched=False)


_PARTS = tl.RandomSplit((0.5, 0.2, 0.3))
SETS = {
    "census": Comparison(
        "Census pair", lambda: census(30_000), lambda: ["single_task", "hard_sharing", "mmoe", "cgc", "ple"], 8, "AUROC"
    ),
    "omniglot_10": Comparison("Omniglot, 10 alphabets", lambda: omniglot(10), _few, 2, "accuracy", _PARTS),
    "omniglot_50": Comparison("Omniglot, 50 alphabets", omniglot, _many, 2, "accuracy", _PARTS),
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("sets", nargs="*", default=list(SETS), help=f"of {', '.join(SETS)}; default all")
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--out", type=Path, default=Path("taskloom-runs/architectures"))
    given = arguments.parse_args()
    torch.set_num_threads(1)
    for name in given.sets:
        compared = SETS[name]
        began = time.process_time()
        results = tl.compare(
            compared.read(),
            candidates=compared.candidates(),
            seeds=given.seeds,
            budget=tl.Budget(trials=compared.trials),
            split=compared.split,
            workers=1,
            out=given.out / name,
            title=compared.title,
            command=f"python benchmarks/architectures_on_data.py {name}",
        )
        found = summary(results, metric=compared.metric)
        path = HERE / "architectures_on_data.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**known, name: found}, indent=1) + "\n")
        print(f"\n{name}: {time.process_time() - began:.0f} s of processor time\n{table(found)}", flush=True)


if __name__ == "__main__":
    main()
