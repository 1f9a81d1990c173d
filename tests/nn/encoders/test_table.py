from __future__ import annotations

import math

import pytest
import torch

from taskloom.errors import TaskError
from taskloom.nn import FeatureEmbedding, HardSharing, TableMLP, dry_run, stages_of
from taskloom.task import Regression, Task


def rows() -> torch.Tensor:
    return torch.tensor([[0.0, 9.0, 0.5], [2.0, -1.0, 1.5], [1.0, 3.0, -2.0]], dtype=torch.float64)


def test_shapes_and_count() -> None:
    encoder = TableMLP([3, 10], n_numbers=1, hidden=(6, 4)).double()
    assert encoder.out_features == 4
    assert dry_run(list(encoder), rows()) == [(3, 2 + 5 + 1), (3, 6), (3, 4)]
    assert sum(p.numel() for p in encoder.parameters()) == 4 * 2 + 11 * 5 + 9 * 6 + 7 * 4
    assert len(stages_of(encoder)) == 3


def test_vectors_are_those_of_the_codes() -> None:
    embed = FeatureEmbedding([3, 10], n_numbers=1, widths=[1, 2]).double()
    found = embed(rows())
    for row, (first, second, number) in enumerate(rows().tolist()):
        expected = [*embed.vectors[0].weight[int(first) + 1], *embed.vectors[1].weight[int(second) + 1], number]
        assert found[row].tolist() == [float(value) for value in expected]


def test_missing_codes_have_a_vector_of_their_own() -> None:
    embed = FeatureEmbedding([3], n_numbers=0)
    inputs = torch.tensor([[-1.0], [math.nan], [0.0]])
    found = embed(inputs)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    with pytest.raises(IndexError):
        embed(torch.tensor([[3.0]]))


def test_a_pair_of_codes_and_numbers() -> None:
    encoder = TableMLP([3, 10], n_numbers=1).double()
    pair = (rows()[:, :2].long(), rows()[:, 2:])
    assert torch.equal(encoder(pair), encoder(rows()))


def test_in_a_model() -> None:
    model = HardSharing(TableMLP([3, 10], 1), [Task(name="a", kind=Regression())])
    assert model(rows().float())["a"].shape == (3, 1)


def test_bad_sizes() -> None:
    with pytest.raises(TaskError, match="numbers of categories must be 1 or more"):
        TableMLP([0])
    with pytest.raises(TaskError, match="1 widths for 2 categorical columns"):
        TableMLP([3, 4], widths=[2])
    with pytest.raises(TaskError, match="n_numbers"):
        FeatureEmbedding([3], -1)
    with pytest.raises(TaskError, match="expected 2 columns of codes and 1 of numbers, found 2 and 2"):
        TableMLP([3, 10], 1)(torch.zeros(2, 4))
