"""MGDA: optimality, normalisation in its two conventions, edge cases."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from taskloom._rng import torch_stream
from taskloom.balance.flow import Need
from taskloom.balance.reduce.mgda import mgda
from taskloom.errors import BalanceError


def jacobian(n_tasks: int, size: int, seed: int = 0) -> Tensor:
    return torch.randn(n_tasks, size, generator=torch_stream(seed, "test"), dtype=torch.float64)


LOSSES = torch.tensor([0.5, 2.0, 1.0, 4.0], dtype=torch.float64)


@pytest.mark.parametrize("n_tasks", [1, 2, 3, 5, 10, 40])
def test_all_losses_fall_equally_on_the_support(n_tasks: int) -> None:
    for seed in range(5):
        rows = jacobian(n_tasks, n_tasks + 3, seed)
        weights, direction = mgda().weights(rows @ rows.T), mgda().direction(rows)
        assert float(weights.min()) >= 0
        assert float(weights.sum()) == pytest.approx(1.0, abs=1e-14)
        square = float(direction.square().sum())
        progress = rows @ direction
        assert float(progress.min()) >= square * (1 - 1e-10)
        torch.testing.assert_close(progress[weights > 0], torch.full_like(progress[weights > 0], square))


def test_two_tasks_by_hand() -> None:
    gramian = torch.tensor([[1.0, -1.0], [-1.0, 4.0]], dtype=torch.float64)
    torch.testing.assert_close(mgda().weights(gramian), torch.tensor([5 / 7, 2 / 7], dtype=torch.float64))
    assert mgda().weights(torch.tensor([[1.0, 2.0], [2.0, 9.0]])).tolist() == [1.0, 0.0]


def test_divided_by_norms_the_scale_of_a_task_does_not_matter() -> None:
    rows = jacobian(4, 6)
    scales = torch.tensor([[1.0], [1e3], [1e-3], [7.0]], dtype=torch.float64)
    plain = mgda("l2", apply_to="normalised").direction(rows)
    torch.testing.assert_close(mgda("l2", apply_to="normalised").direction(scales * rows), plain)
    unit = rows / rows.norm(dim=1, keepdim=True)
    torch.testing.assert_close(plain, mgda().direction(unit))


@pytest.mark.parametrize("normalise", ["l2", "loss", "loss+"])
def test_both_conventions_share_the_weights_of_the_problem(normalise: str) -> None:
    rows = jacobian(4, 6)
    lengths = torch.ones(4, dtype=torch.float64)
    if normalise != "loss":
        lengths = rows.norm(dim=1)
    if normalise != "l2":
        lengths = lengths * LOSSES
    divided = rows / lengths.unsqueeze(1)
    weights = mgda().weights(divided @ divided.T)
    torch.testing.assert_close(mgda(normalise).direction(rows, LOSSES), weights @ rows)
    torch.testing.assert_close(mgda(normalise, apply_to="normalised").direction(rows, LOSSES), weights @ divided)


def test_needs_follow_the_normalisation() -> None:
    assert mgda("l2").needs == Need.GRAMIAN
    assert mgda("loss+").needs == Need.GRAMIAN | Need.LOSSES
    assert mgda().head_gradient == "unweighted"
    with pytest.raises(BalanceError, match="looks at loss values"):
        mgda("loss").weights(torch.eye(2))


@pytest.mark.parametrize("normalise", ["none", "l2", "loss", "loss+"])
def test_edge_cases(normalise: str) -> None:
    balancer = mgda(normalise)
    assert balancer.weights(torch.eye(1), torch.ones(1)).tolist() == [1.0]
    ones = torch.ones(3, dtype=torch.float64)
    zero = torch.zeros(3, 3, dtype=torch.float64)
    torch.testing.assert_close(balancer.weights(zero, ones), ones / 3)
    rows = jacobian(3, 5)
    rows[1] = 0
    assert balancer.weights(rows @ rows.T, ones).tolist() == [0.0, 1.0, 0.0]
    equal = rows[:1].expand(3, -1).contiguous()
    torch.testing.assert_close(balancer.weights(equal @ equal.T, ones), ones / 3)
    opposite = torch.stack([rows[0], -2 * rows[0]])
    divided = {"none": [2 / 3, 1 / 3], "loss": [2 / 3, 1 / 3], "l2": [0.5, 0.5], "loss+": [0.5, 0.5]}[normalise]
    assert balancer.weights(opposite @ opposite.T, ones[:2]).tolist() == pytest.approx(divided)


def test_absent_tasks_do_not_pass_for_finished_ones() -> None:
    rows = jacobian(3, 5)
    rows[1] = 0
    gramian = rows @ rows.T
    active = torch.tensor([True, False, True])
    for normalise in ("none", "l2", "loss"):
        balancer = mgda(normalise)
        losses = torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64)
        found = balancer.combine(losses, gramian, active=active, tasks=["a", "b", "c"]).weights
        kept = balancer.combine(losses[[0, 2]], gramian[[0, 2]][:, [0, 2]], tasks=["a", "c"]).weights
        torch.testing.assert_close(found[[0, 2]], kept)
        assert float(found[1]) == 0


def test_wrong_arguments_and_losses_are_named() -> None:
    with pytest.raises(BalanceError, match="normalise must be"):
        mgda("l1")
    with pytest.raises(BalanceError, match="apply_to must be"):
        mgda(apply_to="both")
    with pytest.raises(BalanceError, match=r"divides by the losses, found \{'task 1': -2.0\}"):
        mgda("loss").weights(torch.eye(2), torch.tensor([1.0, -2.0]))


def test_reads_as_a_recipe() -> None:
    assert repr(mgda()) == "chain(mgda())"
    assert repr(mgda("l2", apply_to="normalised")) == "chain(mgda('l2', apply_to='normalised'))"
