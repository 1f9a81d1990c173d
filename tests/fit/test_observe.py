"""What a balancer is told in training: the losses after the step, and the ends of epochs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import taskloom as tl
from taskloom.balance.base import Balancer, Scale, chain
from taskloom.balance.scale.dwa import dwa
from taskloom.balance.scale.famo import famo
from taskloom.balance.scale.stch import stch_mtl
from taskloom.data.batch import Batch
from taskloom.fit.batchable import reason_against_batching
from taskloom.fit.trainer import TrainerOptions
from taskloom.fit.training import Objective, OptimiserSettings, Schedule, Training
from taskloom.nn import MLP, HardSharing

TASKS = tuple(tl.Task(name=name, kind=tl.Regression()) for name in ("a", "b"))
N_ROWS, N_BATCHES = 48, 3


class Counting(nn.Module):
    """Encoder with dropout and running statistics that keeps what it was asked and what it answered."""

    def __init__(self, *, dropout: float = 0.5) -> None:
        super().__init__()
        self.dense = nn.Linear(4, 6)
        self.norm = nn.BatchNorm1d(6)
        self.drop = nn.Dropout(dropout)
        self.calls: list[tuple[bool, Tensor]] = []

    def forward(self, x: Tensor) -> Tensor:
        z = self.drop(self.norm(self.dense(x)))
        self.calls.append((self.training, z.detach().clone()))
        return z

    def __deepcopy__(self, memo: object) -> Counting:
        return self  # tl.fit trains a copy; these tests look at it

    def in_training(self) -> list[Tensor]:
        return [z for training, z in self.calls if training]


@pytest.fixture
def encoder() -> Counting:
    torch.manual_seed(0)
    return Counting()


def batches(*, missing: bool = False) -> list[Batch]:
    x = torch.randn(N_ROWS, 4, generator=torch.Generator().manual_seed(1))
    y = {"a": x[:, 0] + 2, "b": x[:, 1] * x[:, 2] + 2}
    found = []
    for number, rows in enumerate(torch.arange(N_ROWS).chunk(N_BATCHES)):
        masks = {name: torch.full((len(rows),), not (missing and name == "b" and number == 1)) for name in y}
        found.append(Batch(x[rows], {name: values[rows] for name, values in y.items()}, masks))
    return found


def fit(encoder: nn.Module, balancer: Balancer, *, epochs: int = 2, rate: float = 1e-2, **settings: object):
    parts = batches(missing=bool(settings.pop("missing", False)))
    return tl.fit(
        encoder,
        (parts, batches()[:1]),
        tasks=TASKS,
        balancer=balancer,
        optimiser=OptimiserSettings(learning_rate=rate, weight_decay=0.0),
        schedule=Schedule(max_epochs=epochs, measure_every=0),
        **settings,
    )


def logits(result) -> Tensor:
    (found,) = [value for name, value in result.balancer_state.items() if name.endswith("logits")]
    return found


def test_a_balancer_that_looks_at_the_change_is_told_the_losses_after_the_step(encoder: Counting) -> None:
    result = fit(encoder, famo())
    assert logits(result).abs().min() > 0
    torch.testing.assert_close(logits(result).sum(), torch.zeros((), dtype=torch.float64), atol=0.01, rtol=0)
    assert len(encoder.in_training()) == 2 * 2 * N_BATCHES


def test_other_balancers_cost_no_second_forward_pass(encoder: Counting) -> None:
    fit(encoder, tl.equal())
    assert len(encoder.in_training()) == 2 * N_BATCHES
    fit(encoder, famo(reuse_next=True))
    assert len(encoder.in_training()) == 2 * 2 * N_BATCHES


def test_the_second_look_has_the_same_dropout_and_changes_nothing(encoder: Counting) -> None:
    result = fit(encoder, famo(decay=0.0), epochs=1, rate=1e-30)  # no step at all in float32
    first = encoder.in_training()[-2 * N_BATCHES :]
    for once, again in zip(first[::2], first[1::2], strict=True):
        assert torch.equal(once, again)
    assert not torch.equal(first[0], first[2])
    assert torch.equal(logits(result), torch.zeros(2, dtype=torch.float64))
    assert encoder.norm.num_batches_tracked.item() == N_BATCHES


def test_a_second_look_leaves_the_training_as_it_would_be(encoder: Counting) -> None:
    class Peeks(Scale):
        """Equal weights that look at the losses after the step and forget them."""

        def scale(self, flow):
            return torch.ones_like(flow.losses())

        def observe(self, losses: Tensor) -> None:
            assert not losses.requires_grad

    states = []
    for balancer in (tl.equal(), chain(Peeks())):
        torch.manual_seed(0)
        states.append(fit(Counting(), balancer).state)
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_with_accumulation_it_looks_once_per_step_of_the_optimiser(encoder: Counting) -> None:
    fit(encoder, famo(), epochs=1, trainer=TrainerOptions(accumulate_grad_batches=3))
    assert len(encoder.in_training()) == N_BATCHES + 1


@pytest.mark.gpu
def test_the_second_look_has_the_same_dropout_on_a_gpu(encoder: Counting) -> None:
    trainer = TrainerOptions(accelerator="gpu", devices=1)
    result = fit(encoder, famo(decay=0.0), epochs=1, rate=1e-30, trainer=trainer)
    looks = encoder.in_training()
    assert looks[0].is_cuda
    assert all(torch.equal(once, again) for once, again in zip(looks[::2], looks[1::2], strict=True))
    assert logits(result).cpu().tolist() == [0.0, 0.0]


def test_absent_tasks_are_left_out(encoder: Counting) -> None:
    result = fit(encoder, famo(), epochs=1, missing=True)
    (updates,) = [value for name, value in result.balancer_state.items() if name.endswith("updates")]
    assert updates.tolist() == [3, 2]


def test_the_losses_are_those_of_the_network_after_the_step() -> None:
    observed: list[Tensor] = []

    class Keeps(Scale):
        def scale(self, flow):
            return torch.ones_like(flow.losses())

        def observe(self, losses: Tensor) -> None:
            observed.append(losses.clone())

    torch.manual_seed(0)
    batch = batches()[0]
    result = tl.fit(
        nn.Linear(4, 3),
        ([batch], [batch]),
        tasks=TASKS,
        balancer=_Keeping(Keeps()),
        schedule=Schedule(max_epochs=3, measure_every=0),
    )
    found = torch.stack(observed).double().numpy()
    # the data set is one batch: the losses after step t are the training losses of step t + 1
    np.testing.assert_allclose(found[:-1], result.history.train_loss[1:], rtol=1e-6)
    np.testing.assert_allclose(found, result.history.validation_loss, rtol=1e-6)


class _Keeping(Balancer):
    """A balancer of one link, whose copies share it."""

    def __init__(self, link: Scale) -> None:
        super().__init__([link])

    def __deepcopy__(self, memo: object) -> _Keeping:
        return self


# -- ends of epochs -----------------------------------------------------------------------------------------------


def test_the_fit_tells_the_ends_of_epochs(encoder: Counting) -> None:
    weights = fit(encoder, dwa(temperature=0.05), epochs=4).history.weights
    np.testing.assert_allclose(weights[:2], 1.0)
    assert (np.abs(weights[2:] - 1) > 1e-3).all()
    np.testing.assert_allclose(weights.sum(1), 2.0, rtol=1e-6)


def test_a_warm_up_of_epochs_ends(encoder: Counting) -> None:
    result = fit(encoder, stch_mtl(warmup_epochs=1), epochs=4)
    (nadir,) = [value for name, value in result.balancer_state.items() if name.endswith("nadir")]
    np.testing.assert_allclose(nadir.numpy(), result.history.train_loss[1], rtol=1e-5)


@pytest.mark.parametrize("make", [dwa, famo], ids=["dwa", "famo"])
def test_a_training_that_is_continued_is_the_same(tmp_path: Path, make) -> None:
    def run(epochs: int, out: Path | None):
        torch.manual_seed(0)
        encoder = nn.Sequential(nn.Linear(4, 6), nn.Tanh())
        return fit(encoder, make(), epochs=epochs, out=out)

    run(3, tmp_path)
    continued, straight = run(5, tmp_path), run(5, None)
    assert all(torch.equal(value, straight.state[name]) for name, value in continued.state.items())
    states = zip(continued.balancer_state.values(), straight.balancer_state.values(), strict=True)
    assert all(torch.equal(one, other) for one, other in states)


@pytest.fixture
def training(multi_label) -> Training:
    model = HardSharing(MLP(6, hidden=(4,)), multi_label.tasks)
    return Training(model, tl.equal(), multi_label, Objective.of(multi_label))


@pytest.mark.parametrize("make", [dwa, famo, stch_mtl], ids=["dwa", "famo", "stch_mtl"])
def test_trainings_with_such_a_balancer_are_not_batched(training: Training, make) -> None:
    assert reason_against_batching(training) is None
    assert reason_against_batching(replace(training, balancer=make())) == "the balancer remembers earlier steps"
