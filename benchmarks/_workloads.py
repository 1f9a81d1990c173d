"""The networks, batches and losses on which steps are timed: those of section 10 of the design of the engine.

A workload is a function of the number of tasks that returns a :class:`Work`. The numbers are random; shapes matter.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import taskloom as tl
from taskloom.losses import task_losses

__all__ = ["WORKLOADS", "Pass", "Problem", "Work", "make_work", "mlp"]


@dataclass(frozen=True)
class Pass:
    """What a forward pass leaves.

    Args:
        losses: task -> scalar.
        features: what heads read and no other part of the network does; none of them is made from another one.
    """

    losses: dict[str, Tensor]
    features: tuple[Tensor, ...]


class Problem(nn.Module):
    """A network with a shared part and what belongs to one task each.

    Args:
        shared: the part whose task gradients are measured.
        heads: one module per task.
    """

    def __init__(self, shared: nn.Module, heads: Iterable[nn.Module]) -> None:
        super().__init__()
        self.shared = shared
        self.heads = nn.ModuleList(heads)


@dataclass(frozen=True)
class Work:
    """A problem and one batch of it."""

    model: Problem
    batch: tuple[Tensor, ...]

    @property
    def shared(self) -> nn.Module:
        """The part whose task gradients are measured."""
        return self.model.shared

    def forward(self) -> Pass:
        """One forward pass."""
        found: Pass = self.model(*self.batch)
        return found

    def losses(self) -> dict[str, Tensor]:
        """The losses of one forward pass."""
        return self.forward().losses

    def copy(self, dtype: torch.dtype | None = None) -> Work:
        """The same numbers in other memory, maybe in another precision."""
        batch = tuple(one.to(dtype) if dtype and one.is_floating_point() else one for one in self.batch)
        return replace(self, model=copy.deepcopy(self.model).to(dtype=dtype), batch=batch)


def mlp(widths: Iterable[int]) -> nn.Sequential:
    """Linear layers with ReLU."""
    layers: list[nn.Module] = []
    for i, o in itertools.pairwise(widths):
        layers += [nn.Linear(i, o), nn.ReLU()]
    return nn.Sequential(*layers)


def tower(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, 1))


class OnFeatures(Problem):
    """Heads that regress on the output of the shared part, every task on all rows."""

    def forward(self, inputs: Tensor, targets: Tensor) -> Pass:
        z = self.shared(inputs)
        losses = {f"t{k}": F.mse_loss(head(z).squeeze(-1), targets[k]) for k, head in enumerate(self.heads)}
        return Pass(losses, (z,))


def tabular(n_tasks: int) -> Work:
    model = OnFeatures(mlp([64, 512, 512, 512, 512]), [tower(512) for _ in range(n_tasks)])
    return Work(model, (torch.randn(256, 64), torch.randn(n_tasks, 256)))


def wide(n_tasks: int) -> Work:
    model = OnFeatures(mlp([256, 2048, 2048, 2048]), [nn.Linear(2048, 1) for _ in range(n_tasks)])
    return Work(model, (torch.randn(32, 256), torch.randn(n_tasks, 32)))


def tiny(n_tasks: int) -> Work:
    """Where overheads rule: two layers of 64."""
    model = OnFeatures(mlp([16, 64, 64]), [nn.Linear(64, 1) for _ in range(n_tasks)])
    return Work(model, (torch.randn(64, 16), torch.randn(n_tasks, 64)))


def lenet(n_tasks: int) -> Work:
    trunk = nn.Sequential(
        nn.Conv2d(1, 10, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(10, 20, 5), nn.MaxPool2d(2), nn.ReLU(),
        nn.Flatten(), nn.Linear(720, 50), nn.ReLU(),
    )  # fmt: skip
    model = OnFeatures(trunk, [nn.Linear(50, 1) for _ in range(n_tasks)])
    return Work(model, (torch.randn(256, 1, 36, 36), torch.randn(n_tasks, 256)))


class Block(nn.Module):
    """Two convolutions with batch normalisation and a short cut."""

    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.m, self.n = nn.BatchNorm2d(o), nn.BatchNorm2d(o)
        self.skip = nn.Identity() if i == o else nn.Conv2d(i, o, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.skip(x) + self.n(self.b(F.relu(self.m(self.a(x))))))


def resnet(n_tasks: int) -> Work:
    widths = [16, 16, 16, 32, 32, 64, 64]
    blocks = [Block(i, o, 1 if i == o else 2) for i, o in itertools.pairwise(widths)]
    trunk = nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), *blocks, nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )  # fmt: skip
    model = OnFeatures(trunk, [nn.Linear(64, 1) for _ in range(n_tasks)])
    return Work(model, (torch.randn(64, 3, 32, 32), torch.randn(n_tasks, 64)))


class Text(nn.Module):
    """An encoder of short texts."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(1000, 128)
        layer = nn.TransformerEncoderLayer(128, 4, 512, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(self.table(x)).mean(1)


def transformer(n_tasks: int) -> Work:
    model = OnFeatures(Text(), [nn.Linear(128, 1) for _ in range(n_tasks)])
    return Work(model, (torch.randint(0, 1000, (16, 64)), torch.randn(n_tasks, 16)))


class Recommender(Problem):
    """A table of 16 million numbers, experts, and one gate per task."""

    def __init__(self, n_tasks: int) -> None:
        table, experts = nn.Embedding(1_000_000, 16), nn.ModuleList(mlp([128, 256, 64]) for _ in range(4))
        heads = [nn.ModuleList([nn.Linear(128, 4), tower(64)]) for _ in range(n_tasks)]
        super().__init__(nn.ModuleList([table, experts]), heads)

    def forward(self, x: Tensor, targets: Tensor) -> Pass:
        table, experts = self.shared
        z = table(x).flatten(1)
        values = torch.stack([expert(z) for expert in experts], 1)
        of_gates = z.view_as(z)  # TorchJD differentiates at several features only if none is made from another
        losses = {}
        for k, (gate, head) in enumerate(self.heads):
            mixed = (gate(of_gates).softmax(-1).unsqueeze(-1) * values).sum(1)
            losses[f"t{k}"] = F.binary_cross_entropy_with_logits(head(mixed).squeeze(-1), targets[k])
        return Pass(losses, (of_gates, values))


def recommender(n_tasks: int) -> Work:
    batch = torch.randint(0, 1_000_000, (512, 8)), torch.rand(n_tasks, 512).round()
    return Work(Recommender(n_tasks), batch)


class OwnBatches(Problem):
    """One batch per task: rows put together for one forward pass."""

    def forward(self, inputs: Tensor, targets: Tensor) -> Pass:
        z = self.shared(inputs)
        losses = {
            f"t{k}": F.mse_loss(head(part).squeeze(-1), targets[k])
            for k, (head, part) in enumerate(zip(self.heads, z.split(targets.shape[1]), strict=True))
        }
        return Pass(losses, (z,))


def own_batches(n_tasks: int) -> Work:
    model = OwnBatches(mlp([64, 512, 512, 512, 512]), [tower(512) for _ in range(n_tasks)])
    return Work(model, (torch.randn(n_tasks * 128, 64), torch.randn(n_tasks, 128)))


class OneLabel(Problem):
    """Every row has a label of one task; every head sees every row."""

    def forward(self, inputs: Tensor, targets: Tensor, task: Tensor) -> Pass:
        z = self.shared(inputs)
        errors = [(head(z).squeeze(-1) - targets).square() for head in self.heads]
        losses = {f"t{k}": torch.where(task == k, error, 0.0).sum() / 128 for k, error in enumerate(errors)}
        return Pass(losses, (z,))


def one_label(n_tasks: int) -> Work:
    model = OneLabel(mlp([64, 512, 512, 512, 512]), [nn.Linear(512, 1) for _ in range(n_tasks)])
    return Work(model, (torch.randn(2560, 64), torch.randn(2560), torch.randint(0, n_tasks, (2560,))))


class Library(Problem):
    """A model of the library: beyond four tasks its heads are one batched operation, and so are its losses."""

    def __init__(self, n_tasks: int) -> None:
        tasks = [tl.Task(name=f"t{k}", kind=tl.Regression()) for k in range(n_tasks)]
        heads = {task.name: tower(512) for task in tasks}
        model = tl.HardSharing(tl.MLP(64, hidden=(512,) * 4), tasks, heads=heads)
        super().__init__(model.encoder, model.heads)
        self.model, self.tasks = model, tasks

    def forward(self, inputs: Tensor, targets: Tensor) -> Pass:
        names = self.model.tasks
        values, _ = task_losses(self.tasks, self.model(inputs), targets=dict(zip(names, targets, strict=True)))
        return Pass(dict(zip(names, values.unbind(), strict=True)), ())


def library(n_tasks: int) -> Work:
    return Work(Library(n_tasks), (torch.randn(256, 64), torch.randn(n_tasks, 256)))


WORKLOADS: dict[str, Callable[[int], Work]] = {
    "tabular": tabular,
    "wide": wide,
    "lenet": lenet,
    "resnet": resnet,
    "transformer": transformer,
    "recommender": recommender,
    "own batches": own_batches,
    "one label": one_label,
    "library": library,
    "tiny": tiny,
}


def make_work(name: str, n_tasks: int, *, device: torch.device | str = "cpu") -> Work:
    """A workload by name, always of the same numbers."""
    torch.manual_seed(0)
    with torch.device(device):
        return WORKLOADS[name](n_tasks)
