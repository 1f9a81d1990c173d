"""Uncertainty weighting: equations, the rest point, kinds, bounds, and how it is trained."""

from __future__ import annotations

import math

import pytest
import torch

from taskloom.balance.base import Balancer
from taskloom.balance.scale.uncertainty import (
    GAUSSIAN,
    LAPLACE,
    SOFTMAX,
    LogVariances,
    likelihood_of,
    uncertainty,
)
from taskloom.errors import BalanceError
from taskloom.losses import AbsoluteError
from taskloom.task import Binary, Kind, Multiclass, Regression, Task

TASKS = [
    Task(name="price", kind=Regression()),
    Task(name="sold", kind=Binary()),
    Task(name="type", kind=Multiclass(3)),
    Task(name="days", kind=Regression(), loss=AbsoluteError()),
]


def bound(**settings: object) -> Balancer:
    balancer = uncertainty(**settings)
    balancer.bind(TASKS)
    return balancer.double()


def variances(balancer: Balancer) -> LogVariances:
    link = next(iter(balancer))
    assert isinstance(link, LogVariances)
    return link


def test_factors_follow_from_the_kinds() -> None:
    combination = bound().combine(torch.ones(4, dtype=torch.float64))
    assert combination.weights.tolist() == [0.5, 1.0, 1.0, 1.0]
    assert [variances(bound()).slope.tolist()] == [[0.5, 0.5, 0.5, 1.0]]


def test_equations() -> None:
    start = [0.3, -0.2, 0.0, 1.0]
    losses = torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64)
    balancer = bound(init=start)
    balancer.reset()
    combination = balancer.combine(losses)
    factors, slopes = [0.5, 1, 1, 1], [0.5, 0.5, 0.5, 1]
    expected = [factor * math.exp(-s) for factor, s in zip(factors, start, strict=True)]
    torch.testing.assert_close(combination.weights.tolist(), expected)
    torch.testing.assert_close(
        float(combination.penalty.detach()), sum(a * s for a, s in zip(slopes, start, strict=True))
    )
    total = (combination.weights * losses).sum() + combination.penalty
    (gradient,) = torch.autograd.grad(total, [variances(balancer).log_variance])
    torch.testing.assert_close(
        gradient.tolist(), [a - w * x for a, w, x in zip(slopes, expected, losses.tolist(), strict=True)]
    )


def test_rests_where_the_weight_is_the_inverse_loss() -> None:
    losses = torch.tensor([4.0, 0.5, 1.0, 2.0], dtype=torch.float64)
    balancer = bound()
    optimiser = torch.optim.SGD(balancer.parameters(), lr=0.2)
    for _ in range(400):
        optimiser.zero_grad()
        combination = balancer.combine(losses)
        torch.autograd.backward((combination.weights * losses).sum() + combination.penalty)
        optimiser.step()
    slopes = torch.tensor([0.5, 0.5, 0.5, 1.0], dtype=torch.float64)
    torch.testing.assert_close(balancer.combine(losses).weights.detach(), slopes / losses)


def test_log1p_regulariser() -> None:
    balancer = bound(regulariser="log1p", init=[2.0, -1.0, 0.0, 0.5])
    balancer.reset()
    combination = balancer.combine(torch.ones(4, dtype=torch.float64))
    expected = [0.5 * math.exp(-s) for s in (2.0, -1.0, 0.0, 0.5)]
    torch.testing.assert_close(combination.weights.tolist(), expected)
    penalty = sum(math.log1p(math.exp(s)) for s in (2.0, -1.0, 0.0, 0.5))
    torch.testing.assert_close(float(combination.penalty.detach()), penalty)
    assert "log1p" in repr(balancer)


def test_clamp_holds_and_lets_go() -> None:
    balancer = uncertainty(GAUSSIAN, init=[5.0, 5.0, -5.0, -5.0], clamp=(-1.0, 1.0))
    balancer.bind(["a", "b", "c", "d"])
    losses = torch.tensor([100.0, 0.0, 100.0, 0.0])  # loss 100 asks for a larger s, loss 0 for a smaller one
    combination = balancer.combine(losses)
    torch.testing.assert_close(combination.weights[0].item(), 0.5 * math.exp(-1.0))
    torch.autograd.backward((combination.weights * losses).sum() + combination.penalty)
    gradient = variances(balancer).log_variance.grad
    assert gradient is not None
    # Held where the gradient pushes outward (0 for the upper bound of a, the lower of d), free to come back otherwise.
    assert gradient[[0, 3]].tolist() == [0.0, 0.0]
    assert gradient[1] > 0
    assert gradient[2] < 0


def test_penalty_counts_the_tasks_that_are_there() -> None:
    balancer = uncertainty(GAUSSIAN, init=[1.0, 10.0])
    balancer.bind(["a", "b"])
    masked = balancer.combine(torch.tensor([1.0, 0.0]), active=torch.tensor([True, False]))
    assert float(masked.penalty.detach()) == 0.5
    assert masked.weights[1] == 0


def test_own_parameter_group() -> None:
    groups = bound().parameter_groups()
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(0.025, 0.0)]
    torch.optim.AdamW([{"params": [torch.nn.Parameter(torch.zeros(1))]}, *groups], lr=1e-3, weight_decay=0.1)


def test_negative_losses_are_refused() -> None:
    with pytest.raises(BalanceError, match=r"tasks \['sold'\] are negative"):
        bound().weights(None, torch.tensor([1.0, -0.1, 1.0, 1.0]))


def test_needs_to_know_its_tasks_first() -> None:
    with pytest.raises(BalanceError, match=r"call balancer.bind\(tasks\) first"):
        uncertainty().parameter_groups()
    with pytest.raises(BalanceError, match=r"call balancer\.bind"):
        uncertainty().combine(torch.ones(2))
    with pytest.raises(BalanceError, match="only the name is known"):
        uncertainty().bind(["a"])


def test_other_tasks_need_another_balancer() -> None:
    balancer = bound()
    balancer.bind(TASKS)  # the same tasks again: nothing happens
    with pytest.raises(BalanceError, match="holds values of the tasks"):
        balancer.bind(TASKS[:2])
    with pytest.raises(BalanceError, match=r"found 'pirce'\. Did you mean 'price'"):
        balancer.combine(torch.ones(1), tasks=["pirce"])


def test_arguments_are_checked() -> None:
    names = ["a", "b"]
    with pytest.raises(BalanceError, match="regulariser must be"):
        uncertainty(regulariser="l2")
    with pytest.raises(BalanceError, match="low < high"):
        uncertainty(clamp=(1.0, -1.0))
    with pytest.raises(BalanceError, match="likelihoods has nothing for the task 'b'"):
        uncertainty({"a": SOFTMAX}).bind(names)
    with pytest.raises(BalanceError, match=r"names the tasks \['c'\]"):
        uncertainty({"a": SOFTMAX, "b": LAPLACE, "c": LAPLACE}).bind(names)
    with pytest.raises(BalanceError, match="has 3 entries for 2 tasks"):
        uncertainty([SOFTMAX] * 3).bind(names)
    with pytest.raises(BalanceError, match="init has nothing for the task 'b'"):
        uncertainty(SOFTMAX, init={"a": 1.0}).bind(names)
    with pytest.raises(BalanceError, match="is not finite"):
        uncertainty(SOFTMAX, init=float("nan")).bind(names)


def test_a_new_kind_must_say_its_likelihood() -> None:
    class Ranking(Kind):
        pass

    with pytest.raises(BalanceError, match=r"likelihood_of\.register"):
        uncertainty().bind([Task(name="rank", kind=Ranking())])
    likelihood_of.register(Ranking, lambda kind: SOFTMAX)
    balancer = uncertainty()
    balancer.bind([Task(name="rank", kind=Ranking())])
    assert balancer.combine(torch.ones(1)).weights.tolist() == [1.0]


def test_state_round_trip() -> None:
    balancer = bound()
    with torch.no_grad():
        variances(balancer).log_variance.add_(0.25)
    other = bound()
    other.load_state_dict(balancer.state_dict())
    assert torch.equal(variances(other).log_variance, variances(balancer).log_variance)
    assert not any(name.endswith(("factor", "slope", "start")) for name in balancer.state_dict())
