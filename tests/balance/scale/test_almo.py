"""ALMO: projected ascent of the weights."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from taskloom.balance.base import Balancer
from taskloom.balance.scale.almo import ProjectedAscent, _project, almo
from taskloom.errors import BalanceError

LOSSES = torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64)


def shares(balancer: Balancer) -> Tensor:
    (link,) = balancer
    assert isinstance(link, ProjectedAscent)
    return link.shares


def test_the_first_weights_are_equal() -> None:
    balancer = almo()
    assert balancer.weights(None, LOSSES).tolist() == pytest.approx([1 / 3] * 3, abs=1e-15)
    # (1/3 + 0.1 l), less a common shift
    assert balancer.weights(None, LOSSES).tolist() == pytest.approx([1 / 3 - 0.1, 1 / 3 + 0.1, 1 / 3])


def test_weights_become_zero_and_come_back() -> None:
    balancer = almo(gamma=1.0)
    balancer.weights(None, LOSSES)
    assert balancer.weights(None, LOSSES).tolist() == [0.0, 1.0, 0.0]
    balancer.weights(None, torch.tensor([5.0, 1.0, 1.0]).double())
    assert balancer.weights(None, LOSSES)[0] > 0


def test_a_common_shift_of_the_losses_changes_nothing() -> None:
    plain, shifted = almo(), almo()
    for _ in range(4):
        torch.testing.assert_close(plain.weights(None, LOSSES), shifted.weights(None, LOSSES - 11.0))


def test_bounds() -> None:
    balancer = almo(gamma=1.0, low=0.1, high=0.6)
    for _ in range(4):
        weights = balancer.weights(None, LOSSES)
    assert weights.tolist() == pytest.approx([0.1, 0.6, 0.3])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-3, 3, allow_subnormal=False), min_size=2, max_size=6), st.floats(0, 1), st.floats(0, 1))
def test_the_projection_is_the_nearest_point(values: list[float], low: float, high: float) -> None:
    """KKT: entries between the bounds are shifted by one number, those at a bound would be beyond it."""
    n_tasks = len(values)
    low, high = low / n_tasks, 1 / n_tasks + high * (1 - 1 / n_tasks)
    point = torch.tensor(values, dtype=torch.float64)
    one = torch.ones((), dtype=torch.float64)
    found = _project(point, one, low, high, torch.ones(n_tasks, dtype=torch.bool))
    assert abs(float(found.sum()) - 1) < 1e-12
    assert float(found.min()) >= low
    assert float(found.max()) <= high
    shift = point - found
    inside = (found > low + 1e-9) & (found < high - 1e-9)
    if bool(inside.any()):
        assert float(shift[inside].max() - shift[inside].min()) < 1e-9
        assert bool((shift[found <= low + 1e-9] <= shift[inside].min() + 1e-9).all())
        assert bool((shift[found >= high - 1e-9] >= shift[inside].max() - 1e-9).all())


def test_the_projection_of_a_part() -> None:
    point, here = torch.tensor([0.5, 9.0, 0.2], dtype=torch.float64), torch.tensor([True, False, True])
    found = _project(point, torch.tensor(0.4, dtype=torch.float64), 0.0, 1.0, here)
    assert found[[0, 2]].tolist() == pytest.approx([0.35, 0.05])


def test_one_task() -> None:
    balancer = almo()
    assert [balancer.weights(None, LOSSES[:1]).tolist() for _ in range(3)] == [[1.0]] * 3


def test_absent_tasks_keep_their_weight() -> None:
    balancer = almo()
    balancer.bind(["a", "b", "c"])
    balancer.combine(LOSSES)
    before = shares(balancer).clone()
    balancer.combine(torch.tensor([1.0, 2.0]), tasks=["a", "c"])
    assert shares(balancer)[1] == before[1]
    assert float(shares(balancer).sum()) == pytest.approx(1.0, abs=1e-14)
    assert shares(balancer)[0] < before[0]
    before = shares(balancer).clone()
    balancer.combine(torch.tensor([0.0, 1.0, 0.0]), active=torch.tensor([False, True, False]))
    torch.testing.assert_close(shares(balancer), before, atol=1e-16, rtol=0)  # what one task has alone it keeps
    balancer.combine(torch.tensor([torch.nan, 1.0, 2.0]))
    assert shares(balancer)[0] == before[0]


def test_divisors() -> None:
    balancer = almo(divisors=[2.0, 1.0])
    assert balancer.weights(None, torch.tensor([2.0, 1.0])).tolist() == [0.25, 0.5]
    assert balancer.weights(None, torch.tensor([2.0, 1.0])).tolist() == [0.25, 0.5]  # equal losses, once divided


def test_arguments_are_checked() -> None:
    with pytest.raises(BalanceError, match=r"almo\(\): gamma must be a positive number"):
        almo(0.0)
    for low, high in ((-0.1, 1.0), (0.5, 0.5), (0.0, 1.1)):
        with pytest.raises(BalanceError, match="0 <= low < high <= 1"):
            almo(low=low, high=high)
    with pytest.raises(BalanceError, match=r"expected low <= 0\.333333 <= high"):
        almo(low=0.4).bind(["a", "b", "c"])
    with pytest.raises(BalanceError, match="cannot sum to 1"):
        almo(high=0.2).bind(["a", "b", "c"])


def test_reads_as_a_recipe() -> None:
    assert repr(almo()) == "chain(projected_ascent(0.1))"
    assert repr(almo(0.2, low=0.1)) == "chain(projected_ascent(0.2, low=0.1, high=1))"
