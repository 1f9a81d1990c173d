"""Groups of parameters that a model asks for: trained with their own rates, alone and in a batch."""

from __future__ import annotations

import copy

import pytest
import torch

import taskloom as tl
from taskloom._rng import initial_weights
from taskloom.fit.batchable import reason_against_batching, shape_signature
from taskloom.fit.train import train
from taskloom.fit.training import Objective, OptimiserSettings, Schedule, Training
from taskloom.losses import task_losses
from taskloom.nn import MLP, NDDR, CrossStitch, RelationshipNetwork, TensorFactorised
from taskloom.nn.factors import LAF


def cross_stitch(tasks):
    return CrossStitch(MLP(6, (5, 4)), tasks, unit_lr_factor=7.0)


def nddr(tasks):
    return NDDR(MLP(6, (5, 4)), tasks, norm=None, unit_lr_factor=0.5)


def factorised(tasks):
    return TensorFactorised(lambda: MLP(6, (5,)), tasks, factorisation=LAF(rank=2))


def related(tasks):
    return RelationshipNetwork(MLP(6, (5,)), tasks, tower=lambda: MLP(5, (4,)), every=1000)


def training(make, tensors, seed=0, *, lr=1e-2, decay=0.5, epochs=4) -> Training:
    with initial_weights(seed):
        model = make(tensors.tasks).double()
    return Training(
        model,
        tl.equal(),
        tensors,
        Objective.of(tensors),
        optimiser=OptimiserSettings(learning_rate=lr, weight_decay=decay),
        schedule=Schedule(max_epochs=epochs, patience=2, batch_size=16),
        seed=seed,
    )


@pytest.mark.parametrize("make", [cross_stitch, nddr, factorised, related])
def test_the_trainer_takes_the_groups_of_the_model(multi_label, make):
    one = training(make, multi_label, epochs=1)
    (found,) = train([one], batched=False)
    model = copy.deepcopy(one.model)
    groups = model.param_groups(1e-2, weight_decay=0.5)
    assert len(groups) == 2
    assert (groups[0]["lr"], groups[0]["weight_decay"]) == (1e-2, 0.5)
    assert {key: groups[1][key] for key in ("lr", "weight_decay")} != {"lr": 1e-2, "weight_decay": 0.5}
    optimiser = torch.optim.AdamW(groups)
    for batch in multi_label.batches(*one.order.epoch(0)):
        optimiser.zero_grad()
        losses, _ = task_losses(multi_label.tasks, model(batch.inputs), targets=batch.targets, mask=batch.mask)
        (losses.sum() + model.penalty()).backward()
        optimiser.step()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(found.state[name], value, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("make", [cross_stitch, nddr, factorised])
@pytest.mark.parametrize("layout", ["multi_label", "several_sets"])
def test_batched_equals_one_by_one(make, layout, request, deviation):
    tensors = request.getfixturevalue(layout)
    settings = [(0, 1e-2, 0.5), (1, 1e-2, 0.5), (0, 3e-2, 0.01), (2, 0.2, 0.0)]
    members = [training(make, tensors, seed, lr=lr, decay=decay, epochs=6) for seed, lr, decay in settings]
    assert all(reason_against_batching(member) is None for member in members)
    together, alone = train(members), train(members, batched=False)
    for found, expected in zip(together, alone, strict=True):
        assert deviation(found, expected) < 1e-9
    if make is cross_stitch:
        ended = {result.history.epochs for result in together}
        assert len(ended) > 1, "no member leaves the stack before the others"


def test_who_else_is_in_the_run_does_not_matter(multi_label, deviation):
    members = [training(cross_stitch, multi_label, seed, lr=lr) for seed in (0, 1) for lr in (1e-3, 0.2)]
    everyone = train(members)
    for member, found in zip(members, everyone, strict=True):
        (alone,) = train([member])
        assert deviation(found, alone) < 1e-12


def test_networks_with_other_factors_are_not_members_of_one_run(multi_label):
    slow, fast = (
        training(cross_stitch, multi_label),
        training(lambda tasks: CrossStitch(MLP(6, (5, 4)), tasks, unit_lr_factor=8.0), multi_label),
    )
    assert shape_signature(slow) != shape_signature(fast)
