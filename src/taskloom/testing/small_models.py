"""One small model of every architecture, to try anything on that must work for all of them.

@pytest.mark.parametrize("small", small_models(), ids=str)
def test_my_tool(small):
my_tool(small.build(), small.inputs)
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from taskloom import nn as networks
from taskloom.couplings import CentreDistance, PairwiseDistance
from taskloom.nn.factors import LAF
from taskloom.nn.model import MultiTaskModel
from taskloom.task import Binary, Multiclass, Regression, Task

__all__ = ["SmallModel", "small_models"]

N_FEATURES = 6
_MLP = networks.MLP
_Make = Callable[[Sequence[Task]], MultiTaskModel]


@dataclass(frozen=True, eq=False)
class SmallModel:
    """A way to build one small model, and inputs for it.

    Args:
        name: class of the model, with a word on the variant if there are several.
        make: tasks -> model.
        kinds: kinds of its tasks, which are called ``"first"``, ``"second"``, ``"third"``.
        inputs: a sample input, float32.

    Example:
        >>> small = next(small for small in small_models() if small.name == "HardSharing")
        >>> sorted(small.build()(small.inputs))
        ['first', 'second', 'third']
    """

    name: str
    make: _Make
    kinds: tuple[Regression | Binary | Multiclass, ...]
    inputs: Tensor

    @property
    def tasks(self) -> list[Task]:
        """The tasks of the model."""
        return [Task(name=name, kind=kind) for name, kind in zip(("first", "second", "third"), self.kinds)]

    def build(self) -> MultiTaskModel:
        """The model, with parameters that are not zero and no two of which are equal, the same at every call."""
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore", networks.CompressionWarning)  # small on purpose
            torch.manual_seed(0)
            model = self.make(self.tasks)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(0.1 * torch.randn_like(parameter))
        return model

    def __str__(self) -> str:
        return self.name


def small_models() -> list[SmallModel]:
    """One small model of every architecture of the library, and of what those that learn a structure derive.

    Returns:
        the models, in the order of their names.

    Example:
        >>> len(small_models()) >= 30
        True
    """
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(5, N_FEATURES, generator=generator)
    images = torch.randn(3, 2, 8, 8, generator=generator)
    mixed = (Regression(), Binary(), Multiclass(3))
    alike = (Regression(), Regression(), Regression())
    every = [SmallModel(name, make, mixed, rows) for name, make in _ON_ROWS.items()]
    every += [SmallModel(name, make, alike, rows) for name, make in _ON_ROWS_OF_ONE_KIND.items()]
    every += [SmallModel(name, make, mixed[::2], images) for name, make in _ON_IMAGES.items()]
    return sorted(every, key=lambda small: small.name.casefold())


def _stages(*widths: int) -> list[Callable[[], nn.Module]]:
    """Factories of one layer each, from the features on."""
    sizes = [N_FEATURES, *widths]
    return [lambda one=one: _MLP(sizes[one], (sizes[one + 1],)) for one in range(len(widths))]  # type: ignore[misc]


def _encoder(*widths: int) -> Callable[[], nn.Module]:
    return lambda: _MLP(N_FEATURES, widths or (5, 4))


def _blocks() -> list[nn.Module]:
    return [_MLP(5, (5,)) for _ in range(3)]


def _table(tasks: Sequence[Task]) -> list[dict[str, int]]:
    names = [task.name for task in tasks]
    return [dict.fromkeys(names, 0), {name: min(index, 1) for index, name in enumerate(names)}]


def _cascade(tasks: Sequence[Task]) -> MultiTaskModel:
    label = 3
    widths = [N_FEATURES, 5 + N_FEATURES, 5 + N_FEATURES + label]
    return networks.Cascade([_MLP(width, (5,)) for width in widths], tasks, label_embeddings={tasks[1].name: label})


def _adashare(tasks: Sequence[Task]) -> networks.AdaShare:
    return networks.AdaShare(_blocks(), tasks, stem=_MLP(N_FEATURES, (5,)))


def _mod_squad(tasks: Sequence[Task], keep: int | None = None) -> networks.ModSquad:
    return networks.ModSquad(_stages(5, 4), tasks, n_experts=3, keep=keep)


def _graph(tasks: Sequence[Task]) -> networks.SharingGraph:
    return networks.SharingGraph(_stages(5, 5, 4), tasks)


def _branching(tasks: Sequence[Task]) -> networks.LearningToBranch:
    return networks.LearningToBranch(_stages(5, 4), tasks, widths=[1, 2])


def _mtan(tasks: Sequence[Task]) -> MultiTaskModel:
    pairs = [(nn.Linear(N_FEATURES, 5), nn.ReLU()), (nn.Linear(5, 4), nn.ReLU())]
    return networks.MTAN(pairs, tasks, channels=[5, 4], attention=networks.RowAttention())


def _cnn() -> nn.Module:
    return networks.CNN(2, (3, 4), pool=False)


_ON_ROWS: dict[str, _Make] = {
    "AdaptiveSharing": lambda tasks: networks.AdaptiveSharing(_stages(5, 4), tasks),
    "AdaShare": _adashare,
    "AdaShare, derived": lambda tasks: _adashare(tasks).with_structure(
        [[True] * 3, [True, False, True], [False, False, True]]
    ),
    "BranchedNetworks": lambda tasks: networks.BranchedNetworks(_stages(5, 4), tasks),
    "Cascade": _cascade,
    "CGC": lambda tasks: networks.CGC(_encoder(), tasks, n_shared=2, n_own=1),
    "Conditioned, own heads": lambda tasks: networks.Conditioned(
        _encoder()(), tasks, condition={1: networks.FiLM(len(tasks), 5)}
    ),
    "CrossStitch": lambda tasks: networks.CrossStitch(_encoder()(), tasks),
    "HardSharing": lambda tasks: networks.HardSharing(_encoder()(), tasks),
    "HardSoftMix": lambda tasks: networks.HardSoftMix(
        _MLP(N_FEATURES, (5,)), tasks, encoder=lambda: _MLP(5, (4,)), coupling=CentreDistance(0.1)
    ),
    "Independent": lambda tasks: networks.Independent(_encoder(), tasks),
    "LayeredSupervision": lambda tasks: networks.LayeredSupervision(
        _stages(5, 4, 3), tasks, levels={task.name: level for level, task in enumerate(tasks)}
    ),
    "LearningToBranch": _branching,
    "LoRA": lambda tasks: networks.LoRA(_encoder()(), tasks, rank=2, shared_rank=1),
    "MMoE": lambda tasks: networks.MMoE(_encoder(), tasks, n_experts=3),
    "MMoE with DSelect-k": lambda tasks: networks.MMoE(
        _encoder(), tasks, n_experts=3, gate=networks.DSelectKGate(entropy=0.1)
    ),
    "MMoE with top-k": lambda tasks: networks.MMoE(_encoder(), tasks, n_experts=4, gate=networks.TopKGate()),
    "ModSquad": _mod_squad,
    "ModSquad, derived": lambda tasks: _mod_squad(tasks, keep=2).with_structure([[[0, 1], [1, 2], [0, 2]]] * 2),
    "MTAN": _mtan,
    "NDDR": lambda tasks: networks.NDDR(_encoder()(), tasks),
    "OMoE": lambda tasks: networks.OMoE(_encoder(), tasks, n_experts=3),
    "PartialSharing": lambda tasks: networks.PartialSharing(_stages(5, 4), tasks, table=_table(tasks)),
    "PerceiverIO": lambda tasks: networks.PerceiverIO(
        tasks, in_channels=4, n_latents=3, channels=4, n_heads=2, adapter=networks.FeatureTokens(N_FEATURES, 4)
    ),
    "PerceiverIO, own decoders": lambda tasks: networks.PerceiverIO(
        tasks,
        in_channels=4,
        n_latents=3,
        channels=4,
        n_heads=2,
        adapter=networks.FeatureTokens(N_FEATURES, 4),
        decoder="private",
    ),
    "PLE": lambda tasks: networks.PLE(_stages(5, 4), tasks),
    "RelationshipNetwork": lambda tasks: networks.RelationshipNetwork(
        _MLP(N_FEATURES, (5,)), tasks, tower=lambda: _MLP(5, (4,))
    ),
    "SharingGraph": _graph,
    "SharingGraph, derived": lambda tasks: _graph(tasks).with_structure(
        [[[0], [0]], [[0], [0, 1], [1]], [[0], [1], [1, 2]]]
    ),
    "Sluice": lambda tasks: networks.Sluice(_MLP(N_FEATURES, (4, 4)), tasks),
    "SoftOrdering": lambda tasks: networks.SoftOrdering(lambda: nn.Linear(5, 5), tasks, stem=_MLP(N_FEATURES, (5,))),
    "SoftSharing": lambda tasks: networks.SoftSharing(_encoder(), tasks, coupling=PairwiseDistance(0.1)),
    "TaskRouting": lambda tasks: networks.TaskRouting(_MLP(N_FEATURES, (8, 6)), tasks),
    "FactorisedNetworks": lambda tasks: networks.FactorisedNetworks(_encoder(), tasks, factorisation=LAF(rank=2)),
    "TensorFactorised": lambda tasks: networks.TensorFactorised(_encoder(), tasks, factorisation=LAF(rank=2)),
}

_ON_ROWS_OF_ONE_KIND: dict[str, _Make] = {
    "Conditioned": lambda tasks: networks.Conditioned(
        _MLP(N_FEATURES + len(tasks), (5, 4)), tasks, condition=networks.OneHotConcat(len(tasks))
    ),
    "Pooled": lambda tasks: networks.Pooled(_encoder()(), tasks),
}

_ON_IMAGES: dict[str, _Make] = {
    "MTAN on images": lambda tasks: networks.MTAN(networks.CNN(2, (3, 4)), tasks, example=torch.zeros(1, 2, 8, 8)),
    "MTINet": lambda tasks: networks.MTINet(_cnn(), tasks, width=4, example=torch.zeros(1, 2, 8, 8)),
    "PADNet": lambda tasks: networks.PADNet(_cnn(), tasks, width=4, example=torch.zeros(1, 2, 8, 8)),
}
