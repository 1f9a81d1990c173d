"""Which candidates take part, and why others do not."""

import dataclasses

import numpy as np
import pytest

from taskloom.data.table import MultiTaskData
from taskloom.errors import StudyError
from taskloom.study.candidate import Candidate
from taskloom.study.catalogue import REFERENCE, catalogue, choose
from taskloom.study.plans.apart import Apart
from taskloom.task import Regression

NAMES = [candidate.name for candidate in catalogue()]
MINE = Candidate(name="mine", title="mine", summary="As single-task networks.", family="joint", plan=Apart())


def names(chosen):
    return [candidate.name for candidate in chosen]


def test_every_candidate_has_words_for_the_report():
    for candidate in catalogue():
        assert candidate.title
        assert candidate.summary.endswith(".")
        assert candidate.family in ("single", "baseline", "pooled", "joint")


def test_what_does_not_fit_is_left_out_with_the_reason(mixed, schools):
    chosen, left_out = choose("default", mixed)
    assert names(chosen)[0] == REFERENCE
    assert "hard_sharing" in names(chosen)
    assert set(left_out) == {
        "pooled",
        "conditioned_one_hot",
        "conditioned_embedding",
        "conditioned_film",
        "boosted_trees_pooled",
        "mean_regularised",
        "group_lasso",
    }
    assert all("3 classes" in left_out.pop(name) for name in ("mean_regularised", "group_lasso"))
    assert all("different targets of the same rows" in reason for reason in left_out.values())
    chosen, left_out = choose("all", schools)
    assert names(chosen) == [name for name in NAMES if name not in left_out]
    assert set(left_out) == {"hard_sharing_mgda_ub", "fully_adaptive"}
    assert "common features" in left_out["hard_sharing_mgda_ub"]


def test_one_task_leaves_what_learns_apart(mixed):
    chosen, left_out = choose("default", mixed.only("a / b"))
    assert names(chosen) == ["single_task", "linear", "boosted_trees"]
    assert set(left_out.values()) == {"there is only one task"}


def test_different_quantities_are_not_pooled(schools):
    chosen, left_out = choose("default", dataclasses.replace(schools, common_target=False))
    assert "pooled" not in names(chosen)
    assert "different kinds" in left_out["pooled"]


def test_many_tasks_leave_out_what_would_take_too_long():
    random = np.random.default_rng(0)
    data = MultiTaskData.from_tasks({f"t{k}": (random.normal(size=(12, 2)), random.normal(size=12)) for k in range(40)})
    chosen, left_out = choose("default", data)
    assert set(left_out) == {"soft_sharing_trace", "boosted_trees"}
    assert "40" in left_out["soft_sharing_trace"]
    weights = next(one for one in chosen if one.name == "hard_sharing_tuned_weights").plan.space(data)
    assert "size_exponent" in [parameter.name for parameter in weights]


@pytest.mark.parametrize("wanted", [["linear"], "linear", ["linear", "hard_sharing"], ["linear", "single_task"]])
def test_the_reference_and_the_plain_form_always_take_part(mixed, wanted):
    chosen, _ = choose(wanted, mixed)
    assert names(chosen)[0] == REFERENCE
    assert set(names(chosen)) == {"single_task", "hard_sharing", "linear"}


def test_a_candidate_of_ones_own(mixed):
    chosen, _ = choose([MINE, "linear"], mixed)
    assert names(chosen) == ["single_task", "hard_sharing", "mine", "linear"]
    own_reference = dataclasses.replace(MINE, name="single_task")
    assert choose([own_reference], mixed)[0][0] is own_reference


def test_what_cannot_be_chosen(mixed):
    with pytest.raises(StudyError, match=r"unknown name 'linaer'\. Did you mean 'linear'\?"):
        choose(["linaer"], mixed)
    with pytest.raises(StudyError, match=r"\['mine'\] are named twice"):
        choose([MINE, MINE], mixed)
    with pytest.raises(StudyError, match="'pooled' does not fit these data: the tasks are different targets"):
        choose(["pooled"], mixed)
    with pytest.raises(StudyError, match="'transfer' does not fit these data: there is only one task"):
        choose(["transfer"], mixed.only("a / b"))


def test_common_head_networks_and_pooling_ask_for_equal_kinds():
    x = np.zeros((20, 1))
    data = MultiTaskData.from_tasks({"a": (x, np.arange(20.0)), "b": (x, np.arange(20.0))}, Regression())
    assert set(choose("all", data)[1]) == {"hard_sharing_mgda_ub", "fully_adaptive"}
