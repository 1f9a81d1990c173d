"""RLW: weights drawn at random in every step, the test that any other method has to pass.

    w = softmax(z), z ~ N(0, I)

All draws come from one uniform number per task and step, so that absent tasks change nothing for the others.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from taskloom.balance._entries import present
from taskloom.balance.base import Balancer, Need, Scale, chain
from taskloom.balance.flow import Flow
from taskloom.balance.scale._losses import softmax
from taskloom.errors import BalanceError

__all__ = ["RandomWeights", "random_weights", "rlw"]

Distribution = Literal["normal", "dirichlet", "uniform", "bernoulli"]


class RandomWeights(Scale):
    """Scales every row by a random number (see :func:`random_weights`)."""

    needs: ClassVar[Need] = Need.NOTHING

    def __init__(self, distribution: Distribution, *, seed: int, generator: torch.Generator | None) -> None:
        super().__init__()
        if distribution not in _WEIGHTS:
            raise BalanceError(f"rlw(): distribution must be one of {list(_WEIGHTS)}, found {distribution!r}")
        self.distribution = distribution
        self.seed = seed
        self.generator = generator

    def draw_shape(self, n_tasks: int) -> tuple[int, ...] | None:
        return (n_tasks,)

    def scale(self, flow: Flow) -> Tensor:
        assert flow.draws is not None  # Balancer checks that random numbers are there
        uniform = flow.draws[: flow.n_rows].to(flow.mix.device)
        return _WEIGHTS[self.distribution](uniform, present(flow))

    def __repr__(self) -> str:
        return "random_weights()" if self.distribution == "normal" else f"random_weights({self.distribution!r})"


def _normal(uniform: Tensor, is_there: Tensor) -> Tensor:
    tiny = torch.finfo(uniform.dtype).tiny
    return softmax(torch.special.ndtri(uniform.clamp(min=tiny)), is_there)


def _uniform(uniform: Tensor, is_there: Tensor) -> Tensor:
    return softmax(uniform, is_there)


def _dirichlet(uniform: Tensor, is_there: Tensor) -> Tensor:
    """Dirichlet(1, ..., 1): exponential numbers over their sum."""
    return _normalised(-torch.log1p(-uniform) * is_there)


def _bernoulli(uniform: Tensor, is_there: Tensor) -> Tensor:
    """Tasks chosen by fair coins, thrown again while none is chosen.

    The binary digits of the uniform number are the coins of a task, a 0 chooses it: the tasks with the fewest leading
    ones are those chosen in the first round that chooses any.
    """
    leading_ones = (-torch.log2(1 - uniform)).floor().masked_fill(~is_there, torch.inf)
    return _normalised(((leading_ones == leading_ones.min()) & is_there).to(uniform))


def _normalised(values: Tensor) -> Tensor:
    total = values.sum()
    return values / torch.where(total > 0, total, 1.0)


_WEIGHTS = {"normal": _normal, "dirichlet": _dirichlet, "uniform": _uniform, "bernoulli": _bernoulli}


def random_weights(
    distribution: Distribution = "normal", *, seed: int = 0, generator: torch.Generator | None = None
) -> RandomWeights:
    """Link that scales rows by random numbers that sum to 1, drawn anew in every step.

        A = diag(softmax(z)), z ~ N(0, I)

    Args:
        distribution: as :func:`rlw`.
        seed: seed of the draws.
        generator: source of random numbers instead of the seed; its state is yours to save.

    Returns:
        the link; it needs nothing.

    Raises:
        BalanceError: an unknown distribution.

    Example:
        >>> balancer = chain(random_weights())
        >>> balancer.weights(None, torch.ones(2), draws=torch.tensor([0.5, 0.5])).tolist()
        [0.5, 0.5]
    """
    return RandomWeights(distribution, seed=seed, generator=generator)


def rlw(distribution: Distribution = "normal", *, seed: int = 0, generator: torch.Generator | None = None) -> Balancer:
    """Random loss weighting: the weights of every step are drawn at random.

    Run it beside any method that adapts weights: one that does not beat it has not shown that its rule matters.

        w = softmax(z),    z ~ N(0, I);    E w = 1/K

    Args:
        distribution: "normal" (default, the paper's): softmax of normal numbers; "uniform": softmax of uniform ones in
            [0, 1); "dirichlet": uniform on the simplex; "bernoulli": equal weights of tasks chosen by fair coins.
        seed: seed of the draws; the same on all ranks.
        generator: source of random numbers instead of the seed; its state is yours to save.

    Returns:
        ``chain(random_weights(...))``.

    Raises:
        BalanceError: an unknown distribution.

    Cost:
        nothing beyond the ordinary backward pass.

    Distributed:
        every rank draws the same numbers, from the seed and the number of the step.

    Differs from the paper:
        nothing.

    Source:
        Lin, Ye, Zhang, Tsang, "Reasonable Effectiveness of Random Weighting: A Litmus Test for Multi-Task Learning",
        TMLR 2022, arXiv 2111.10603.

    Example:
        >>> weights = rlw(seed=3).weights(None, torch.ones(4))
        >>> bool((weights > 0).all()), round(float(weights.sum()), 6)
        (True, 1.0)
    """
    return chain(random_weights(distribution, seed=seed, generator=generator))
