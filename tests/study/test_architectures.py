"""Architectures as candidates: all build, train, compare, and come back from the run folder, in both layouts."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

import taskloom as tl
from taskloom.data.split import RandomSplit
from taskloom.fit import Schedule, Training, train
from taskloom.fit.batchable import reason_against_batching
from taskloom.nn import check_partition
from taskloom.study import load_model
from taskloom.study.architectures import architectures
from taskloom.study.plans._networks import Shape
from taskloom.study.problem import Problem

NAMES = [candidate.name for candidate in architectures()]
ALONE = {"relationship", "adashare", "learning_to_branch", "sharing_graph", "mmoe_dselect"} | {
    "branched",
    "factorised_trained",
    "fully_adaptive",
}


def multi_label() -> tl.MultiTaskData:
    random = np.random.default_rng(0)
    x = random.normal(size=(90, 4))
    y = {name: x[:, k] + x[:, k + 1] + 0.3 * random.normal(size=90) for k, name in enumerate(("a b", "c/d", "e"))}
    return tl.MultiTaskData.from_arrays(x, y, tasks=[tl.Task(name=name, kind=tl.Regression()) for name in y])


@pytest.fixture(scope="module")
def problem() -> Problem:
    return Problem(multi_label(), RandomSplit(), 0)


def settings_of(candidate, data) -> dict:
    return {"width": 8} | {parameter.name: parameter.default for parameter in candidate.plan.space(data)} | {"width": 8}


@pytest.mark.parametrize("candidate", architectures(), ids=NAMES)
def test_it_builds_for_a_table_and_tells_the_truth_about_its_parameters(candidate, problem):
    data = multi_label()
    assert candidate.plan.reason_against(data) is None
    torch.manual_seed(0)
    model = candidate.plan.build(Shape(data.tasks, 4, settings_of(candidate, data))).double()
    inputs = torch.randn(8, 4, dtype=torch.float64)
    assert [output.shape for output in model(inputs).values()] == [(8, 1)] * 3
    check_partition(model, inputs)
    assert isinstance(model.describe()["total"], int)


@pytest.mark.parametrize("candidate", architectures(), ids=NAMES)
def test_it_trains_in_batches_unless_something_speaks_against_it(candidate, problem):
    torch.manual_seed(0)
    model = candidate.plan.build(Shape(problem.tasks, problem.n_inputs, settings_of(candidate, multi_label())))
    training = Training(
        model, tl.equal(), problem.tensors, problem.objective, schedule=Schedule(max_epochs=1, batch_size=32)
    )
    reason = reason_against_batching(training)
    assert (reason is not None) == (candidate.name in ALONE), reason
    if reason is None:
        (result,) = train([training])
        assert np.isfinite(result.validation_score)


def test_a_comparison_with_a_learned_structure_can_be_loaded(tmp_path, monkeypatch):
    import taskloom.study.architectures as module
    from taskloom.nn import SharingGraph, TensorFactorised

    monkeypatch.setattr(
        module, "_sharing_graph", lambda shape: SharingGraph(module._three_stages(shape), shape.tasks, search_epochs=2)
    )
    data, names = multi_label(), ("mmoe", "sharing_graph", "factorised_trained")
    candidates = [one for one in module.architectures() if one.name in names]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = tl.compare(
            data, candidates=candidates, seeds=1, budget=1, out=tmp_path / "run", progress=False, workers=1
        )
    assert set(names) <= set(results.candidates)
    for candidate in candidates:
        stored = load_model(tmp_path / "run", candidate=candidate)
        predictions = stored.predict(data)
        assert all(np.isfinite(values).all() for values in predictions.values())
        if candidate.name == "sharing_graph":
            assert stored.networks[0].is_pruned
        if candidate.name == "factorised_trained":
            assert isinstance(stored.networks[0], TensorFactorised)


def test_networks_that_read_each_other_are_left_out_with_many_tasks():
    x = np.random.default_rng(0).normal(size=(60, 3))
    y = {f"task {k}": x[:, k % 3] for k in range(40)}
    data = tl.MultiTaskData.from_arrays(x, y, tasks=[tl.Task(name=name, kind=tl.Regression()) for name in y])
    reasons = {candidate.name: candidate.plan.reason_against(data) for candidate in architectures()}
    assert "square of their number" in reasons["cross_stitch"]
    assert reasons["mmoe"] is None
