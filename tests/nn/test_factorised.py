"""Tensor-factorised networks: laws, special cases, statistics, convolutions, starts from trained networks, errors."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import pytest
import torch
from torch import nn

from taskloom.errors import TaskError
from taskloom.nn import MLP, CompressionWarning, HardSharing, Independent, TensorFactorised
from taskloom.nn.factors import LAF, TensorTrain, Tucker
from taskloom.task import Regression, Task
from taskloom.testing import ModelLaws

TASKS = [Task(name=name, kind=Regression()) for name in "abc"]


class TestLAF(ModelLaws):
    merges_on_export = True

    def make_model(self, tasks: Sequence[Task]) -> TensorFactorised:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CompressionWarning)
            return TensorFactorised(
                lambda: MLP(self.n_features, (5, 4)), tasks, factorisation=self.factorisation(), weight_penalty=0.1
            )

    def factorisation(self):
        return LAF(rank=2)

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        rank = min(2, len(tasks))
        weights = self.n_features * 5 + 5 * 4
        own = 2 * rank + 5 + 4
        return rank * weights + len(tasks) * own + sum(5 * task.kind.n_outputs for task in tasks)


class TestTucker(TestLAF):
    def factorisation(self):
        return Tucker(rank=2)

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        rank = min(2, len(tasks))
        bases = 2 * 2 * 2 * rank + 2 * (self.n_features + 5 + 5 + 4)
        own = 2 * rank + 5 + 4
        return bases + len(tasks) * own + sum(5 * task.kind.n_outputs for task in tasks)


class TestTensorTrain(TestLAF):
    def factorisation(self):
        return TensorTrain(rank=2)

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        rank = min(2, len(tasks))
        bases = 2 * (5 + 4) + 2 * rank * (self.n_features + 5)
        own = 2 * rank + 5 + 4
        return bases + len(tasks) * own + sum(5 * task.kind.n_outputs for task in tasks)


@pytest.mark.filterwarnings("ignore:the factors have")
@pytest.mark.parametrize("factorisation", [LAF(1e-9), Tucker(1e-9), TensorTrain(1e-9)], ids=["laf", "tucker", "tt"])
def test_full_rank_is_independent_networks(factorisation):
    torch.manual_seed(0)
    apart = Independent(lambda: MLP(6, (5, 4)), TASKS).double().eval()
    model = TensorFactorised.from_networks(
        apart.encoders, TASKS, factorisation=factorisation, heads=dict(zip("abc", apart.heads, strict=True))
    ).eval()
    inputs = torch.randn(4, 6, dtype=torch.float64)
    for task, output in model(inputs).items():
        torch.testing.assert_close(output, apart(inputs)[task], rtol=0, atol=1e-10)
        plain = model.export(task)
        torch.testing.assert_close(plain(inputs), output, rtol=0, atol=1e-12)
        assert [type(part) for part in plain.modules()] == [type(part) for part in apart.export(task).modules()]


def test_rank_one_with_equal_numbers_is_hard_sharing():
    torch.manual_seed(0)
    encoder = MLP(6, (5, 4)).double()
    hard = HardSharing(encoder, TASKS).double().eval()
    model = TensorFactorised.from_networks(
        [encoder] + [type(encoder)(6, (5, 4)).double() for _ in range(2)],
        TASKS,
        factorisation=LAF(rank=1),
        heads=dict(zip("abc", hard.heads, strict=True)),
    ).eval()
    with torch.no_grad():
        for basis, weight in zip(model.bases, (encoder[0][0].weight, encoder[1][0].weight), strict=True):
            basis.weights.copy_(weight.unsqueeze(-1) / 2)
        for numbers, vectors in zip(model.numbers, model.vectors, strict=True):
            for number in numbers:
                number.fill_(2.0)
            for vector, bias in zip(vectors, (encoder[0][0].bias, encoder[1][0].bias), strict=True):
                vector.copy_(bias)
    inputs = torch.randn(4, 6, dtype=torch.float64)
    for task, output in model(inputs).items():
        torch.testing.assert_close(output, hard(inputs)[task], rtol=0, atol=1e-12)


def test_every_task_has_statistics_of_its_own():
    encoder = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4))
    encoder.out_features = 4
    model = TensorFactorised(encoder, TASKS[:2], factorisation=Tucker(rank=2))
    assert model.shapes == {"0.weight": (3, 2, 3, 3), "4.weight": (4, 12)}
    assert model.bases[0]().shape == (3, 2, 9, 2)
    assert TensorFactorised(encoder, TASKS[:2], factorisation=Tucker(2), merge_kernel=False).bases[0]().ndim == 5
    model.train()
    model({"a": torch.randn(6, 2, 4, 4) + 5.0})
    means = [buffers.by_name()["1.running_mean"] for buffers in model.statistics]
    assert means[0].any()
    assert not means[1].any()
    inputs = torch.randn(2, 2, 4, 4)
    torch.testing.assert_close(model.export("a")(inputs), model.eval()(inputs)["a"])


def test_many_tasks_are_computed_together():
    tasks = [Task(name=f"task {k}", kind=Regression()) for k in range(7)]
    torch.manual_seed(0)
    model = TensorFactorised(lambda: MLP(6, (5, 4)), tasks, factorisation=LAF(rank=3)).double()
    inputs = torch.randn(4, 6, dtype=torch.float64)
    together, alone = model.train()(inputs), model.eval()(inputs)
    for task, output in together.items():
        torch.testing.assert_close(output, alone[task], rtol=0, atol=1e-12)


def test_compression_is_reported_and_its_absence_warned_of():
    model = TensorFactorised(lambda: MLP(6, (30,)), TASKS, factorisation=LAF(rank=1))
    assert model.describe()["compression"] == pytest.approx((180 + 3) / (3 * 180))
    assert model.describe()["ranks"] == {"0.0.weight": 1}
    with pytest.warns(CompressionWarning, match="times as many parameters"):
        larger = TensorFactorised(lambda: MLP(6, (3,)), TASKS, factorisation=Tucker(rank=100))
    with pytest.warns(CompressionWarning):
        TensorFactorised.from_networks([MLP(6, (3,)) for _ in TASKS], TASKS, factorisation=Tucker(rank=100))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = larger.with_structure(larger.structure())  # these ranks were warned of before
    assert again.compression() == larger.compression() > 1


def test_the_penalty_is_on_the_weights():
    model = TensorFactorised(lambda: MLP(6, (5,)), TASKS, factorisation=LAF(rank=1), weight_penalty=0.5).double()
    expected = 0.25 * sum(model.export(task)[0][0][0].weight.square().sum() for task in model.tasks)
    torch.testing.assert_close(model.penalty(), expected.detach(), rtol=1e-12, atol=0)


def test_bad_input():
    widths = iter((4, 3, 4))
    with pytest.raises(TaskError, match=r"'0\.0\.weight' is \(4, 6\) for 'a' and \(3, 6\) for 'b'"):
        TensorFactorised(lambda: MLP(6, (next(widths),)), TASKS)
    with pytest.raises(TaskError, match="found 2 networks for 3 tasks"):
        TensorFactorised.from_networks([MLP(6), MLP(6)], TASKS)
    with pytest.raises(TaskError, match="has no matrix to factorise"):
        TensorFactorised(lambda: nn.LayerNorm(6), TASKS, example=torch.zeros(1, 6))
    with pytest.raises(TaskError, match="weight_penalty must be 0 or more"):
        TensorFactorised(lambda: MLP(6), TASKS, weight_penalty=-1.0)
