"""Random loss weighting: moments, seeds, exact conditional coins."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor

from taskloom.balance.scale.rlw import _bernoulli, rlw
from taskloom.errors import BalanceError

DISTRIBUTIONS = ["normal", "dirichlet", "uniform", "bernoulli"]


def draws(distribution: str, n_steps: int, n_tasks: int = 3) -> Tensor:
    balancer = rlw(distribution)
    return torch.stack([balancer.weights(None, torch.ones(n_tasks, dtype=torch.float64)) for _ in range(n_steps)])


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_weights_lie_on_the_simplex_and_are_equal_on_average(distribution: str) -> None:
    weights = draws(distribution, 1500)
    torch.testing.assert_close(weights.sum(1), torch.ones(1500, dtype=torch.float64))
    assert float(weights.min()) >= 0
    deviation = weights.std(0) / 1500**0.5
    assert bool(((weights.mean(0) - 1 / 3).abs() < 4 * deviation).all())


def test_normal_weights_are_a_softmax_of_normal_numbers() -> None:
    logs = draws("normal", 1500).log()
    differences = logs[:, 0] - logs[:, 1]  # N(0, 2)
    assert float(differences.mean()) == pytest.approx(0.0, abs=0.15)
    assert float(differences.var()) == pytest.approx(2.0, rel=0.15)


def test_dirichlet_weights_are_uniform_on_the_simplex() -> None:
    first = draws("dirichlet", 1500)[:, 0]  # Beta(1, 2): variance 1/18
    assert float(first.var()) == pytest.approx(1 / 18, rel=0.15)


def test_coins_choose_every_set_of_tasks_equally_often() -> None:
    weights = draws("bernoulli", 1400)
    sets = Counter(tuple((row > 0).tolist()) for row in weights)
    assert len(sets) == 7
    assert min(sets.values()) > 140
    assert {round(1 / value) for value in weights[weights > 0].tolist()} == {1, 2, 3}


def test_coins_are_thrown_again_while_none_chooses() -> None:
    there = torch.ones(2, dtype=torch.bool)
    for uniform, expected in (
        ([0.2, 0.7], [1.0, 0.0]),
        ([0.2, 0.4], [0.5, 0.5]),
        ([0.6, 0.9], [1.0, 0.0]),  # binary 0.10.., 0.11..: the second round chooses the first task
        ([0.9, 0.95], [1.0, 0.0]),  # 0.1110.., 0.1111..
        ([0.8, 0.85], [0.5, 0.5]),
    ):
        assert _bernoulli(torch.tensor(uniform, dtype=torch.float64), there).tolist() == expected


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_one_task_and_none(distribution: str) -> None:
    assert draws(distribution, 2, 1).tolist() == [[1.0], [1.0]]
    balancer = rlw(distribution)
    nothing = torch.zeros(2, dtype=torch.bool)
    assert balancer.combine(torch.zeros(2), active=nothing, draws=balancer.draw(2)).weights.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_extreme_numbers_are_no_trouble(distribution: str) -> None:
    balancer = rlw(distribution)
    nearly_one = 1 - 2.0**-53
    for uniform in ([0.0, 0.0], [0.0, nearly_one], [nearly_one, nearly_one]):
        weights = balancer.weights(None, torch.ones(2), draws=torch.tensor(uniform, dtype=torch.float64))
        assert bool(torch.isfinite(weights).all())


def test_seeds_and_generators() -> None:
    def path(**settings: object) -> list[list[float]]:
        balancer = rlw(**settings)
        return [balancer.weights(None, torch.ones(3)).tolist() for _ in range(3)]

    assert path(seed=1) == path(seed=1) != path(seed=2)
    assert path(seed=1)[0] != path(seed=1)[1]
    assert path(generator=torch.Generator().manual_seed(5)) == path(generator=torch.Generator().manual_seed(5))


def test_an_unknown_distribution_is_refused() -> None:
    with pytest.raises(BalanceError, match="distribution must be one of"):
        rlw("gamma")


def test_reads_as_a_recipe() -> None:
    assert repr(rlw()) == "chain(random_weights())"
    assert repr(rlw("dirichlet")) == "chain(random_weights('dirichlet'))"
