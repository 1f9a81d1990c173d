"""Any balancer takes part in a comparison."""

from __future__ import annotations

import numpy as np
import pytest

import taskloom as tl
from taskloom.errors import StudyError
from taskloom.study.balanced import balanced
from taskloom.study.catalogue import choose
from taskloom.study.problem import Problem


def data() -> tl.MultiTaskData:
    random = np.random.default_rng(0)
    x = random.normal(size=(120, 3))
    tasks = [tl.Task(name=name, kind=tl.Regression()) for name in ("a", "b")]
    return tl.MultiTaskData.from_arrays(x, {"a": x[:, 0] * x[:, 1], "b": x[:, 1] - x[:, 0]}, tasks=tasks)


def test_a_balancer_is_a_candidate_like_any_other():
    mine = tl.chain(tl.fixed([1.0, 2.0]), tl.pcgrad("mean"))
    results = tl.compare(data(), candidates=[mine], seeds=2, budget="1 trial", progress=False, workers=1)
    name = "hard_sharing_scale_by_1_0_2_0_project_conflicts_mean"
    assert results.candidates == ("single_task", "hard_sharing", name)
    row = next(row for row in results.table().iter_rows(named=True) if row["candidate"] == name)
    assert np.isfinite(row["validation_score"])
    assert row["step_milliseconds"] > 0


def test_every_training_gets_a_copy_with_random_numbers_of_its_own():
    prototype = tl.pcgrad()
    (candidate,) = (one for one in choose([prototype], data())[0] if one.name.endswith("sum"))
    table = data()
    first, again, other = (candidate.plan.balancer(Problem(table, tl.RandomSplit(), seed), {}) for seed in (0, 0, 1))
    assert first is not prototype
    assert first.draw(2).tolist() == again.draw(2).tolist() != other.draw(2).tolist()


def test_what_cannot_take_part_says_why():
    with pytest.raises(StudyError, match="expected a balancer"):
        balanced(tl.pcgrad)

    class Two(tl.chain(tl.equal()).links[0].__class__):
        n_batches = 2

    with pytest.raises(StudyError, match="looks at 2 independent batches"):
        balanced(tl.chain(Two()))


def test_names_and_words():
    candidate = balanced(tl.equal("mean"), name="mean", title="the mean", summary="A mean.", source="me")
    assert (candidate.name, candidate.title, candidate.summary, candidate.source) == (
        "mean",
        "the mean",
        "A mean.",
        "me",
    )
    assert not candidate.in_default
    long = balanced(tl.fixed(list(range(1, 60))))
    assert len(long.name) <= 80
