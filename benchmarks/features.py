"""What methods at the feature level cost beside the equal-weight step.

    python benchmarks/features.py [--trunks resnet mlp] [--tasks 10] [--seconds 5] [--device cuda]

Hard sharing of a deep trunk with one head per task. A step is made as ``tl.fit`` makes it: forward pass inside
``gates()``, losses of all tasks at once, ``tl.balance`` with the chain, backward, SGD. The same model under
``losses.sum()``, without forks, is the step that all others are divided by; they take turns in one process, in random
order. Printed are medians of ratios within a turn and their range (processor time on one thread; on a GPU time between
CUDA events), and the most bytes alive during a step. At most 1.15 is wanted for the median at K = 10.

Right: the direction of the first step is compared with ``w^T z`` sent through the trunk in float64, with z from one
backward pass per task: ``||d - d64|| / ||d64||``. It is asserted to be at most ``ALLOWED`` more than twice what one
float32 pass through the trunk with the exact ``w^T z`` does.

Needs numba and the extra ``benchmarks``. Writes features.json beside this file unless trunks or K were selected.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _process  # noqa: F401  first: sets what PyTorch reads when it is loaded
import torch
from _measuring import peak_bytes, relative_error, seconds_of, setting_of, spread
from _ways import METHODS, decide
from _workloads import make_work
from torch import Tensor, nn

import taskloom as tl
from taskloom.balance.base import Balancer
from taskloom.losses import task_losses
from taskloom.nn.fork import gates

HERE = Path(__file__).parent
# trunk -> workload it is taken from, width of its features
TRUNKS = {"mlp": ("tabular", 512), "resnet": ("resnet", 64), "transformer": ("transformer", 128), "tiny": ("tiny", 64)}
DEFAULT = ("mlp", "resnet", "transformer")
CHAINS: dict[str, Callable[[], Balancer]] = {"mgda_ub": tl.mgda_ub} | {
    f"at_features({name})": lambda method=method: tl.at_features(method.ours())
    for name, method in METHODS.items()
    if name != "mgda"  # which is mgda_ub
}
WANTED, ALLOWED = 1.15, 1e-4


@dataclass(frozen=True)
class Problem:
    """A model and one batch."""

    model: tl.HardSharing
    tasks: list[tl.Task]
    inputs: Tensor
    targets: dict[str, Tensor]

    def losses(self) -> Tensor:
        """Losses of all tasks, (K,)."""
        return task_losses(self.tasks, self.model(self.inputs), targets=self.targets)[0]

    def copy(self, dtype: torch.dtype | None = None) -> Problem:
        """The same numbers in other memory, maybe in another precision."""
        inputs = self.inputs.to(dtype) if self.inputs.is_floating_point() else self.inputs
        targets = {name: target.to(dtype) for name, target in self.targets.items()}
        return Problem(copy.deepcopy(self.model).to(dtype=dtype), self.tasks, inputs, targets)


def make_problem(trunk: str, n_tasks: int, device: torch.device) -> Problem:
    workload, width = TRUNKS[trunk]
    work = make_work(workload, n_tasks, device=device)
    tasks = [tl.Task(name=f"t{k}", kind=tl.Regression()) for k in range(n_tasks)]
    with torch.device(device):
        heads = {task.name: nn.Linear(width, 1) for task in tasks}
        model = tl.HardSharing(work.shared, tasks, heads=heads)
        targets = {task.name: torch.randn(len(work.batch[0])) for task in tasks}
    return Problem(model.to(device), tasks, work.batch[0], targets)


class Step:
    """Steps of one kind.

    Args:
        problem: what is trained.
        balancer: a chain at the features; None for the sum of the losses.
    """

    def __init__(self, problem: Problem, balancer: Balancer | None = None) -> None:
        self.problem, self.balancer = problem, balancer
        self.optimiser = torch.optim.SGD(problem.model.parameters(), lr=1e-4)

    def backward(self) -> None:
        """Forward and backward pass."""
        if self.balancer is None:
            self.problem.losses().sum().backward()
            return
        model = self.problem.model
        with gates(model):
            losses = self.problem.losses()
        named = dict(zip(model.tasks, losses.unbind(), strict=True))
        tl.balance(named, self.balancer, shared=model).backward()

    def __call__(self) -> None:
        self.backward()
        self.optimiser.step()
        self.optimiser.zero_grad()

    def gradient(self) -> list[Tensor | None]:
        """What a step would follow in the trunk, without following it."""
        self.backward()
        found = [one.grad for one in self.problem.model.shared_parameters()]
        self.optimiser.zero_grad()
        return found


def exact_direction(problem: Problem, balancer: Balancer) -> tuple[list[Tensor], float]:
    """The direction in float64, written down without the library's engines, and how far off float32 is."""
    exact = problem.copy(torch.float64)
    features = exact.model.encoder(exact.inputs)
    leaf = features.detach().requires_grad_()
    losses, _ = task_losses(exact.tasks, exact.model.decode((leaf,)), targets=exact.targets)
    rows = torch.stack([torch.autograd.grad(loss, leaf, retain_graph=True)[0].flatten() for loss in losses])
    weights = decide(balancer, losses.detach().float(), rows @ rows.T)
    cotangent = (weights.to(rows) @ rows).view_as(features)

    def through(model: tl.HardSharing, features: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad(features, list(model.shared_parameters()), cotangent.to(features)))

    found, rounded = through(exact.model, features), problem.copy().model
    return found, relative_error(through(rounded, rounded.encoder(problem.inputs)), found)


def measure(trunk: str, n_tasks: int, given: argparse.Namespace) -> list[dict[str, Any]]:
    """All chains on one trunk, taking turns."""
    device = torch.device(given.device)
    problem = make_problem(trunk, n_tasks, device)
    plain = peak_bytes(Step(problem.copy()), device)
    rows = []
    for name, make in CHAINS.items():
        exact, rounding = exact_direction(problem, make())
        error = relative_error(Step(problem.copy(), make()).gradient(), exact)
        assert error <= ALLOWED + 2 * rounding, f"{trunk}, {name}: off by {error:.1e}, float32 by {rounding:.1e}"
        peak = peak_bytes(Step(problem.copy(), make()), device)
        rows.append({"trunk": trunk, "tasks": n_tasks, "chain": name, "error": error, "peak_over_equal": peak / plain})
    steps = {"equal": Step(problem), **{name: Step(problem, make()) for name, make in CHAINS.items()}}
    for step in [*steps.values()] * 2:
        step()
    times: dict[str, list[float]] = {name: [] for name in steps}
    begin = time.perf_counter()
    while len(times["equal"]) < given.turns or time.perf_counter() - begin < given.seconds:
        for name in random.sample(list(steps), len(steps)):
            times[name].append(seconds_of(steps[name], device))
    for row in rows:
        pairs = zip(times[row["chain"]], times["equal"], strict=True)
        row["ratio"] = spread(one / other for one, other in pairs)
        row["equal_ms"] = spread(1e3 * one for one in times["equal"])
        row["turns"] = len(times["equal"])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trunks", nargs="+", choices=TRUNKS)
    parser.add_argument("--tasks", type=int)
    parser.add_argument("--turns", type=int, default=7, help="at least so many turns")
    parser.add_argument("--seconds", type=float, default=20.0, help="more turns until they have taken so long")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    torch.set_num_threads(1)
    random.seed(0)
    rows = []
    print("| trunk | K | chain | ratio | peak memory | error |\n|---|---|---|---|---|---|")
    for trunk in given.trunks or DEFAULT:
        for row in measure(trunk, given.tasks or 10, given):
            rows.append(row)
            ratio = row["ratio"]
            shown = f"{ratio['median']:.3f} ({ratio['low']:.2f}-{ratio['high']:.2f})"
            print(f"| {trunk} | {row['tasks']} | {row['chain']} | {shown} | {row['peak_over_equal']:.2f} "
                  f"| {row['error']:.0e} |", flush=True)  # fmt: skip
    print(f"largest median {max(row['ratio']['median'] for row in rows):.3f}, wanted at most {WANTED}")
    if given.trunks is None and given.tasks is None:
        suffix = "" if given.device == "cpu" else f"-{given.device}"
        found = {"setting": setting_of(torch.device(given.device)), "rows": rows}
        (HERE / f"features{suffix}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
