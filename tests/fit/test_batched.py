"""The law of batched training: a member of a batched run ends as if it had been trained alone by the Trainer."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import taskloom as tl
from taskloom._rng import initial_weights
from taskloom.balance.base import Scale
from taskloom.couplings import PairwiseDistance, TraceNorm
from taskloom.data.tensors import TaskTensors
from taskloom.fit.batchable import reason_against_batching, shape_signature
from taskloom.fit.batched import train_batched
from taskloom.fit.train import train
from taskloom.fit.training import Objective, OptimiserSettings, Schedule, Training
from taskloom.nn import MLP, HardSharing, SoftSharing
from taskloom.nn.phase import Phase
from taskloom.study.architectures import architectures
from taskloom.study.catalogue import catalogue
from taskloom.study.plans._networks import Shape
from taskloom.study.plans.together import Together

TOGETHER = {candidate.name: candidate.plan for candidate in catalogue() if isinstance(candidate.plan, Together)}
FOR_SEVERAL_SETS = {"pooled", "conditioned_one_hot", "conditioned_embedding", "conditioned_film"}
# methods with a memory, with rules on single entries of the gradients, and at features
NEVER_BATCHED = {
    f"hard_sharing_{method}"
    for method in "almo db_mtl dwa excess_mtl famo graddrop gradnorm gradvac group_dro mgda_ub moco stch_mtl".split()
}
# architectures that are trained in phases, or whose penalties depend on the batch
NEVER_BATCHED |= {"relationship", "adashare", "learning_to_branch", "sharing_graph", "mmoe_dselect"}
NEVER_BATCHED |= {"branched", "factorised_trained", "fully_adaptive"}
FOR_ONE_SET = {"hard_sharing_mgda_ub"}
ARCHITECTURES = [candidate.name for candidate in architectures()]  # large networks: each in one layout, in turn
CASES = [(name, "several_sets") for name in TOGETHER if name not in {*FOR_ONE_SET, *ARCHITECTURES[::2]}] + [
    (name, "multi_label") for name in TOGETHER if name not in {*FOR_SEVERAL_SETS, *ARCHITECTURES[1::2]}
]


def grouped(tensors: TaskTensors, seed: int) -> TaskTensors:
    """Another split per seed with another number of training rows, as splits by group have."""
    rows = np.random.default_rng(seed).permutation(len(tensors.inputs))
    bounds = 80 - 18 * seed
    return replace(tensors, train=np.sort(rows[:bounds]), validation=np.sort(rows[bounds : bounds + 30]))


def network(tensors: TaskTensors, seed: int = 0, *, width: int = 8, model=None) -> tl.nn.MultiTaskModel:
    with initial_weights(seed):
        built = HardSharing(MLP(6, hidden=(width,)), tensors.tasks) if model is None else model(tensors.tasks)
    return built.double()


def hard(tensors: TaskTensors, seed: int = 0, *, lr: float = 1e-2, balancer=None, model=None, **settings) -> Training:
    schedule = settings.pop("schedule", Schedule(max_epochs=5, patience=5, batch_size=16))
    return Training(
        network(tensors, seed, model=model),
        (balancer or tl.equal)(),
        tensors,
        Objective.of(tensors),
        optimiser=OptimiserSettings(learning_rate=lr, **settings),
        schedule=schedule,
        seed=seed,
    )


def candidate_members(plan: Together, tensors: TaskTensors) -> list[Training]:
    """Members that differ in everything that members may differ in."""
    members = []
    for seed, lr, decay in ((0, 1e-3, 1e-2), (1, 3e-2, 1e-2), (2, 0.2, 0.3), (0, 3e-2, 1e-2)):
        own = grouped(tensors, seed)
        extra = plan.extra(SimpleNamespace(tasks=own.tasks)) if plan.extra is not None else ()
        settings = {"width": 8} | {parameter.name: parameter.default for parameter in extra}
        settings |= {"strength": 1e-2 * (seed + 1), **{f"weight_{k}": 1.0 + k + seed for k in range(4)}}
        with initial_weights(seed):
            model = plan.build(Shape(own.tasks, 6, settings)).double()
        shares = next(iter(model.shared_parameters()), None) is not None
        balancer = plan.balancer(SimpleNamespace(seed=seed, tasks=own.tasks, tensors=own), settings)
        balancer.bind(own.tasks)
        balancer.double()
        for parameter in balancer.parameters():  # what was drawn or written in float32
            torch.nn.init.zeros_(parameter)
        members.append(
            Training(
                model,
                balancer,
                own,
                Objective.of(own),
                optimiser=OptimiserSettings(learning_rate=lr, weight_decay=decay),
                schedule=Schedule(max_epochs=7, patience=1, batch_size=16, measure_every=2 if shares else 0),
                seed=seed,
            )
        )
    assert len({member.order.steps for member in members}) > 1
    return members


@pytest.mark.parametrize(("name", "layout"), CASES)
def test_batched_equals_one_by_one(name, layout, request, deviation):
    members = candidate_members(TOGETHER[name], request.getfixturevalue(layout))
    if reason_against_batching(members[0]) is not None:  # trained one by one in any case
        assert name in NEVER_BATCHED
        return
    assert len({shape_signature(member) for member in members}) == 1
    together, alone = train(members), train(members, batched=False)
    for found, expected in zip(together, alone, strict=True):
        # softmax and normalisation round in another way where members are stacked, and seven epochs amplify that
        assert deviation(found, expected) < (1e-7 if name == "perceiver" else 1e-9)
    # otherwise this says nothing on early stopping and on taking members out of the stack
    if (name, layout) == ("hard_sharing", "multi_label"):
        assert len({result.history.epochs for result in together}) > 1


@pytest.mark.parametrize("layout", ["multi_label", "several_sets"])
def test_single_tasks_are_members_of_one_run(layout, request, deviation):
    tensors = request.getfixturevalue(layout)
    members = [
        hard(tensors.only([task.name]), seed, lr=lr)
        for task in tensors.tasks
        for seed, lr in ((0, 1e-2), (1, 1e-3))
        if not task.kind.n_classes
    ]
    assert len({shape_signature(member) for member in members}) == 1
    for found, expected in zip(train(members), train(members, batched=False), strict=True):
        assert deviation(found, expected) < 1e-9


@pytest.mark.parametrize(
    "balancer", [tl.equal, tl.uncertainty, lambda: tl.pcgrad(seed=1)], ids=["equal", "uncertainty", "pcgrad"]
)
def test_who_else_is_in_the_run_does_not_matter(multi_label, deviation, balancer):
    schedule = Schedule(max_epochs=8, patience=2, batch_size=16, measure_every=3)
    members = [
        hard(grouped(multi_label, seed), seed, lr=lr, balancer=balancer, schedule=schedule)
        for seed in (0, 1, 2)
        for lr in (1e-3, 3e-2, 0.3)
    ]
    everyone = train_batched(members)
    for chosen in ([4], [8, 0, 3]):
        for place, result in zip(chosen, train_batched([members[place] for place in chosen]), strict=True):
            assert deviation(result, everyone[place]) < 1e-12


def test_members_leave_the_stack_in_any_order(multi_label, deviation):
    """Two learning rates, each with two numbers of steps: blocks of equal settings lose their neighbours."""
    members = [
        hard(
            grouped(multi_label, seed),
            seed,
            lr=lr,
            balancer=tl.uncertainty,
            schedule=Schedule(max_epochs=12, patience=1, batch_size=16),
        )
        for seed in (0, 1, 2)
        for lr in (1e-3, 3e-2, 0.5)
    ]
    together = train_batched(members)
    assert len({result.history.epochs for result in together}) > 2
    for member, result in zip(members, together, strict=True):
        (alone,) = train_batched([member])
        assert deviation(result, alone) < 1e-12


def test_the_given_networks_keep_their_weights(multi_label):
    member = hard(multi_label, balancer=tl.uncertainty)
    before = {name: value.clone() for name, value in member.model.state_dict().items()}
    (result,) = train([member])
    assert all(torch.equal(value, before[name]) for name, value in member.model.state_dict().items())
    assert any(not torch.equal(value, before[name]) for name, value in result.state.items())
    assert train([]) == train_batched([]) == []


def test_results_come_in_the_order_given_and_are_counted(multi_label):
    members = [hard(multi_label, 0, lr=lr) for lr in (3e-2, 1e-3, 1e-2)]
    members.insert(1, hard(multi_label, 1, model=_with_dropout))
    counted: list[int] = []
    results = train(members, finished=counted.append)
    assert sorted(counted) == [1, 3]
    for member, result in zip(members, results, strict=True):
        assert result.skeleton is member.model


# -- what may be batched ------------------------------------------------------------------------------------------


def _with_dropout(tasks):
    return HardSharing(MLP(6, hidden=(4,), dropout=0.5), tasks)


def _with_norm(tasks):
    return HardSharing(
        torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.BatchNorm1d(4)), tasks, example=torch.zeros(2, 6)
    )


def _with_convolution(tasks):
    layers = torch.nn.Sequential(torch.nn.Unflatten(1, (1, 6)), torch.nn.Conv1d(1, 2, 3), torch.nn.Flatten())
    return HardSharing(layers, tasks, example=torch.zeros(2, 6))


class _TwoPhases(HardSharing):
    def phases(self):
        yield Phase(name="first", epochs=1)
        yield Phase(name="second", epochs=1)


def _with_phases(tasks):
    return _TwoPhases(MLP(6, hidden=(4,)), tasks)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (_with_dropout, "dropout"),
        (_with_norm, "batch normalisation"),
        (_with_convolution, "Conv1d"),
        (_with_phases, "phases of its own"),
    ],
)
def test_models_that_cannot_be_batched_go_to_the_trainer(multi_label, model, reason, monkeypatch):
    member = hard(multi_label, model=model, schedule=Schedule(max_epochs=2, batch_size=40))
    assert reason in reason_against_batching(member)
    asked = []
    monkeypatch.setattr(sys.modules["taskloom.fit.train"], "train_batched", asked.append)
    (result,) = train([member])
    assert asked == []
    assert result.history.epochs == 2
    assert result.best_epoch >= 0


def test_plain_models_and_zero_dropout_can_be_batched(multi_label):
    assert reason_against_batching(hard(multi_label)) is None
    quiet = hard(multi_label, model=lambda tasks: HardSharing(MLP(6, hidden=(4,), dropout=0.0), tasks))
    assert reason_against_batching(quiet) is None


def test_a_balancer_that_looks_back_cannot_be_batched(multi_label):
    class LooksBack(Scale):
        def scale(self, flow):
            return flow.losses() * 0 + 1

        def observe(self, losses):
            pass

    assert "remembers" in reason_against_batching(hard(multi_label, balancer=lambda: tl.chain(LooksBack())))


def _soft(tensors, coupling):
    return hard(tensors, model=lambda tasks: SoftSharing(lambda: MLP(6, hidden=(4,)), tasks, coupling=coupling))


def test_members_may_differ_in_these(multi_label):
    base = hard(multi_label)
    for other in (hard(multi_label, 1), hard(multi_label, lr=0.5), hard(multi_label, weight_decay=0.5)):
        assert shape_signature(other) == shape_signature(base)
    first, second = (_soft(multi_label, PairwiseDistance(strength)) for strength in (0.1, 0.2))
    assert shape_signature(first) == shape_signature(second)
    weights = [hard(multi_label, balancer=lambda w=w: tl.fixed([w, 1.0, 1.0, 1.0])) for w in (1.0, 2.0)]
    assert shape_signature(weights[0]) == shape_signature(weights[1])
    seeds = [hard(multi_label, balancer=lambda s=s: tl.pcgrad(seed=s)) for s in (1, 2)]
    assert shape_signature(seeds[0]) == shape_signature(seeds[1])


def test_members_may_not_differ_in_these(multi_label, several_sets):
    float32 = replace(multi_label, inputs=multi_label.inputs.float(), targets=multi_label.targets.float())
    frozen = hard(multi_label)
    frozen.model.encoder[0][0].weight.requires_grad_(False)
    slope = [
        hard(
            multi_label,
            model=lambda tasks, s=s: HardSharing(
                torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.LeakyReLU(s)), tasks, example=torch.zeros(2, 6)
            ),
        )
        for s in (0.1, 0.2)
    ]
    different = [
        hard(multi_label),
        frozen,
        hard(multi_label, model=lambda tasks: HardSharing(MLP(6, hidden=(9,)), tasks)),
        hard(multi_label, balancer=lambda: tl.equal("mean")),
        hard(multi_label, balancer=tl.pcgrad),
        hard(multi_label, balancer=lambda: tl.pcgrad(order="ascending")),
        hard(multi_label, balancer=lambda: tl.pcgrad("mean")),
        hard(multi_label, schedule=Schedule(max_epochs=6, patience=5, batch_size=16)),
        hard(replace(multi_label, tasks=(replace(multi_label.tasks[0], loss_weight=2.0), *multi_label.tasks[1:]))),
        hard(multi_label.only(["a", "b c"])),
        hard(multi_label.only(["a", "d"])),
        hard(several_sets),
        hard(float32),
        _soft(multi_label, PairwiseDistance(0.1)),
        _soft(multi_label, TraceNorm(0.1)),
        _soft(multi_label, TraceNorm(0.1, unfolding="tucker")),
        *slope,
    ]
    signatures = [shape_signature(member) for member in different]
    assert len(set(signatures)) == len(signatures)


# -- members that diverge -----------------------------------------------------------------------------------------

MODELS = {
    "hard": None,
    "trace norm": lambda tasks: SoftSharing(lambda: MLP(6, hidden=(4,)), tasks, coupling=TraceNorm(1e-2)),
}


@pytest.mark.parametrize(
    ("model", "balancer"),
    [
        ("hard", tl.equal),
        ("hard", tl.uncertainty),
        ("hard", lambda: tl.pcgrad(seed=1)),
        ("trace norm", tl.equal),
    ],
    ids=["equal", "uncertainty", "pcgrad", "trace norm"],
)
def test_a_diverging_member_stops_and_disturbs_nobody(multi_label, deviation, model, balancer):
    healthy = [hard(multi_label, seed, model=MODELS[model], balancer=balancer) for seed in (0, 1)]
    wild = [hard(multi_label, seed, model=MODELS[model], balancer=balancer, lr=1e30) for seed in (2, 3)]
    expected = train(healthy)
    found = train([wild[0], *healthy, wild[1]])
    for result, alone in zip(found[1:3], expected, strict=True):
        assert deviation(result, alone) < 1e-12
    for member, result in zip(wild, (found[0], found[3]), strict=True):
        assert result.best_epoch == -1
        assert result.validation_score == np.inf
        assert result.history.epochs == 1
        (alone,) = train([member], batched=False)
        assert (alone.best_epoch, alone.history.epochs) == (-1, 1)
        assert np.isnan(alone.history.score).all()
        assert np.isnan(result.history.score).all()


@pytest.mark.parametrize("model", MODELS)
def test_a_member_that_diverges_late_keeps_its_best_epoch(multi_label, deviation, model):
    """Weights that a large step grows without bound, by a constant factor per step."""
    settings = {"model": MODELS[model], "schedule": Schedule(max_epochs=9, patience=9, batch_size=16)}
    healthy, sick = hard(multi_label, 0, **settings), hard(multi_label, 1, lr=1e3, weight_decay=0.9, **settings)
    found = train([sick, healthy])
    (alone,) = train([sick], batched=False)
    assert 0 <= found[0].best_epoch < found[0].history.epochs - 1
    assert np.isnan(found[0].history.score[-1])
    assert found[0].history.epochs < 9
    assert deviation(found[0], alone) < 1e-9
    assert deviation(found[1], train([healthy])[0]) < 1e-12


@pytest.mark.parametrize("model", MODELS)
def test_a_label_that_is_not_finite_ends_its_member(multi_label, deviation, model):
    targets = multi_label.targets.clone()
    targets[3, :2] = torch.nan
    broken = replace(multi_label, targets=targets, mask=multi_label.mask | ~targets.isfinite())
    healthy, sick = (hard(tensors, 0, model=MODELS[model]) for tensors in (multi_label, broken))
    found = train([sick, healthy])
    assert (found[0].best_epoch, found[0].history.epochs) == (-1, 1)
    assert deviation(found[1], train([healthy])[0]) < 1e-12
