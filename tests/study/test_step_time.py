"""Times of steps: who has one, that slow ones are slow, and that a continued run keeps what it has measured."""

from __future__ import annotations

import time

import numpy as np
import pytest

import taskloom as tl
from taskloom.balance.base import Link, chain
from taskloom.balance.flow import Need
from taskloom.data import default_split
from taskloom.study.catalogue import catalogue, choose
from taskloom.study.problem import Problem
from taskloom.study.step_time import step_milliseconds

QUIET = {"progress": False, "workers": 1}


def labels(n: int = 90) -> tl.MultiTaskData:
    random = np.random.default_rng(0)
    x = random.normal(size=(n, 3))
    sums = x @ random.normal(size=(3, 3))
    targets = {"a": np.where(random.random(n) < 0.7, sums[:, 0], np.nan), "b": (x[:, 1] > 0) * 1, "c": sums[:, 2]}
    return tl.MultiTaskData.from_arrays(x, targets, {"a": tl.Regression(), "b": tl.Binary(), "c": tl.Regression()})


def sets() -> tl.MultiTaskData:
    random = np.random.default_rng(0)
    inputs = {name: random.normal(size=(n, 3)) for name, n in (("a", 30), ("b", 60))}
    return tl.MultiTaskData.from_tasks({name: (x, x[:, 0]) for name, x in inputs.items()}, tl.Regression())


def times(data: tl.MultiTaskData, candidates) -> dict[str, float]:
    return step_milliseconds(choose(candidates, data)[0], Problem(data, default_split(data), 0))


class Slow(Link):
    """Keeps the processor busy for 20 ms in every step."""

    needs = Need.LOSSES

    def forward(self, flow):
        until = time.process_time() + 0.02
        while time.process_time() < until:
            pass
        return flow


MANY = ("hard_sharing", "soft_sharing_mean", "transfer", "linear", *(f"hard_sharing_{one}" for one in ("dwa", "famo")))


@pytest.mark.parametrize(
    ("data", "more"),
    [(labels(), ("hard_sharing_mgda_ub",)), (sets(), ("pooled", "conditioned_film"))],
    ids=["multi_label", "multi_data_set"],
)
def test_every_network_for_all_tasks_has_a_time(data, more):
    found = times(data, (*MANY, *more))
    assert set(found) == {"hard_sharing", "soft_sharing_mean", "hard_sharing_dwa", "hard_sharing_famo", *more}
    assert all(value > 0 for value in found.values())


def test_a_slow_method_is_seen_to_be_slow():
    slow = chain(Slow(), *tl.equal())
    found = times(labels(), ["hard_sharing", slow])
    (name,) = set(found) - {"hard_sharing"}
    assert 20.0 <= found[name] < 1000.0
    assert found["hard_sharing"] < 20.0


def test_a_continued_run_keeps_its_times(tmp_path):
    first = tl.compare(labels(), candidates=["hard_sharing"], seeds=2, budget=1, out=tmp_path, **QUIET)
    again = tl.compare(labels(), candidates=["hard_sharing"], seeds=2, budget=1, out=tmp_path, **QUIET)
    assert first.settings["step_milliseconds"].keys() == {"hard_sharing"}
    assert again.settings["step_milliseconds"] == first.settings["step_milliseconds"]
    more = tl.compare(
        labels(), candidates=["hard_sharing", "hard_sharing_rlw"], seeds=2, budget=1, out=tmp_path, **QUIET
    )
    assert more.settings["step_milliseconds"].keys() == {"hard_sharing", "hard_sharing_rlw"}
    row = next(row for row in more.table().iter_rows(named=True) if row["candidate"] == "hard_sharing_rlw")
    assert row["step_milliseconds"] == more.settings["step_milliseconds"]["hard_sharing_rlw"]


def test_measuring_changes_no_result(tmp_path):
    (candidate,) = (one for one in catalogue() if one.name == "hard_sharing_pcgrad")
    problem = Problem(labels(), default_split(labels()), 0)
    before = problem.tensors.inputs.clone(), problem.objective.constants.clone()
    step_milliseconds([candidate], problem)
    assert (problem.tensors.inputs == before[0]).all()
    assert (problem.objective.constants == before[1]).all()
