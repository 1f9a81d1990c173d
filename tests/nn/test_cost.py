from __future__ import annotations

import torch
from torch import nn

from taskloom.nn import (
    MLP,
    NDDR,
    CrossStitch,
    HardSharing,
    Independent,
    PartialSharing,
    PerceiverIO,
    Sluice,
    layer_macs,
    macs,
    sharing_table,
)
from taskloom.task import Regression, Task


def test_layers() -> None:
    assert macs(nn.Linear(3, 4), torch.zeros(2, 3)).macs == 2 * 3 * 4
    assert macs(nn.Conv2d(4, 6, 3, padding=1, groups=2), torch.zeros(1, 4, 5, 5)).macs == 6 * 25 * 2 * 9
    assert macs(nn.ConvTranspose2d(4, 6, 2, stride=2), torch.zeros(1, 4, 5, 5)).macs == 4 * 25 * 6 * 4
    assert macs(nn.BatchNorm1d(3), torch.zeros(2, 3)).macs == 6
    assert macs(nn.Embedding(5, 3), torch.zeros(2, dtype=torch.int64)).macs == 0
    assert macs(nn.ReLU(), torch.zeros(2, 3)).macs == 0


def test_attention() -> None:
    class Self(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attend = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.attend(inputs, inputs, inputs, need_weights=False)[0]

    found = macs(Self(), torch.zeros(3, 5, 8))
    assert found.macs == 3 * (4 * 5 * 8 * 8 + 2 * 5 * 5 * 8)
    assert found.flops == 2 * found.macs


def test_unknown_layers_are_listed() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs * self.weight

    net = nn.Sequential(nn.Linear(3, 3), Own())
    found = macs(net, torch.zeros(2, 3))
    assert found.not_counted == ("1",)
    layer_macs.register(Own)(lambda layer, inputs, *, output: output.numel())
    assert macs(net, torch.zeros(2, 3)).macs == 18 + 6


def test_mode_and_hooks_are_restored() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Dropout())
    net[0].eval()
    macs(net, torch.zeros(1, 3))
    assert [part.training for part in net] == [False, True]
    assert not net[0]._forward_hooks


def test_units_that_mix_networks() -> None:
    """``C`` numbers of each of K networks are each made of K (S K, C K) numbers."""
    tasks = [Task(name=name, kind=Regression()) for name in "abc"]
    networks, sample = 3 * (4 * 8 + 8 * 8 + 8), torch.zeros(1, 4)
    assert macs(CrossStitch(MLP(4, (8, 8)), tasks), sample).macs == networks + 3 * 8 * 3
    found = macs(Sluice(MLP(4, (8, 8)), tasks), sample)
    assert found.macs == networks + 2 * (3 * 8 * 2 * 3) + 3 * (8 * 2)  # units behind both stages, and sums of stages
    assert macs(NDDR(MLP(4, (8, 8)), tasks, norm=None), sample).macs == networks + 2 * (3 * 8 * 3 * 8)


def test_attention_of_latents() -> None:
    tasks = [Task(name="a", kind=Regression())]
    model = PerceiverIO(tasks, in_channels=4, n_latents=3, channels=8, n_blocks=0, n_heads=2)
    found = macs(model, torch.zeros(2, 5, 4))
    assert not found.not_counted
    reading = 3 * 8 * 8 + 2 * 5 * 4 * 8 + 3 * 8 * 8 + 2 * 3 * 5 * 8
    asking = 8 * 8 + 2 * 3 * 8 * 8 + 8 * 8 + 2 * 3 * 8
    between = (3 + 1) * 2 * 8 * 8  # perceptrons
    norms = 3 * 8 + 5 * 4 + 3 * 8 + 8 + 3 * 8 + 8
    assert found.macs == 2 * (reading + asking + between + norms + 8)


def test_models() -> None:
    tasks = [Task(name=name, kind=Regression()) for name in "abc"]
    sample = torch.zeros(1, 4)
    assert macs(HardSharing(MLP(4, (8, 8)), tasks), sample).macs == 4 * 8 + 8 * 8 + 3 * 8
    assert macs(Independent(lambda: MLP(4, (8, 8)), tasks), sample).macs == 3 * (4 * 8 + 8 * 8 + 8)
    table = sharing_table((("a", "b"), "c"), splits=(1, 2), n_stages=3)
    stages = [lambda: MLP(4, (8,)), lambda: MLP(8, (8,)), lambda: MLP(8, (8,))]
    partial = PartialSharing(stages, tasks, table=table)
    joint = 4 * 8 + 2 * 64 + 3 * 64 + 3 * 8  # prefixes once, not the sum over tasks
    assert macs(partial, sample).macs == joint
    assert macs(partial.export("a"), sample).macs == 4 * 8 + 64 + 64 + 8
