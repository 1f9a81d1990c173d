"""Methods of TorchJD as links: the same answers as asking them, and what is refused."""

from __future__ import annotations

import copy

import pytest
import torch

from taskloom._rng import torch_stream
from taskloom.balance.adapters.torchjd import (
    TorchJDAggregator,
    TorchJDCrossWeighting,
    TorchJDRowWeighting,
    TorchJDWeighting,
    from_torchjd,
)
from taskloom.balance.base import Need, chain
from taskloom.balance.flow import Rows
from taskloom.balance.scale.fixed import scale_by
from taskloom.errors import BalanceError

aggregation = pytest.importorskip("torchjd.aggregation", reason="TorchJD is not installed")

ROWS = torch.randn(4, 9, generator=torch_stream(0, "torchjd"), dtype=torch.float64)
AGGREGATORS = {
    "AlignedMTL": lambda: aggregation.AlignedMTL(),
    "ConFIG": lambda: aggregation.ConFIG(),
    "IMTLG": lambda: aggregation.IMTLG(),
    "Krum": lambda: aggregation.Krum(n_byzantine=1),
    "MGDA": lambda: aggregation.MGDA(),
    "Mean": lambda: aggregation.Mean(),
    "PCGrad": lambda: aggregation.PCGrad(),
    "TrimmedMean": lambda: aggregation.TrimmedMean(trim_number=1),
    "GradDrop": lambda: aggregation.GradDrop(),
}
ON_GRAMIAN = {"AlignedMTL", "IMTLG", "Krum", "MGDA", "PCGrad"}


@pytest.mark.parametrize("name", sorted(AGGREGATORS))
def test_an_aggregator_gives_its_own_answer(name: str) -> None:
    aggregator = AGGREGATORS[name]()
    link = from_torchjd(aggregator)
    assert isinstance(link, TorchJDWeighting if name in ON_GRAMIAN else TorchJDAggregator)
    assert link.needs == (Need.GRAMIAN if name in ON_GRAMIAN else Need.ROWS)
    torch.manual_seed(3)
    expected = aggregator(ROWS)
    torch.manual_seed(3)
    torch.testing.assert_close(chain(link).direction(ROWS), expected)


def test_weightings_are_recognised() -> None:
    for made, kind, needs in (
        (aggregation.MGDAWeighting(), TorchJDWeighting, Need.GRAMIAN),
        (aggregation.CRMOGMWeighting(aggregation.MGDAWeighting()), TorchJDWeighting, Need.GRAMIAN),
        (aggregation.MeanWeighting(), TorchJDRowWeighting, Need.ROWS),
        (aggregation.ExcessMTLWeighting(), TorchJDRowWeighting, Need.ROWS),
        (aggregation.MoDoWeighting(), TorchJDCrossWeighting, Need.CROSS),
        (aggregation.SDMGradWeighting(), TorchJDCrossWeighting, Need.CROSS),
        (aggregation.ConFIG(), TorchJDAggregator, Need.ROWS),
    ):
        link = from_torchjd(made)
        assert type(link) is kind
        assert link.needs == needs


def test_weightings_give_their_own_answers_over_steps() -> None:
    second = ROWS.flip(0)
    for made, given in (
        (aggregation.CRMOGMWeighting(aggregation.MGDAWeighting()), ROWS @ ROWS.T),
        (aggregation.ExcessMTLWeighting(), ROWS),
        (aggregation.MoDoWeighting(), ROWS @ second.T),
    ):
        balancer = chain(from_torchjd(copy.deepcopy(made)))
        first = None
        for _ in range(3):
            found = balancer.step(ROWS, others=[second] * (balancer.n_batches - 1)).weights
            torch.testing.assert_close(found, made(given))
            first = found if first is None else first
        balancer.reset()
        again = balancer.step(ROWS, others=[second] * (balancer.n_batches - 1)).weights
        torch.testing.assert_close(again, first)


def test_composes_and_leaves_out_absent_tasks() -> None:
    balancer = chain(scale_by([1.0, 2.0, 3.0, 4.0]), from_torchjd(aggregation.MGDA()))
    scaled = ROWS * torch.arange(1.0, 5.0).double().unsqueeze(1)
    torch.testing.assert_close(balancer.direction(ROWS), aggregation.MGDA()(scaled))
    masked = ROWS.clone()
    masked[1] = 0
    present = torch.tensor([True, False, True, True])
    for aggregator in (aggregation.MGDA(), aggregation.ConFIG()):
        chained = chain(from_torchjd(aggregator))
        found = chained.combine(torch.zeros(4).double(), masked @ masked.T, active=present, rows=Rows((masked,)))
        direction = found.weights @ masked if found.direction is None else found.direction
        torch.testing.assert_close(direction, aggregator(ROWS[present]))


def test_any_callable_with_the_same_signature() -> None:
    assert chain(from_torchjd(lambda rows: rows.amax(0))).direction(torch.eye(2)).tolist() == [1.0, 1.0]
    by_norm = chain(from_torchjd(lambda gramian: gramian.diagonal(), on="gramian"))
    assert by_norm.weights(torch.diag(torch.tensor([1.0, 4.0]))).tolist() == [1.0, 4.0]


def test_wrong_objects_and_answers_are_refused() -> None:
    for wrong in (aggregation.MGDA, None, "mgda"):
        with pytest.raises(BalanceError, match="expected an Aggregator or a Weighting object"):
            from_torchjd(wrong)
    with pytest.raises(BalanceError, match="on must be one of"):
        from_torchjd(aggregation.MGDA(), on="matrix")
    with pytest.raises(BalanceError, match="expected a tensor of one dimension"):
        chain(from_torchjd(lambda rows: rows)).direction(torch.eye(2))
    with pytest.raises(BalanceError, match="2 numbers for 3 shared parameters"):
        chain(from_torchjd(lambda rows: rows.sum(1))).direction(torch.eye(2, 3))
    with pytest.raises(BalanceError, match="3 weights for 2 tasks"):
        chain(from_torchjd(lambda gramian: torch.ones(3), on="gramian")).weights(torch.eye(2))
    assert repr(from_torchjd(aggregation.Mean())).startswith("from_torchjd(Mean")
