"""How shared parameters are divided into blocks."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.engine.conftest import TwoHeads
from torch import nn

from taskloom.balance import Blocks
from taskloom.errors import BalanceError


def test_layers_own_their_weight_and_bias() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Sequential(nn.Linear(3, 1, bias=False), nn.Tanh()))
    assert Blocks.per_layer(network) == Blocks(sizes=(6, 3, 3, 3, 3), owners=(0, 0, 1, 1, 2))
    assert Blocks.per_tensor(network) == Blocks(sizes=(6, 3, 3, 3, 3), owners=(0, 1, 2, 3, 4))
    assert Blocks.per_tensor(network.parameters()) == Blocks.per_tensor(network)
    assert Blocks.per_layer(copy.deepcopy(network)) == Blocks.per_layer(network)
    assert [len(Blocks.per_layer(network)), len(Blocks.per_tensor(network))] == [3, 5]


def test_frozen_and_tied_parameters_count_as_balance_counts_them() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[1].weight = network[0].weight
    network[0].bias.requires_grad_(False)
    assert Blocks.per_layer(network) == Blocks(sizes=(4, 2), owners=(0, 1))


def test_a_model_is_asked_for_its_shared_parameters() -> None:
    assert Blocks.per_layer(TwoHeads()) == Blocks(sizes=(15, 20, 4), owners=(0, 1, 1))
    assert Blocks.per_tensor(TwoHeads()) == Blocks(sizes=(15, 20, 4), owners=(0, 1, 2))


def test_what_is_no_division_is_named() -> None:
    for sizes, owners in (((1, 2), (0,)), ((), ()), ((1, 2), (0, 2)), ((1, 2), (-1, 0))):
        with pytest.raises(BalanceError, match=r"every parameter needs a size and a block"):
            Blocks(sizes, owners)
    for make in (Blocks.per_layer, Blocks.per_tensor):
        with pytest.raises(BalanceError, match="no shared parameter that requires a gradient"):
            make(nn.Tanh())
    with pytest.raises(BalanceError, match="no shared parameter that requires a gradient"):
        Blocks.per_tensor([torch.ones(2)])
