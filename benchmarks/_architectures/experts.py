"""Mixtures of experts: MMoE, CGC and PLE.

The peers loop over experts and tasks, and mix with one einsum per task, as multi-task libraries do. On tables experts
are MLPs; the small ones are of the size that comparisons on tables use, the large ones spend their time in products
that nobody can save. On images experts are small convolutional networks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

import taskloom as tl
from _architectures.case import Case, Pair
from _architectures.encoders import conv_stages, image_batch, table_batch

__all__ = ["CASES"]

Experts = nn.ModuleList


class LevelLoop(nn.Module):
    """One level: own experts by task, shared experts, gates by task, and a gate of the shared stream or none.

    Args:
        level: the level of the library, whose modules are copied.
        n_tasks: number of tasks.
    """

    def __init__(self, level: nn.Module, n_tasks: int) -> None:
        super().__init__()
        experts = [level.experts[index] for index in range(len(level.experts))]
        self.own = nn.ModuleList(Experts(experts[index] for index in level.own[task]) for task in range(n_tasks))
        self.shared = Experts(experts[index] for index in level.shared)
        self.gates = nn.ModuleList(gate_like(level.gate(task)) for task in range(n_tasks))
        self.shared_gate = None if level.shared_gate is None else gate_like(level.shared_gate)

    def forward(self, states: list[Tensor], common: Tensor) -> tuple[list[Tensor], Tensor]:
        shared = torch.stack([expert(common) for expert in self.shared])
        mixed, everything = [], []
        for experts, gate, state in zip(self.own, self.gates, states, strict=True):
            outputs = shared
            if len(experts):
                own = torch.stack([expert(state) for expert in experts])
                everything.append(own)
                outputs = torch.cat([own, shared])
            mixed.append(mixture(outputs, gate(rows(state))))
        if self.shared_gate is not None:
            common = mixture(torch.cat([*everything, shared]), self.shared_gate(rows(common)))
        return mixed, common


def gate_like(gate: nn.Module) -> nn.Module:
    linear = nn.Linear(gate.in_features, gate.n_experts, bias=False)
    linear.weight = gate.weight
    return nn.Sequential(linear, nn.Softmax(dim=-1))


def mixture(outputs: Tensor, weights: Tensor) -> Tensor:
    return torch.einsum("ij...,ji->j...", outputs, weights)


def rows(state: Tensor) -> Tensor:
    return state if state.ndim == 2 else state.mean((2, 3))


class ExpertLoop(nn.Module):
    """The network of a library's model with loops."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.levels = nn.ModuleList(LevelLoop(level, len(model.tasks)) for level in model.levels)
        self.heads = nn.ModuleList(model.heads)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        states, common = [inputs] * len(self.heads), inputs
        for level in self.levels:
            states, common = level(states, common)
        return {f"t{task}": head(state) for task, (head, state) in enumerate(zip(self.heads, states, strict=True))}


def pair(build: Callable[[list[tl.Task]], nn.Module], inputs: Callable[[], Tensor], n_tasks: int) -> Pair:
    tasks = [tl.Task(name=f"t{task}", kind=tl.Regression()) for task in range(n_tasks)]
    model = build(tasks)
    return Pair(ours=model, peer=ExpertLoop(model), inputs=inputs())


def mlp(*widths: int) -> Callable[[], nn.Module]:
    return lambda: tl.MLP(widths[0], widths[1:])


def images() -> nn.Module:
    network = nn.Sequential(*conv_stages((3, 8, 16)))
    network.out_features = 16
    return network


def mmoe(tasks: list[tl.Task], *widths: int, n_experts: int) -> nn.Module:
    return tl.nn.MMoE(mlp(*widths), tasks, n_experts=n_experts)


def cgc(tasks: list[tl.Task], *widths: int) -> nn.Module:
    return tl.nn.CGC(mlp(*widths), tasks, n_shared=2, n_own=1)


def ple(tasks: list[tl.Task], *widths: int, n_levels: int) -> nn.Module:
    width = widths[-1]
    return tl.nn.PLE([mlp(*widths), *[mlp(width, width)] * (n_levels - 1)], tasks, n_shared=2, n_own=1)


def mmoe_on_images(tasks: list[tl.Task]) -> nn.Module:
    return tl.nn.MMoE(images, tasks, n_experts=4, example=torch.zeros(1, 3, 32, 32))


SMALL, LARGE = (64, 64, 64), (64, 256, 128)
BATCH, LARGE_BATCH = partial(table_batch, 128, 64), partial(table_batch, 512, 64)


def case(name: str, build: Callable[..., nn.Module], inputs: Callable[[], Tensor], target: float | None = None) -> Case:
    return Case(name=name, make=partial(pair, build, inputs), target=target)


CASES: list[Case] = [
    case("MMoE, 4 experts", lambda tasks: mmoe(tasks, *SMALL, n_experts=4), BATCH, 1.3),
    case("MMoE, 8 experts", lambda tasks: mmoe(tasks, *SMALL, n_experts=8), BATCH, 1.3),
    case("MMoE, 8 large experts", lambda tasks: mmoe(tasks, *LARGE, n_experts=8), LARGE_BATCH),
    case("CGC, 2 shared, 1 own", lambda tasks: cgc(tasks, *SMALL), BATCH, 1.3),
    case("CGC, 2 shared, 1 own, large", lambda tasks: cgc(tasks, *LARGE), LARGE_BATCH),
    case("PLE, 2 levels", lambda tasks: ple(tasks, *SMALL, n_levels=2), BATCH, 1.3),
    case("PLE, 3 levels", lambda tasks: ple(tasks, *SMALL, n_levels=3), BATCH, 1.3),
    case("MMoE, 4 experts on images", mmoe_on_images, partial(image_batch, 16, 32)),
]
