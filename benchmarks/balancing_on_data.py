"""Does balancing help on real data? Balancing methods against tuned fixed weights, with one tuning budget for all.

    python benchmarks/balancing_on_data.py [SET ...] [--trials 8] [--seeds 5] [--out taskloom-runs/balancing]

On each data set ``tl.compare`` tunes single-task networks, hard sharing with the plain sum, hard sharing with tuned
loss weights, and hard sharing under balancing methods with their papers' defaults. Every candidate tries the same
number of settings (learning rate, weight decay, width; the tuned weights are tuned within the same number) under the
same seeds. Two candidates take part a second time under another name, with the tuner's next luck: what differs between
such twins is noise that intervals over seeds do not contain.

Data: folders ``mnist``, ``census_income_kdd`` and ``parkinsons_telemonitoring`` below TASKLOOM_DATA (default
../shared/data). A run that was stopped goes on where it was. Prints tables, and writes them (balancing_on_data.md),
what they show (.json) and every test score (.csv) beside this file.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import torch
from _data_sets import DATA, census
from balancing_summary import PLAIN, TUNED, store, summary, tables

import taskloom as tl
from taskloom.study.catalogue import catalogue

HERE = Path(__file__).parent


# -- data sets ----------------------------------------------------------------------------------------------------


def multi_mnist() -> tl.MultiTaskData:
    """Two overlaid digits on 14 x 14 pixels: the left one and the right one. No original digit is in two parts."""
    pictures = tl.data.problems.multi_mnist(DATA / "mnist", n=8000)
    smaller = pictures.inputs.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4))
    return tl.MultiTaskData.from_arrays(smaller, pictures.targets, pictures.tasks, groups=pictures.groups)


def _parkinsons(**roles: object) -> tl.MultiTaskData:
    path = DATA / "parkinsons_telemonitoring" / "parkinsons_updrs.data.gz"
    return tl.read_table(path, targets=["motor_UPDRS", "total_UPDRS"], **roles)


def new_patients() -> tl.MultiTaskData:
    """Two scores of Parkinson's disease from voice measures, for patients of whom no recording was seen."""
    return _parkinsons(group_column="subject#")


def known_patients() -> tl.MultiTaskData:
    """The same for new recordings of the same patients; the patient is a feature."""
    return _parkinsons(kinds={"subject#": "categorical"})


# -- candidates ---------------------------------------------------------------------------------------------------

_LOSSES = ("uncertainty", "imtl_l", "rlw")
_LOSSES_WITH_MEMORY = ("dwa", "famo")
_GRADIENTS = (
    "pcgrad",
    "mgda",
    "cagrad",
    "nash_mtl",
    "fairgrad",
    "imtl_g",
    "upgrad",
    "aligned_mtl",
    "config",
)
_GRADIENTS_WITH_MEMORY = ("gradnorm", "db_mtl")
_BATCHED = (*_LOSSES, *_GRADIENTS)
"""Methods whose networks train side by side; the others train one by one, several times as long."""


def _every_method() -> tuple[str, ...]:
    return tuple(one.name.removeprefix("hard_sharing_") for one in catalogue() if one.name.startswith("hard_sharing_"))


def candidates(methods: tuple[str, ...]) -> list[tl.Candidate]:
    """The references, their twins, and hard sharing under methods."""
    known = {one.name: one for one in catalogue()}
    twins = [
        dataclasses.replace(known[name], name=f"{name}_again", title=f"{known[name].title}, again")
        for name in (PLAIN, TUNED)
    ]
    chosen = dict.fromkeys(("single_task", PLAIN, TUNED, *(f"hard_sharing_{name}" for name in methods)))
    return [*(known[name] for name in chosen), *twins]


@dataclasses.dataclass(frozen=True)
class DataSet:
    """What is compared on which data, and how it is called in tables."""

    title: str
    read: Callable[[], tl.MultiTaskData]
    methods: Callable[[], tuple[str, ...]]


SETS = {
    "new_patients": DataSet("Parkinson's, new patients", new_patients, _every_method),
    "census": DataSet(
        "Census pair", census, lambda: (*_LOSSES, *_LOSSES_WITH_MEMORY, *_GRADIENTS, *_GRADIENTS_WITH_MEMORY)
    ),
    "multi_mnist": DataSet(
        "MultiMNIST", multi_mnist, lambda: (*_LOSSES, *_LOSSES_WITH_MEMORY, *_GRADIENTS, *_GRADIENTS_WITH_MEMORY)
    ),
    "known_patients": DataSet("Parkinson's, known patients", known_patients, lambda: _BATCHED),
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("sets", nargs="*", default=list(SETS), help=f"of {', '.join(SETS)}; default all")
    arguments.add_argument("--trials", type=int, default=8)
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--out", type=Path, default=Path("taskloom-runs/balancing"))
    given = arguments.parse_args()
    torch.set_num_threads(1)
    for name in given.sets:
        chosen = SETS[name]
        data = chosen.read()
        compared = candidates(chosen.methods())
        began = time.process_time()
        results = tl.compare(
            data,
            candidates=compared,
            seeds=given.seeds,
            budget=tl.Budget(trials=given.trials),
            workers=1,
            out=given.out / name,
            title=chosen.title,
            command=f"python benchmarks/balancing_on_data.py {name}",
        )
        print(f"\n{name}: {time.process_time() - began:.0f} s of processor time", flush=True)
        results.report(given.out / name / "report.html")
        found = summary(results)
        store(HERE / "balancing_on_data", name, found, results)
        print(tables(found), flush=True)


if __name__ == "__main__":
    main()
