"""Do architectures that learn who shares what find groups that were planted, and is that worth it?

    python benchmarks/planted.py [--gain 2] [--seeds 5] [--trials 4] [--out taskloom-runs/planted]
    python benchmarks/planted.py --sweep

Every seed plants another set (``taskloom.data.problems.planted_groups``): two groups of three regression tasks on the
same 2,000 rows, each group on a network of its own. On it ``tl.compare`` tunes every candidate with the same number of
trials on validation rows (learning rate and weight decay); then the groups are read from the chosen network
(``_planted/groups.py``) and compared with the planted ones by the adjusted Rand index. Gains over hard sharing are
paired by seed. Hard sharing is there twice: as wide as the others, and up to twice as wide, where the number of
parameters explains no gain.

``--sweep`` trains AdaShare at its defaults under many weights of its sparsity penalty, on the sets of other seeds, and
shows the test error, how many of six blocks a task runs, and how often the guard against none had to step in.

A run that was stopped goes on where it was. Prints tables, and writes planted.json beside this file.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _process  # noqa: F401
import numpy as np
import torch
from _planted.groups import agreement, groups_of
from _planted.networks import HARD, LEARNERS, adashare, candidates
from _planted.tables import found_table, summary, sweep_summary, sweep_table

import taskloom as tl
from taskloom._rng import initial_weights
from taskloom.data.problems import PlantedGroups, planted_groups
from taskloom.fit.alone import train_with_trainer
from taskloom.fit.training import OptimiserSettings, Training
from taskloom.study.models import load_model
from taskloom.study.problem import Problem

HERE = Path(__file__).parent
SET = {"n_rows": 2000, "noise": 0.1, "correlation": 0.95}
GAIN = 2.0
FIRST_SEED = 10  # others were looked at while settings were chosen
WEIGHTS = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
SWEEP_SEEDS = range(100, 105)


def planted(seed: int, n_rows: int, gain: float) -> PlantedGroups:
    """The set of a seed."""
    return planted_groups(**{**SET, "n_rows": n_rows}, gain=gain, seed=seed)


# -- groups -------------------------------------------------------------------------------------------------------


def search(chosen: Sequence[tl.Candidate], given: argparse.Namespace) -> dict[str, Any]:
    """Tune all candidates on the set of every seed, and read the groups from the learners."""
    scores: dict[str, dict[str, dict[int, float]]] = {}
    agreements: dict[str, list[float]] = {}
    sizes: dict[str, list[int]] = {}
    groups: dict[str, list[list[int]]] = {}
    for seed in range(FIRST_SEED, FIRST_SEED + given.seeds):
        problem, folder = planted(seed, given.rows, given.gain), given.out / f"gain-{given.gain:g}" / f"seed-{seed}"
        results = tl.compare(
            problem.data,
            candidates=chosen,
            seeds=1,
            seed=seed,
            budget=tl.Budget(trials=given.trials),
            workers=1,
            out=folder,
            title=f"planted groups, seed {seed}",
            command="python benchmarks/planted.py",
            progress=False,
        )
        for one in chosen:
            for task, by_seed in results.main_scores(one.name).items():
                scores.setdefault(one.name, {}).setdefault(task, {}).update(by_seed)
            networks = load_model(folder, candidate=one).networks
            sizes.setdefault(one.name, []).append(sum(p.numel() for n in networks for p in n.parameters()))
            if one.name in LEARNERS:
                read = groups_of(networks[0])
                groups.setdefault(one.name, []).append([int(label) for label in read])
                agreements.setdefault(one.name, []).append(agreement(read, problem.groups))
        print(f"seed {seed}: " + ", ".join(f"{n} {found[-1]:.2f}" for n, found in agreements.items()), flush=True)
    rows = summary(scores, agreements, sizes)
    return {
        "set": {**SET, "n_rows": given.rows, "gain": given.gain},
        "trials": given.trials,
        "seeds": given.seeds,
        "rows": rows,
        "groups": groups,
    }


# -- the weight of AdaShare's sparsity ------------------------------------------------------------------------------


def sweep(given: argparse.Namespace) -> list[dict[str, Any]]:
    """One training of AdaShare for every form, weight and seed; what is done is kept in the folder of the run."""
    given.out.mkdir(parents=True, exist_ok=True)
    store = given.out / "sweep.json"
    runs: list[dict[str, Any]] = json.loads(store.read_text()) if store.exists() else []
    done = {(run["form"], run["weight"], run["seed"]) for run in runs}
    for form in ("expected", "log"):
        for weight in given.weights:
            for seed in list(SWEEP_SEEDS)[: given.seeds]:
                if (form, weight, seed) not in done:
                    runs.append({"form": form, "weight": weight, "seed": seed, **_swept(form, weight, seed, given)})
                    store.write_text(json.dumps(runs))
    return runs


def _swept(form: str, weight: float, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    problem = Problem(planted(seed, given.rows, given.gain).data, tl.RandomSplit(), seed)
    short = {} if given.cycles is None else {"search_cycles": given.cycles}
    with initial_weights(seed):
        model = adashare(problem.tasks, problem.n_inputs, sparsity=weight, sparsity_form=form, **short)
    schedule = tl.Schedule(max_epochs=given.epochs, patience=8)
    training = Training(
        model,
        tl.equal(),
        problem.tensors,
        problem.objective,
        optimiser=OptimiserSettings(learning_rate=7e-3),
        schedule=schedule,
        seed=seed,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = train_with_trainer(training)
    outputs = problem.outputs(result.model, "test")
    kept = [sum(row) for row in result.model.structure()]
    return {
        "loss": float(np.mean([problem.relative_loss(task, found, "test") for task, found in outputs.items()])),
        "kept": float(np.mean(kept)),
        "least": min(kept),
        "warned": any("Lower sparsity" in str(one.message) for one in caught),
    }


# -- command line -------------------------------------------------------------------------------------------------


def store(entry: str, found: Any, path: Path) -> None:
    """Write one part into the file; the other stays."""
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**known, entry: _rounded(found)}, indent=1) + "\n")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--sweep", action="store_true")
    arguments.add_argument("--only", nargs="*", default=None, help="candidates beside the references")
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--trials", type=int, default=4)
    arguments.add_argument("--rows", type=int, default=SET["n_rows"])
    arguments.add_argument("--gain", type=float, default=GAIN, help="size of the planted weights: 1 smooth, 2 rough")
    arguments.add_argument("--epochs", type=int, default=60)
    arguments.add_argument("--cycles", type=int, default=None, help="of the sweep's searches; default the class's")
    arguments.add_argument("--weights", type=float, nargs="*", default=WEIGHTS)
    arguments.add_argument("--out", type=Path, default=Path("taskloom-runs/planted"))
    arguments.add_argument("--output", type=Path, default=HERE / "planted.json")
    given = arguments.parse_args()
    torch.set_num_threads(1)
    began = time.process_time()
    if given.sweep:
        found = sweep_summary(sweep(given))
        store("sparsity", found, given.output)
        print(sweep_table(found))
    else:
        known = candidates(max_epochs=given.epochs)
        chosen = [
            one for name, one in known.items() if given.only is None or name not in LEARNERS or name in given.only
        ]
        assert HARD in [one.name for one in chosen]
        result = search(chosen, given)
        store(f"groups, gain {given.gain:g}", result, given.output)
        print(found_table(result["rows"], {one.name: one.title for one in chosen}))
    print(f"{time.process_time() - began:.0f} s of processor time")


if __name__ == "__main__":
    main()
