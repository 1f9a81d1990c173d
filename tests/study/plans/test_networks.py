"""Plans of networks: what they train, on which tasks, from which start."""

import numpy as np
import pytest
import torch

from taskloom.data.split import RandomSplit
from taskloom.fit.train import train
from taskloom.study.candidate import Candidate
from taskloom.study.catalogue import catalogue
from taskloom.study.classical import classical
from taskloom.study.plans._networks import rows_per_network
from taskloom.study.plans.apart import Apart
from taskloom.study.plans.transfer import Transfer
from taskloom.study.problem import Problem
from taskloom.study.space import default_settings

CLASSICAL = {candidate.name for candidate in classical()}
NETWORKS = [one for one in catalogue() if one.family != "baseline" and one.name not in CLASSICAL]
KNOWN = {candidate.name: candidate for candidate in catalogue()}


def learn(plan, problem, **changes):
    """Carry a plan out; returns its stages of trainings, and what it learned."""
    settings = {**default_settings(plan.space(problem.data)), **changes}
    learning = plan.learn(problem, settings)
    stages, results = [], None
    while True:
        try:
            stages.append(learning.send(results))
        except StopIteration as end:
            return stages, end.value
        results = train(stages[-1])


@pytest.mark.parametrize("candidate", NETWORKS, ids=lambda candidate: candidate.name)
def test_every_plan_answers_every_task(candidate: Candidate, schools, mixed):
    if candidate.plan.reason_against(schools) is not None:
        assert candidate.plan.reason_against(mixed) is None
        return
    problem = Problem(schools, RandomSplit(), 0)
    stages, learned = learn(candidate.plan, problem)
    assert all(training.seed == 0 for stage in stages for training in stage)
    assert sorted(name for one in learned for name in one.tasks) == sorted(task.name for task in schools.tasks)
    for one in learned:
        outputs = {part: one.outputs(part) for part in ("validation", "test")}
        assert all(
            outputs[part][name].shape == (len(problem.rows(name, part)), 1) for part in outputs for name in one.tasks
        )
        losses = [problem.relative_loss(name, outputs["validation"][name], "validation") for name in one.tasks]
        assert one.score == pytest.approx(np.mean(losses), rel=1e-4)
        learned = [parameter for parameter in one.fit.model.parameters() if parameter.requires_grad]
        assert one.parameters == sum(parameter.numel() for parameter in learned)
        assert one.seconds > 0


def test_settings_reach_the_training(problem):
    changes = {"learning_rate": 0.007, "weight_decay": 0.3, "width": 16}
    for name in ("single_task", "hard_sharing", "transfer"):
        (first, *_), _ = learn(KNOWN[name].plan, problem, **changes)
        for training in first:
            assert (training.optimiser.learning_rate, training.optimiser.weight_decay) == (0.007, 0.3)
            assert training.model.get_submodule("encoder").out_features == 16


def test_apart_stops_every_task_by_its_own_score(problem):
    (stage,), learned = learn(Apart(), problem)
    assert [training.model.tasks for training in stage] == [(task.name,) for task in problem.tasks]
    assert all(training.objective.scored.tolist() == [True] for training in stage)  # also the auxiliary one
    assert [one.tasks for one in learned] == [(task.name,) for task in problem.tasks]


def test_transfer_learns_the_others_first(problem):
    (first, second), learned = learn(Transfer(), problem, fine_tune_factor=0.1, learning_rate=0.01)
    names = [task.name for task in problem.tasks]
    assert [training.model.tasks for training in first] == [tuple(n for n in names if n != name) for name in names]
    assert [training.model.tasks for training in second] == [(name,) for name in names]
    assert all(training.optimiser.learning_rate == pytest.approx(0.001) for training in second)
    # the encoder starts where the source network was at its best; the head is fresh
    sources = train(first)
    for source, fine in zip(sources, second, strict=True):
        start = fine.model.get_submodule("encoder").state_dict()
        assert all(torch.allclose(start[name], source.state[f"encoder.{name}"], atol=1e-6) for name in start)
    assert [one.tasks for one in learned] == [(name,) for name in names]


def test_transfer_with_many_tasks_shares_its_sources(schools_with):
    problem = Problem(schools_with(9, 20), RandomSplit(), 0)
    sources = Transfer(largest_exact=6, folds=4).sources(problem)
    assert len(set(sources.values())) == 4
    assert all(name not in others for name, others in sources.items())
    assert all(len(others) in (6, 7) for others in sources.values())
    stages, learned = learn(Transfer(largest_exact=2, folds=2), problem)
    assert [len(stage) for stage in stages] == [2, 9]
    assert len(learned) == 9


def test_tuned_weights_reach_the_balancer(problem):
    plan = KNOWN["hard_sharing_tuned_weights"].plan
    ((training,),), _ = learn(plan, problem, weight_0=4.0, weight_1=2.0)
    weights = training.balancer.weights(torch.eye(4))
    torch.testing.assert_close(weights, torch.tensor([4.0, 2.0, 1.0, 1.0]) / 2, check_dtype=False)


def test_every_plan_can_build_its_network_again(problem, schools):
    from taskloom.study.models import NetworkPlan

    assert all(isinstance(candidate.plan, NetworkPlan) for candidate in NETWORKS)


def test_small_data_sets_get_narrow_networks(mixed_with):
    widths = []
    for n_rows in (90, 700):
        data = mixed_with(n_rows=n_rows)
        widths.append(max(Apart().space(data)[0].values))
        assert rows_per_network(data) == pytest.approx(np.median([mask.sum() for mask in data.mask.values()]))
    assert widths == [64, 128]
