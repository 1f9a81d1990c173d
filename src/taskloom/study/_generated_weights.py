"""The candidates whose weights are generated from common ones, or related by a prior, and what of them is tuned."""

from __future__ import annotations

from collections.abc import Sequence

from taskloom.data.table import MultiTaskData
from taskloom.nn import FactorisedNetworks, RelationshipNetwork, TensorFactorised
from taskloom.nn.factorised import without_warning
from taskloom.nn.factors import LAF, TensorTrain, Tucker
from taskloom.nn.model import MultiTaskModel
from taskloom.study.plans._networks import Shape
from taskloom.study.space import Choice, LogRange, Parameter

__all__ = [
    "factorised_laf",
    "factorised_tensor_train",
    "factorised_trained",
    "factorised_tucker",
    "rank_error_space",
    "rank_share_space",
    "rank_space",
    "relationship",
    "strength_space",
]


def factorised_laf(shape: Shape) -> MultiTaskModel:
    """Every weight combines a few dense ones."""
    return _factorised(shape, LAF(rank=int(shape.settings["rank"])))


def factorised_tucker(shape: Shape) -> MultiTaskModel:
    """A core and a factor per axis."""
    return _factorised(shape, Tucker(rank=_share_of_width(shape)))


def factorised_tensor_train(shape: Shape) -> MultiTaskModel:
    """A chain of cores."""
    return _factorised(shape, TensorTrain(rank=_share_of_width(shape)))


def _share_of_width(shape: Shape) -> int:
    """Rank of every axis or cut, as far as there are so many."""
    return max(1, int(shape.width * float(shape.settings["rank_share"])))


def _factorised(shape: Shape, factorisation: LAF | Tucker | TensorTrain) -> MultiTaskModel:
    with without_warning():  # few tasks may have more factors than weights: the report says so
        return TensorFactorised(shape.encoder, shape.tasks, factorisation=factorisation)


def factorised_trained(shape: Shape) -> MultiTaskModel:
    """Single-task networks first, then their factors."""
    return _TrainedApart(shape.encoder, shape.tasks, factorisation=LAF(rank=float(shape.settings["rank_error"])))


class _TrainedApart(FactorisedNetworks):
    """Networks of a comparison, whose ranks are found in the middle of every training: the report shows them once."""

    def derive(self) -> TensorFactorised:
        with without_warning():
            return super().derive()


def rank_error_space(data: MultiTaskData) -> Sequence[Parameter]:
    """How much of the trained weights is left out."""
    return [Choice("rank_error", (0.1, 0.3, 0.5), default=0.3, structural=True)]


def rank_space(data: MultiTaskData) -> Sequence[Parameter]:
    """Number of common weights."""
    ranks = tuple(rank for rank in (1, 2, 4, 8) if rank <= len(data.tasks))
    return [Choice("rank", ranks, default=ranks[len(ranks) // 2], structural=True)]


def rank_share_space(data: MultiTaskData) -> Sequence[Parameter]:
    """Rank over the width."""
    return [Choice("rank_share", (0.125, 0.25, 0.5), default=0.25, structural=True)]


def relationship(shape: Shape) -> MultiTaskModel:
    """A common layer, then one per task under a prior of their relations."""
    return RelationshipNetwork(
        shape.encoder(depth=1),
        shape.tasks,
        tower=lambda: shape.encoder(depth=1, n_inputs=shape.width),
        strength=float(shape.settings["strength"]),
        every=20,
    )


def strength_space(data: MultiTaskData) -> Sequence[Parameter]:
    """Of the prior."""
    return [LogRange("strength", 1e-5, 1e-1, default=1e-3)]
