"""Factorised networks: trained apart first, then as one; the laws, what training does, and that it is read again."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

import taskloom as tl
from taskloom.errors import ExportError, TaskError
from taskloom.fit.checkpoint import load
from taskloom.nn import MLP, CompressionWarning, FactorisedNetworks, TensorFactorised
from taskloom.nn.factors import LAF, Basis, TensorTrain, Tucker
from taskloom.task import Regression, Task
from taskloom.testing import ModelLaws

TASKS = [Task(name=name, kind=Regression()) for name in "abcd"]


class TestFactorisedNetworks(ModelLaws):
    derives_before_export = True

    def make_model(self, tasks: Sequence[Task]) -> FactorisedNetworks:
        return FactorisedNetworks(lambda: MLP(self.n_features, (5, 4)), tasks, factorisation=LAF(rank=1))

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        own = (self.n_features + 1) * 5 + 6 * 4
        return len(tasks) * own + sum(5 * task.kind.n_outputs for task in tasks)

    def test_export(self) -> None:
        """The derived network is exported; it generates weights of its own."""
        derived = self.build().derive()
        inputs = self.make_inputs(3)
        for task, output in derived.eval()(inputs).items():
            torch.testing.assert_close(derived.export(task)(inputs), output)


@pytest.fixture(scope="module")
def related() -> tl.MultiTaskData:
    """Four tasks that read one direction of eight inputs, with different strength."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(240, 8, generator=generator)
    hidden = torch.tanh(2 * x[:, 0] - x[:, 1])
    targets = {task.name: (hidden * (1 + k) + 0.05 * torch.randn(240, generator=generator)).numpy()
               for k, task in enumerate(TASKS)}  # fmt: skip
    return tl.MultiTaskData.from_arrays(x.numpy(), targets, tasks=TASKS)


@pytest.mark.parametrize("kind", [LAF, Tucker, TensorTrain])
def test_full_ranks_change_nothing(kind: type[LAF]) -> None:
    model = FactorisedNetworks(lambda: MLP(3, (4,)), TASKS, factorisation=kind(rank=1e-12))
    with pytest.warns(CompressionWarning, match="lower the rank, or use Independent"):
        derived = model.derive()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # ranks that were found before were warned of then
        model.with_structure(derived.structure())
    inputs = torch.randn(5, 3)
    for task, output in model.eval()(inputs).items():
        torch.testing.assert_close(derived.eval()(inputs)[task], output, rtol=1e-5, atol=1e-6)


def test_training_apart_then_factors_and_reading_it_again(related: tl.MultiTaskData, tmp_path: Path) -> None:
    model = FactorisedNetworks(lambda: MLP(8, (6,)), TASKS, factorisation=Tucker(rank=0.5), single_epochs=3)
    schedule = tl.Schedule(max_epochs=4, batch_size=32)
    result = tl.fit(model, related, schedule=schedule, out=tmp_path)
    assert isinstance(result.model, TensorFactorised)
    found = result.model.structure()["ranks"]
    again = load(tmp_path, FactorisedNetworks(lambda: MLP(8, (6,)), TASKS, factorisation=Tucker(rank=0.5)))
    assert isinstance(again.model, TensorFactorised)
    assert again.model.structure()["ranks"] == found
    inputs = torch.randn(3, 8)
    for task, output in result.model.eval()(inputs).items():
        assert torch.equal(again.model.eval()(inputs)[task], output)


def test_ranks_follow_from_what_the_trained_networks_have_in_common() -> None:
    model = FactorisedNetworks(lambda: MLP(6, (5,)), TASKS, factorisation=LAF(rank=0.1))
    with torch.no_grad():
        pattern = [parameter.clone() for parameter in model.encoders[0].parameters()]
        for strength, encoder in enumerate(model.encoders, start=1):
            for parameter, first in zip(encoder.parameters(), pattern, strict=True):
                parameter.copy_(strength * first)
    assert model.derive().structure() == {"ranks": [[1]]}


def test_one_factorisation_for_every_weight() -> None:
    chosen = [LAF(rank=1), LAF(rank=3)]
    model = FactorisedNetworks(lambda: MLP(6, (5, 4)), TASKS, factorisation=chosen)
    assert model.derive().structure() == {"ranks": [[1], [3]]}
    with pytest.raises(TaskError, match="found 1 factorisations for 2 weights"):
        FactorisedNetworks(lambda: MLP(6, (5, 4)), TASKS, factorisation=[LAF(rank=1)]).derive()


@dataclass(frozen=True)
class Counted(LAF):
    """Notes every rank to which it was asked to factorise."""

    asked: list[object] = field(default_factory=list)

    def decompose(self, stack: torch.Tensor) -> tuple[Basis, torch.Tensor]:
        self.asked.append(self.rank)
        return super().decompose(stack)


@pytest.mark.filterwarnings("ignore::taskloom.nn.CompressionWarning")
@pytest.mark.parametrize("several", [False, True], ids=["one for all", "one each"])
def test_given_ranks_take_one_factorisation_of_every_weight(several: bool) -> None:
    counted = Counted(rank=0.1)
    chosen = [counted, counted] if several else counted
    model = FactorisedNetworks(lambda: MLP(6, (5, 4)), TASKS, factorisation=chosen)
    structure = {"ranks": [[2], [1]]}
    assert model.with_structure(structure).structure() == structure
    assert counted.asked == [(2,), (1,)]
    derived = model.derive()
    counted.asked.clear()
    assert derived.with_structure(structure).structure() == structure
    assert counted.asked == [(2,), (1,)]


def test_ranks_of_another_network_are_refused() -> None:
    model = FactorisedNetworks(lambda: MLP(6, (5, 4)), TASKS, factorisation=LAF(rank=1))
    with pytest.raises(TaskError, match="found 1 factorisations for 2 weights"):
        model.with_structure({"ranks": [[2]]})
    with pytest.raises(TaskError, match="found ranks of 3 weights for 2 factorisations"):
        model.derive().with_structure({"ranks": [[2]] * 3})


def test_refusals() -> None:
    with pytest.raises(TaskError, match="single_epochs must be 1 or more, found 0"):
        FactorisedNetworks(lambda: MLP(3, (4,)), TASKS, single_epochs=0)
    with pytest.raises(ExportError, match="call derive"):
        FactorisedNetworks(lambda: MLP(3, (4,)), TASKS).export("a")
