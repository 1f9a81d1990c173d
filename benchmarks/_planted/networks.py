"""The candidates of ``planted.py``: references, and architectures that learn who shares what, all of one size."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from _plans import Alone, Network, candidate
from torch import Tensor, nn

import taskloom as tl
from taskloom.nn import (
    MLP,
    AdaptiveSharing,
    AdaShare,
    BranchedNetworks,
    HardSharing,
    LearningToBranch,
    PartialSharing,
    SharingGraph,
    SoftOrdering,
)
from taskloom.nn.model import MultiTaskModel
from taskloom.study.plans._networks import Shape
from taskloom.study.space import Choice, LogRange, Parameter

__all__ = ["HARD", "LEARNERS", "NARROW", "REFERENCES", "WIDTH", "Residual", "adashare", "candidates"]

WIDTH = 8
HARD = "hard_sharing"
NARROW = "hard_narrow"
REFERENCES = ("single_task", HARD, NARROW, "true_groups")
LEARNERS = ("fully_adaptive", "learning_to_branch", "adashare", "soft_ordering", "branched", "sharing_graph")

_N_BLOCKS = 6
_USUAL: tuple[Parameter, ...] = (
    LogRange("learning_rate", 2e-3, 2e-2, default=7e-3),
    LogRange("weight_decay", 1e-4, 1e-1, default=1e-2),
)


class Residual(nn.Module):
    """``x + relu(W x + b)``: a block that can be skipped."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width)
        self.out_features = width

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.layer(inputs).relu()


# -- references -------------------------------------------------------------------------------------------------------


def _alone(shape: Shape) -> MultiTaskModel:
    return HardSharing(MLP(shape.n_inputs, (WIDTH,) * 3), shape.tasks)


def _hard(shape: Shape) -> MultiTaskModel:
    """May be twice as wide as the others: then it has more parameters than two networks of their width."""
    return HardSharing(MLP(shape.n_inputs, (shape.width,) * 3), shape.tasks)


def _narrow(shape: Shape) -> MultiTaskModel:
    return HardSharing(MLP(shape.n_inputs, (WIDTH,) * 3), shape.tasks)


def _true_groups(shape: Shape) -> MultiTaskModel:
    """Tasks are called by the letter of their group."""
    return PartialSharing(_stages(shape), shape.tasks, table=[{task.name: task.name[0] for task in shape.tasks}] * 3)


# -- learners -----------------------------------------------------------------------------------------------------


def _stages(shape: Shape) -> list[Callable[[], nn.Module]]:
    return [lambda: MLP(shape.n_inputs, (WIDTH,)), *[lambda: MLP(WIDTH, (WIDTH,))] * 2]


def _fully_adaptive(shape: Shape) -> MultiTaskModel:
    return AdaptiveSharing(_stages(shape), shape.tasks)


def _learning_to_branch(shape: Shape) -> MultiTaskModel:
    return LearningToBranch(_stages(shape), shape.tasks, widths=(2, 2, 2))


def _branched(shape: Shape) -> MultiTaskModel:
    return BranchedNetworks(_stages(shape), shape.tasks)


def _sharing_graph(shape: Shape) -> MultiTaskModel:
    return SharingGraph(_stages(shape), shape.tasks, widths=(2, 2, 2))


def _soft_ordering(shape: Shape) -> MultiTaskModel:
    return SoftOrdering(lambda: nn.Linear(WIDTH, WIDTH), shape.tasks, stem=MLP(shape.n_inputs, (WIDTH,)))


def adashare(tasks: Sequence[tl.Task], n_inputs: int, **settings: object) -> AdaShare:
    """AdaShare over six residual blocks behind one common layer."""
    blocks = [Residual(WIDTH) for _ in range(_N_BLOCKS)]
    return AdaShare(blocks, tasks, stem=MLP(n_inputs, (WIDTH,)), example=torch.zeros(1, WIDTH), **settings)


def _adashare(shape: Shape) -> MultiTaskModel:
    return adashare(
        shape.tasks,
        shape.n_inputs,
        sparsity=0.05,
        sharing=0.0,
        learning_rate=0.3,
        warmup_epochs=1,
        search_cycles=40,
    )


def candidates(*, max_epochs: int = 60) -> dict[str, tl.Candidate]:
    """Every candidate by name.

    Settings of their own are the defaults of the classes or were fixed on planted sets of the seeds 100 to 105.
    """
    schedule = tl.Schedule(max_epochs=max_epochs, patience=8)

    def network(name: str, title: str, model: Callable[[Shape], MultiTaskModel], *extra: Parameter) -> tl.Candidate:
        return candidate(name, title, Network(model, (*_USUAL, *extra), schedule))

    width = Choice("width", (WIDTH, 2 * WIDTH), default=2 * WIDTH, structural=True)
    found = [
        candidate("single_task", "single task", Alone(_alone, _USUAL, schedule)),
        network(HARD, "hard sharing, up to twice as wide", _hard, width),
        network(NARROW, "hard sharing, as wide as the others", _narrow),
        network("true_groups", "two networks, the planted groups given", _true_groups),
        network("fully_adaptive", "FAFS", _fully_adaptive),
        network("learning_to_branch", "learning to branch", _learning_to_branch),
        network("adashare", "AdaShare", _adashare),
        network("soft_ordering", "soft ordering", _soft_ordering),
        network("branched", "branched networks", _branched),
        network("sharing_graph", "sharing graph", _sharing_graph),
    ]
    return {one.name: one for one in found}
