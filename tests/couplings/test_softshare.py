from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from taskloom.couplings import CentreDistance, GraphDistance, PairwiseDistance
from taskloom.errors import TaskError


def stack(n_tasks: int, seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(n_tasks, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def chain(n_tasks: int) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(abs(i - j) == 1) for j in range(n_tasks)) for i in range(n_tasks))


@settings(deadline=None, max_examples=25)
@given(n_tasks=st.integers(1, 6), seed=st.integers(0, 100))
def test_pairwise_is_the_sum_over_pairs(n_tasks: int, seed: int) -> None:
    stacks = {"weight": stack(n_tasks, seed, 3, 2), "bias": stack(n_tasks, seed + 1, 3)}
    pairs = combinations(range(n_tasks), 2)
    expected = sum(float((values[i] - values[j]).square().sum()) for i, j in pairs for values in stacks.values())
    assert float(PairwiseDistance(2.0)(stacks)) == pytest.approx(2 * expected, rel=1e-12, abs=1e-12)


def test_centre_at_the_mean_is_pairwise_over_k() -> None:
    stacks = {"weight": stack(4, 0, 3)}
    centre = {"weight": stacks["weight"].mean(0).requires_grad_()}
    value = CentreDistance(1.0)(stacks, centre)
    torch.testing.assert_close(4 * value, PairwiseDistance(1.0)(stacks))
    gradient = torch.autograd.grad(value, centre["weight"])[0]
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-12, rtol=0)
    with pytest.raises(TaskError, match="centre="):
        CentreDistance(1.0)(stacks)


def test_graph_of_all_pairs_is_pairwise() -> None:
    stacks = {"weight": stack(5, 1, 2, 3)}
    everyone = tuple(tuple(1.0 for _ in range(5)) for _ in range(5))
    torch.testing.assert_close(GraphDistance(1.0, everyone)(stacks), PairwiseDistance(1.0)(stacks))


def test_graph_weighs_edges() -> None:
    values = stack(3, 2, 4)
    found = GraphDistance(1.0, ((0, 2, 0), (2, 0, 0.5), (0, 0.5, 0)))({"weight": values})
    expected = 2 * (values[0] - values[1]).square().sum() + 0.5 * (values[1] - values[2]).square().sum()
    torch.testing.assert_close(found, expected)
    equal = values[:1].expand(3, -1)
    assert float(GraphDistance(1.0, chain(3))({"weight": equal})) == 0.0


@pytest.mark.parametrize(
    ("similarity", "message"),
    [
        ((), "square"),
        (((0, 1),), "square"),
        (((0, 1), (2, 0)), "symmetric"),
        (((0, -1), (-1, 0)), "0 or more"),
        (((0, float("nan")), (float("nan"), 0)), "finite"),
    ],
)
def test_bad_similarities(similarity: Sequence[Sequence[float]], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        GraphDistance(1.0, similarity)  # type: ignore[arg-type]


@pytest.mark.parametrize("strength", [-1.0, float("nan")])
def test_bad_strength(strength: float) -> None:
    with pytest.raises(TaskError, match="0 or more"):
        PairwiseDistance(strength)


@pytest.mark.parametrize("coupling", [PairwiseDistance(), GraphDistance(similarity=chain(4))])
@pytest.mark.parametrize("step", [0.0, 0.1, 1e3])
def test_prox_is_the_minimiser(coupling: PairwiseDistance | GraphDistance, step: float) -> None:
    start = stack(4, 3, 2, 3)
    moved = coupling.prox({"weight": start}, step)["weight"].requires_grad_()
    objective = 0.5 * (moved - start).square().sum() + step * coupling.distance({"weight": moved})
    gradient = torch.autograd.grad(objective, moved)[0]  # strictly convex: a stationary point is the minimiser
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-9, rtol=0)


def test_no_closed_form() -> None:
    with pytest.raises(TaskError, match="CentreDistance has no closed-form proximal step"):
        CentreDistance().prox({"weight": stack(2, 0, 3)}, 0.1)
