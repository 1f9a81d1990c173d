"""Tasks with a target at every pixel or token, trained by ``tl.fit`` end to end."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import nn

import taskloom as tl
from taskloom.data.problems import DenseShapes, dense_shapes
from taskloom.errors import DataError
from taskloom.nn import CNN, MTAN, BiLSTM, DenseHead, HardSharing, MTINet, PADNet, SegNet
from taskloom.task import Binary, Multiclass, Task


@cache
def problem() -> DenseShapes:
    return dense_shapes(36, size=(16, 16), seed=0)


def sample() -> torch.Tensor:
    return torch.from_numpy(problem().images[:2])


def segnet(tasks):
    return HardSharing(SegNet(3, (6, 8)), tasks, heads={t.name: DenseHead(6, t.kind.n_outputs) for t in tasks})


def mtan(tasks):
    heads = {t.name: DenseHead(8, t.kind.n_outputs, size=(16, 16)) for t in tasks}
    return MTAN(CNN(3, (6, 8), pool=False), tasks, heads=heads, example=sample())


def padnet(tasks):
    return PADNet(CNN(3, (6, 8), pool=False), tasks, width=6, example=sample())


def mtinet(tasks):
    return MTINet(CNN(3, (6, 8), pool=False), tasks, width=4, example=sample())


@pytest.mark.parametrize(
    ("make", "balancer"),
    [(segnet, tl.equal), (mtan, tl.uncertainty), (padnet, tl.pcgrad), (mtinet, tl.equal)],
    ids=["SegNet", "MTAN", "PAD-Net", "MTI-Net"],
)
def test_dense_tasks_are_learned(make, balancer):
    torch.manual_seed(0)
    model = make(problem().tasks)
    result = tl.fit(
        model,
        problem().loaders(batch_size=4, n_validation=8),
        tasks=model.task_objects,
        balancer=balancer(),
        optimiser=tl.OptimiserSettings(learning_rate=2e-2),
        schedule=tl.Schedule(max_epochs=12),
    )
    losses = result.history.validation_loss
    assert losses.shape == (12, len(model.tasks))  # initial predictions too, on the targets of their tasks
    assert (losses.min(0) < 0.98 * losses[0]).all()
    assert result.model(sample())["shape"].shape == (2, 3, 16, 16)
    assert result.validation_score < 0.85  # 1 is the best constant


def test_the_validation_loss_is_the_mean_over_labelled_pixels():
    torch.manual_seed(0)
    result = tl.fit(segnet(problem().tasks), problem().loaders(batch_size=8, n_validation=8), tasks=problem().tasks,
                    schedule=tl.Schedule(max_epochs=1))  # fmt: skip
    images, shape = torch.from_numpy(problem().images[-8:]), torch.from_numpy(problem().shape[-8:])
    distance = torch.from_numpy(problem().distance[-8:])
    with torch.no_grad():
        outputs = result.model(images)
    known = ~distance.isnan()
    expected = (outputs["distance"][:, 0][known] - distance[known]).square().mean()
    torch.testing.assert_close(torch.tensor(result.history.validation_loss[0, 0]), expected.double(), rtol=1e-5, atol=0)
    expected = nn.functional.cross_entropy(outputs["shape"], shape, ignore_index=-1)
    torch.testing.assert_close(torch.tensor(result.history.validation_loss[0, 1]), expected.double(), rtol=1e-5, atol=0)


def test_tokens_and_sentences_together():
    """A tag for every token and a class for the whole, from one encoder of sequences."""
    torch.manual_seed(0)
    words = torch.randint(0, 9, (60, 5))
    tags, sentence = words % 3, (words.sum(1) > 20).long()
    tasks = [Task(name="tag", kind=Multiclass(3)), Task(name="long", kind=Binary())]

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(8, 1)

        def forward(self, features):
            return self.out(features.mean(1))

    model = HardSharing(BiLSTM(8, 4, vocabulary=9), tasks, heads={"tag": nn.Linear(8, 3), "long": Whole()})
    batches = [(words[k : k + 20], {"tag": tags[k : k + 20], "long": sentence[k : k + 20]}) for k in range(0, 60, 20)]
    result = tl.fit(model, (batches[:2], batches[2:]), tasks=tasks, schedule=tl.Schedule(max_epochs=3))
    assert result.model(words)["tag"].shape == (60, 5, 3)
    assert (result.history.validation_loss[-1] < result.history.validation_loss[0]).all()


def test_heads_of_another_size_are_named():
    tasks = problem().tasks
    heads = {task.name: DenseHead(8, task.kind.n_outputs) for task in tasks}
    model = HardSharing(CNN(3, (6, 8), pool=False), tasks, heads=heads)
    with pytest.raises(DataError, match=r"task .distance.: found outputs of shape .* Give the task a head"):
        tl.fit(model, problem().loaders(batch_size=8, n_validation=8), tasks=tasks, schedule=tl.Schedule(max_epochs=1))
