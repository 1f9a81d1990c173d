"""Architectures as candidates for tables: each with equal weights, and the few settings of its own that are tuned."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from taskloom.balance import Balancer, equal
from taskloom.data.table import MultiTaskData
from taskloom.nn import (
    CGC,
    MLP,
    MTAN,
    NDDR,
    PLE,
    AdaptiveSharing,
    AdaShare,
    BranchedNetworks,
    CrossStitch,
    FeatureTokens,
    LearningToBranch,
    MMoE,
    PerceiverIO,
    RowAttention,
    SharingGraph,
    Sluice,
    SoftOrdering,
    TaskRouting,
)
from taskloom.nn.gates import DSelectKGate
from taskloom.nn.model import MultiTaskModel
from taskloom.study._generated_weights import (
    factorised_laf,
    factorised_tensor_train,
    factorised_trained,
    factorised_tucker,
    rank_error_space,
    rank_share_space,
    rank_space,
    relationship,
    strength_space,
)
from taskloom.study.candidate import Candidate
from taskloom.study.plans._networks import Shape
from taskloom.study.plans.together import Together
from taskloom.study.problem import Problem
from taskloom.study.space import Choice, LogRange, Parameter, Settings

__all__ = ["architectures"]

_SEVERAL_NETWORKS = 32  # beyond, a network per task that reads all others is too large for a comparison


def _equal(problem: Problem, settings: Settings) -> Balancer:
    return equal()


# -- networks that exchange features --------------------------------------------------------------------------------


def _cross_stitch(shape: Shape) -> MultiTaskModel:
    return CrossStitch(shape.encoder, shape.tasks)


def _sluice(shape: Shape) -> MultiTaskModel:
    return Sluice(shape.encoder, shape.tasks)


def _nddr(shape: Shape) -> MultiTaskModel:
    return NDDR(shape.encoder, shape.tasks, norm=None)


def _mtan(shape: Shape) -> MultiTaskModel:
    widths = [shape.n_inputs, shape.width, shape.width]
    pairs = [(nn.Linear(before, after), nn.ReLU()) for before, after in pairwise(widths)]
    return MTAN(pairs, shape.tasks, channels=widths[1:], attention=RowAttention())


# -- experts ----------------------------------------------------------------------------------------------------------


def _n_experts(shape: Shape) -> int:
    return int(shape.settings["n_experts"])


def _mmoe(shape: Shape) -> MultiTaskModel:
    return MMoE(shape.encoder, shape.tasks, n_experts=_n_experts(shape))


def _dselect(shape: Shape) -> MultiTaskModel:
    return MMoE(shape.encoder, shape.tasks, n_experts=_n_experts(shape), gate=DSelectKGate(k=2))


def _cgc(shape: Shape) -> MultiTaskModel:
    return CGC(shape.encoder, shape.tasks, n_shared=_n_experts(shape))


def _ple(shape: Shape) -> MultiTaskModel:
    levels = [lambda: shape.encoder(depth=1), lambda: shape.encoder(depth=1, n_inputs=shape.width)]
    return PLE(levels, shape.tasks, n_shared=_n_experts(shape))


def _expert_space(data: MultiTaskData) -> Sequence[Parameter]:
    return [Choice("n_experts", (2, 4, 8), default=4, structural=True)]


# -- learned structures -----------------------------------------------------------------------------------------------


def _soft_ordering(shape: Shape) -> MultiTaskModel:
    stem = shape.encoder(depth=1)
    return SoftOrdering(lambda: nn.Linear(shape.width, shape.width), shape.tasks, n_layers=2, stem=stem)


def _routing(shape: Shape) -> MultiTaskModel:
    return TaskRouting(shape.encoder(), shape.tasks, keep=float(shape.settings["keep"]))


def _keep_space(data: MultiTaskData) -> Sequence[Parameter]:
    return [Choice("keep", (0.4, 0.6, 0.8), default=0.6, structural=True)]


class _Residual(nn.Module):
    """``x + relu(W x + b)``: a block that can be skipped."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width)
        self.out_features = width

    def forward(self, inputs: object) -> object:
        return inputs + self.layer(inputs).relu()


def _adashare(shape: Shape) -> MultiTaskModel:
    blocks = [_Residual(shape.width) for _ in range(3)]
    return AdaShare(blocks, shape.tasks, stem=shape.encoder(depth=1), sparsity=float(shape.settings["sparsity"]))


def _sparsity_space(data: MultiTaskData) -> Sequence[Parameter]:
    return [LogRange("sparsity", 1e-3, 0.3, default=0.03)]


def _learning_to_branch(shape: Shape) -> MultiTaskModel:
    return LearningToBranch(_three_stages(shape), shape.tasks)


def _branched(shape: Shape) -> MultiTaskModel:
    return BranchedNetworks(_three_stages(shape), shape.tasks)


def _adaptive(shape: Shape) -> MultiTaskModel:
    return AdaptiveSharing(_three_stages(shape), shape.tasks)


def _one_set_of_examples(data: MultiTaskData) -> str | None:
    if data.task_ids is not None:
        return "it compares how tasks err on the same examples, and here every task has examples of its own"
    return None


def _sharing_graph(shape: Shape) -> MultiTaskModel:
    return SharingGraph(_three_stages(shape), shape.tasks)


def _three_stages(shape: Shape) -> list[nn.Module]:
    first = shape.encoder(depth=1)
    return [first, *(MLP(shape.width, (shape.width,)) for _ in range(2))]


def _perceiver(shape: Shape) -> MultiTaskModel:
    tokens = FeatureTokens(shape.n_inputs, 16)
    return PerceiverIO(
        shape.tasks, in_channels=16, n_latents=8, channels=shape.width, n_blocks=1, n_heads=2, adapter=tokens
    )


# -- what fits --------------------------------------------------------------------------------------------------------


def _few_networks(data: MultiTaskData) -> str | None:
    if len(data.tasks) > _SEVERAL_NETWORKS:
        return (
            f"{len(data.tasks)} networks that read each other's features cost the square of their number; this "
            f"architecture is offered for up to {_SEVERAL_NETWORKS} tasks"
        )
    return None


def architectures() -> tuple[Candidate, ...]:
    """Candidates for all architectures that fit a table, beside those of the catalogue's own list.

    They take part when they are named, or with ``candidates="all"``.

    Example:
        >>> [candidate.name for candidate in architectures()][:3]
        ['cross_stitch', 'sluice', 'nddr']
    """
    return (
        _candidate(
            "cross_stitch",
            "cross-stitch networks",
            "A network per task; learned units mix their features after every layer.",
            Together(_cross_stitch, _equal, needs=_few_networks),
            "I. Misra et al., CVPR 2016, arXiv:1604.03539",
        ),
        _candidate(
            "sluice",
            "sluice networks",
            "Cross-stitch with subspaces, and a learned mixture of layers for every head.",
            Together(_sluice, _equal, needs=_few_networks),
            "S. Ruder et al., AAAI 2019, arXiv:1705.08142",
        ),
        _candidate(
            "nddr",
            "NDDR networks",
            "A network per task; their features are joined and reduced after every layer.",
            Together(_nddr, _equal, needs=_few_networks),
            "Y. Gao et al., CVPR 2019, arXiv:1801.08297",
        ),
        _candidate(
            "mtan",
            "multi-task attention",
            "One network; every task attends to its layers with masks of its own.",
            Together(_mtan, _equal),
            "S. Liu, E. Johns, A. Davison, CVPR 2019, arXiv:1803.10704",
        ),
        _candidate(
            "mmoe",
            "mixture of experts per task",
            "Common experts; every task mixes them by a gate of its own (MMoE).",
            Together(_mmoe, _equal, extra=_expert_space),
            "J. Ma et al., KDD 2018",
        ),
        _candidate(
            "mmoe_dselect",
            "mixture of few experts (DSelect-k)",
            "Common experts; every task learns to choose at most two of them.",
            Together(_dselect, _equal, extra=_expert_space),
            "H. Hazimeh et al., NeurIPS 2021, arXiv:2106.03760",
        ),
        _candidate(
            "cgc",
            "customised gates",
            "Common experts and one of each task's own, mixed by gates (CGC).",
            Together(_cgc, _equal, extra=_expert_space),
            "H. Tang et al., RecSys 2020",
        ),
        _candidate(
            "ple",
            "progressive extraction",
            "Two levels of common and own experts (PLE).",
            Together(_ple, _equal, extra=_expert_space, needs=_few_networks),
            "H. Tang et al., RecSys 2020",
        ),
        _candidate(
            "factorised_laf",
            "factorised weights (LAF)",
            "A network per task, whose weights combine a few common ones.",
            Together(factorised_laf, _equal, extra=rank_space),
            "Y. Yang, T. Hospedales, ICLR 2017, arXiv:1605.06391",
        ),
        _candidate(
            "factorised_tucker",
            "factorised weights (Tucker)",
            "A network per task, whose weights come from a common core and factors.",
            Together(factorised_tucker, _equal, extra=rank_share_space),
            "Y. Yang, T. Hospedales, ICLR 2017, arXiv:1605.06391",
        ),
        _candidate(
            "factorised_tensor_train",
            "factorised weights (tensor train)",
            "A network per task, whose weights come from a chain of common cores.",
            Together(factorised_tensor_train, _equal, extra=rank_share_space),
            "Y. Yang, T. Hospedales, ICLR 2017, arXiv:1605.06391",
        ),
        _candidate(
            "factorised_trained",
            "factorised weights, trained apart first",
            "Single-task networks are trained, and what their weights have in common is trained on.",
            Together(factorised_trained, _equal, extra=rank_error_space),
            "Y. Yang, T. Hospedales, ICLR 2017, arXiv:1605.06391",
        ),
        _candidate(
            "relationship",
            "relationship network",
            "A common layer, then one per task under a prior that learns how tasks are related.",
            Together(relationship, _equal, extra=strength_space),
            "M. Long et al., NeurIPS 2017, arXiv:1506.02117",
        ),
        _candidate(
            "soft_ordering",
            "soft layer ordering",
            "Common layers that every task mixes in its own way at every depth.",
            Together(_soft_ordering, _equal),
            "E. Meyerson, R. Miikkulainen, ICLR 2018, arXiv:1711.00108",
        ),
        _candidate(
            "task_routing",
            "task routing",
            "One network; every task uses a fixed random part of its units.",
            Together(_routing, _equal, extra=_keep_space),
            "G. Strezoski et al., ICCV 2019, arXiv:1903.12117",
        ),
        _candidate(
            "adashare",
            "AdaShare",
            "One network; every task learns which of its blocks to run.",
            Together(_adashare, _equal, extra=_sparsity_space),
            "X. Sun et al., NeurIPS 2020, arXiv:1911.12423",
        ),
        _candidate(
            "learning_to_branch",
            "learning to branch",
            "Layers are copied, and a tree of the tasks through the copies is learned.",
            Together(_learning_to_branch, _equal),
            "P. Guo et al., ICML 2020, arXiv:2006.01895",
        ),
        _candidate(
            "sharing_graph",
            "learned sharing graph",
            "Layers are copied; what reads what is learned and pruned.",
            Together(_sharing_graph, _equal),
        ),
        _candidate(
            "branched",
            "branched networks",
            "Single-task networks are compared; tasks that see inputs alike share layers of a new tree.",
            Together(_branched, _equal, needs=_few_networks),
            "S. Vandenhende et al., BMVC 2020, arXiv:1904.02920",
        ),
        _candidate(
            "fully_adaptive",
            "fully-adaptive sharing",
            "Hard sharing that splits from the top where tasks find different examples hard.",
            Together(_adaptive, _equal, needs=_one_set_of_examples),
            "Y. Lu et al., CVPR 2017, arXiv:1611.05377",
        ),
        _candidate(
            "perceiver",
            "Perceiver IO",
            "Columns are read into a few latent vectors, which every task asks with its own queries.",
            Together(_perceiver, _equal),
            "A. Jaegle et al., ICLR 2022, arXiv:2107.14795",
        ),
    )


def _candidate(name: str, title: str, summary: str, plan: Together, source: str = "") -> Candidate:
    return Candidate(
        name=name, title=title, summary=summary, family="joint", plan=plan, source=source, in_default=False
    )
