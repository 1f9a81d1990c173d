"""What a step with per-task gradients costs beside an ordinary one, and how exact it is.

    python benchmarks/engine.py [--only mlp lenet] [--seconds 1.5] [--threads 1]

For every workload and number of tasks, whole training steps (forward, losses, backward, SGD) take turns in one process:

* equal weights: ``sum(losses).backward()``;
* ``tl.balance(losses, tl.pcgrad(), ...)`` with ``AutogradEngine``, one backward pass per task;
* the same with ``LayerEngine``, the default.

Printed are medians over turns of the ratio to the equal-weight step of the same turn (processor time, so that others on
the machine matter less), the figures that ``engine.md`` aims at, and the largest error of the Gramian and of the
direction against float64, relative to the largest entry. Writes engine.json beside this file.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import taskloom as tl
from taskloom.balance.mix.pcgrad import pcgrad
from taskloom.engine import AutogradEngine, balance
from taskloom.engine.layers.engine import LayerEngine
from taskloom.losses import task_losses

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Work:
    """A model, its shared part, and the losses of one batch."""

    model: nn.Module
    shared: nn.Module
    losses: Callable[[], dict[str, Tensor]]


def tower(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, 1))


def squared(heads: nn.ModuleList, z: Tensor, targets: Tensor) -> dict[str, Tensor]:
    return {f"t{k}": F.mse_loss(head(z).squeeze(-1), targets[k]) for k, head in enumerate(heads)}


def mlp(widths: list[int]) -> nn.Module:
    layers: list[nn.Module] = []
    for i, o in itertools.pairwise(widths):
        layers += [nn.Linear(i, o), nn.ReLU()]
    return nn.Sequential(*layers)


def on_features(trunk: nn.Module, heads: nn.ModuleList, inputs: Tensor, n_rows: int) -> Work:
    targets = torch.randn(len(heads), n_rows, dtype=torch.get_default_dtype())
    model = nn.ModuleList([trunk, heads])
    return Work(model, trunk, lambda: squared(heads, trunk(inputs), targets))


def tabular(n_tasks: int) -> Work:
    heads = nn.ModuleList(tower(512) for _ in range(n_tasks))
    return on_features(mlp([64, 512, 512, 512, 512]), heads, torch.randn(256, 64), 256)


def wide(n_tasks: int) -> Work:
    heads = nn.ModuleList(nn.Linear(2048, 1) for _ in range(n_tasks))
    return on_features(mlp([256, 2048, 2048, 2048]), heads, torch.randn(32, 256), 32)


def lenet(n_tasks: int) -> Work:
    trunk = nn.Sequential(
        nn.Conv2d(1, 10, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(10, 20, 5), nn.MaxPool2d(2), nn.ReLU(),
        nn.Flatten(), nn.Linear(720, 50), nn.ReLU(),
    )  # fmt: skip
    heads = nn.ModuleList(nn.Linear(50, 1) for _ in range(n_tasks))
    return on_features(trunk, heads, torch.randn(256, 1, 36, 36), 256)


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
    heads = nn.ModuleList(nn.Linear(64, 1) for _ in range(n_tasks))
    return on_features(trunk, heads, torch.randn(64, 3, 32, 32), 64)


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
    heads = nn.ModuleList(nn.Linear(128, 1) for _ in range(n_tasks))
    return on_features(Text(), heads, torch.randint(0, 1000, (16, 64)), 16)


class Recommender(nn.Module):
    """A table of 16 million numbers, experts, and one gate per task."""

    def __init__(self, n_tasks: int) -> None:
        super().__init__()
        self.table = nn.Embedding(1_000_000, 16)
        self.experts = nn.ModuleList(mlp([128, 256, 64]) for _ in range(4))
        self.gates = nn.ModuleList(nn.Linear(128, 4) for _ in range(n_tasks))
        self.heads = nn.ModuleList(tower(64) for _ in range(n_tasks))

    def losses(self, x: Tensor, targets: Tensor) -> dict[str, Tensor]:
        z = self.table(x).flatten(1)
        experts = torch.stack([expert(z) for expert in self.experts], 1)
        found = {}
        for k, (gate, head) in enumerate(zip(self.gates, self.heads, strict=True)):
            mixed = (gate(z).softmax(-1).unsqueeze(-1) * experts).sum(1)
            found[f"t{k}"] = F.binary_cross_entropy_with_logits(head(mixed).squeeze(-1), targets[k])
        return found


def recommender(n_tasks: int) -> Work:
    model = Recommender(n_tasks)
    inputs, targets = torch.randint(0, 1_000_000, (512, 8)), torch.rand(n_tasks, 512).round()
    targets = targets.to(torch.get_default_dtype())
    return Work(model, nn.ModuleList([model.table, model.experts]), lambda: model.losses(inputs, targets))


def own_batches(n_tasks: int) -> Work:
    """One batch per task: rows put together for one forward pass."""
    trunk, heads = mlp([64, 512, 512, 512, 512]), nn.ModuleList(tower(512) for _ in range(n_tasks))
    inputs, targets = torch.randn(n_tasks * 128, 64), torch.randn(n_tasks, 128)

    def losses() -> dict[str, Tensor]:
        parts = trunk(inputs).split(128)
        return {
            f"t{k}": F.mse_loss(head(z).squeeze(-1), targets[k])
            for k, (head, z) in enumerate(zip(heads, parts, strict=True))
        }

    return Work(nn.ModuleList([trunk, heads]), trunk, losses)


def one_label(n_tasks: int) -> Work:
    """Every row has a label of one task; every head sees every row."""
    trunk, heads = mlp([64, 512, 512, 512, 512]), nn.ModuleList(nn.Linear(512, 1) for _ in range(n_tasks))
    inputs, targets = torch.randn(2560, 64), torch.randn(2560)
    task = torch.randint(0, n_tasks, (2560,))

    def losses() -> dict[str, Tensor]:
        z = trunk(inputs)
        errors = [(head(z).squeeze(-1) - targets).square() for head in heads]
        return {f"t{k}": torch.where(task == k, error, 0.0).sum() / 128 for k, error in enumerate(errors)}

    return Work(nn.ModuleList([trunk, heads]), trunk, losses)


def library(n_tasks: int) -> Work:
    """A model of the library: beyond four tasks its heads are one batched operation, and so are its losses."""
    tasks = [tl.Task(name=f"t{k}", kind=tl.Regression()) for k in range(n_tasks)]
    heads = {task.name: tower(512) for task in tasks}
    model = tl.HardSharing(tl.MLP(64, hidden=(512,) * 4), tasks, heads=heads)
    inputs, targets = torch.randn(256, 64), torch.randn(n_tasks, 256)

    def losses() -> dict[str, Tensor]:
        values, _ = task_losses(tasks, model(inputs), targets=dict(zip(model.tasks, targets, strict=True)))
        return dict(zip(model.tasks, values.unbind(), strict=True))

    return Work(model, model.encoder, losses)


def tiny(n_tasks: int) -> Work:
    """Where overheads rule: two layers of 64."""
    heads = nn.ModuleList(nn.Linear(64, 1) for _ in range(n_tasks))
    return on_features(mlp([16, 64, 64]), heads, torch.randn(64, 16), 64)


# workload -> numbers of tasks -> target of engine.md, None where it names none
WORKLOADS: dict[str, tuple[Callable[[int], Work], dict[int, float | None]]] = {
    "tabular": (tabular, {2: 1.7, 10: 4.5, 40: 8.0}),
    "wide": (wide, {2: None, 10: 2.8}),
    "lenet": (lenet, {2: None, 5: 2.8}),
    "resnet": (resnet, {5: 3.4}),
    "transformer": (transformer, {2: None, 5: 3.7}),
    "recommender": (recommender, {2: 1.7, 10: 5.0}),
    "own batches": (own_batches, {5: 1.15, 20: 1.2}),
    "one label": (one_label, {20: 1.3}),
    "library": (library, {10: None, 40: None}),
    "tiny": (tiny, {2: None, 10: None, 40: None}),
}


def steps(work: Work) -> dict[str, Callable[[], None]]:
    """The steps that are compared."""
    optimiser = torch.optim.SGD(work.model.parameters(), lr=1e-4)

    def finish(scalar: Tensor) -> None:
        scalar.backward()
        optimiser.step()
        optimiser.zero_grad()

    def equal() -> None:
        losses = work.losses()
        finish(torch.stack(list(losses.values())).sum())

    def balanced(engine: Any) -> Callable[[], None]:
        balancer = pcgrad()
        return lambda: finish(balance(work.losses(), balancer, shared=work.shared, engine=engine))

    return {"equal": equal, "autograd": balanced(AutogradEngine()), "layers": balanced(LayerEngine())}


def turns(work: Work, seconds: float) -> Iterator[dict[str, float]]:
    """Processor seconds of each step, over turns."""
    known = steps(work)
    for step in [*known.values()] * 2:
        step()  # warms up: memory, kernels, the check of the first step
    begin, n_turns = time.perf_counter(), 0
    while n_turns < 3 or time.perf_counter() - begin < seconds:
        found = {}
        for name, step in known.items():
            start = time.process_time()
            step()
            found[name] = time.process_time() - start
        n_turns += 1
        yield found


def errors(make: Callable[[int], Work], n_tasks: int) -> dict[str, float]:
    """Largest errors of the Gramian and the direction against float64, relative to the largest entry."""
    found = {}
    torch.manual_seed(0)
    work = make(n_tasks)
    parameters = list(work.shared.parameters())
    state = torch.random.get_rng_state()
    weights = torch.linspace(1, 2, n_tasks, dtype=torch.float64)
    measured = {}
    for name, engine in (("autograd", AutogradEngine()), ("layers", LayerEngine())):
        rows = engine.rows(list(work.losses().values()), parameters)
        measured[name] = rows.gramian(), rows.gradients(weights)
    exact = _in_float64(make, n_tasks)
    for name, (gramian, direction) in measured.items():
        found[f"{name} gramian"] = _relative(gramian, exact[0])
        pairs = zip(direction, exact[1], strict=True)
        found[f"{name} direction"] = max(_relative(one, other) for one, other in pairs if one is not None)
    torch.random.set_rng_state(state)
    return found


def _in_float64(make: Callable[[int], Work], n_tasks: int) -> tuple[Tensor, list[Tensor]]:
    torch.manual_seed(0)
    single = make(n_tasks)
    torch.manual_seed(0)
    model = single.model.double()
    closed = single.losses.__closure__ or ()
    for cell in closed:  # the batch of the same numbers in float64
        if isinstance(cell.cell_contents, Tensor) and cell.cell_contents.is_floating_point():
            cell.cell_contents = cell.cell_contents.double()
    parameters = list(single.shared.parameters())
    rows = AutogradEngine().rows(list(single.losses().values()), parameters)
    weights = torch.linspace(1, 2, n_tasks, dtype=torch.float64)
    found = rows.gramian(), [one for one in rows.gradients(weights) if one is not None]
    del model
    return found


def _relative(found: Tensor, exact: Tensor) -> float:
    return float((found.double() - exact).abs().max() / exact.abs().max().clamp(min=1e-300))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[], choices=WORKLOADS)
    parser.add_argument("--tasks", nargs="*", type=int, default=[])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-errors", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    rows: list[dict[str, Any]] = []
    print(f"{'':14}{'':>4}{'equal':>10}{'autograd':>10}{'layers':>9}{'':>8}{'error of':>10}{'error of':>10}")
    print(f"{'workload':14}{'K':>4}{'ms':>10}{'ratio':>10}{'ratio':>9}{'target':>8}{'layers':>10}{'autograd':>10}")
    for name, (make, aims) in WORKLOADS.items():
        if given.only and name not in given.only:
            continue
        for n_tasks, target in aims.items():
            if given.tasks and n_tasks not in given.tasks:
                continue
            torch.manual_seed(0)
            found = list(turns(make(n_tasks), given.seconds))
            ratio = {
                engine: statistics.median(turn[engine] / turn["equal"] for turn in found)
                for engine in ("autograd", "layers")
            }
            exact = {} if given.no_errors else errors(make, n_tasks)
            row = {
                "workload": name,
                "tasks": n_tasks,
                "equal_ms": 1e3 * statistics.median(turn["equal"] for turn in found),
                **{f"{engine}_ratio": value for engine, value in ratio.items()},
                "target": target,
                "turns": len(found),
                **exact,
            }
            rows.append(row)
            worst = [max((v for k, v in exact.items() if k.startswith(e)), default=float("nan")) for e in ratio]
            print(
                f"{name:14}{n_tasks:>4}{row['equal_ms']:>10.2f}{ratio['autograd']:>10.2f}{ratio['layers']:>9.2f}"
                f"{target or '':>8}{worst[1]:>10.1e}{worst[0]:>10.1e}",
                flush=True,
            )
    setting = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": given.threads,
    }
    if not given.only:
        (HERE / "engine.json").write_text(json.dumps({"setting": setting, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
