"""Which way of solving a coupled system is the quickest for its size."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

from taskloom.regularised.coupled.block_cholesky import BlockCholesky
from taskloom.regularised.coupled.centred import Centred
from taskloom.regularised.coupled.conjugate_gradient import ConjugateGradient
from taskloom.regularised.coupled.dual import Dual
from taskloom.regularised.coupled.low_rank import LowRank
from taskloom.regularised.coupled.shared_basis import SharedBasis
from taskloom.regularised.data import Array
from taskloom.regularised.penalties.coupling import TaskCoupling

__all__ = ["DirectMethod", "LinearMethod", "choose", "choose_direct", "solves_for_samples"]

MOST_NUMBERS = 6e7  # of the matrices that a direct method keeps: half a gigabyte
STEPS = 200  # of conjugate gradients, as a guess


class LinearMethod(Protocol):
    """Solves ``H_t a_t + (A Q)_t = r_t``."""

    def solve(self, R: Array) -> Array:
        """A for the right-hand sides R, both of shape (d, T)."""
        ...


class DirectMethod(LinearMethod, Protocol):
    """One that also knows the weight of each sample in its own fitted value."""

    def leverages(self) -> tuple[Array, ...]:
        """Weights by task, without the part of the intercept."""
        ...

    def blocks(self, groups: NDArray[np.intp]) -> Array:
        """Weights of samples in each other's fitted values, times the roots of their own weights, (G, m, m).

        Args:
            groups: (G, m) positions of samples of different tasks among the samples of all tasks.
        """
        ...


Direct: TypeAlias = type[SharedBasis] | type[BlockCholesky] | type[LowRank] | type[Dual]
Costs: TypeAlias = dict[Direct, tuple[float, float]]


def choose(rows: Centred, coupling: TaskCoupling, *, max_iterations: int) -> LinearMethod:
    """The method with the fewest operations among those that fit into memory."""
    method = _quickest_direct(rows, coupling)
    if method is None:
        by_grams, by_rows = _iterative_costs(rows, coupling)
        chosen = rows.with_grams() if by_grams < by_rows else rows
        return ConjugateGradient(chosen, coupling, max_iterations=max_iterations)
    return method(rows, coupling)


def solves_for_samples(rows: Centred, coupling: TaskCoupling) -> bool:
    """Whether one equation per sample is the quickest: then products of rows are worth keeping for other weights."""
    return _quickest_direct(rows, coupling) is Dual


def _quickest_direct(rows: Centred, coupling: TaskCoupling) -> Direct | None:
    """The direct method with the fewest operations that fits into memory; None where an iteration needs fewer."""
    costs = {
        method: work for method, (work, numbers) in _direct_costs(rows, coupling).items() if numbers <= MOST_NUMBERS
    }
    method = min(costs, key=lambda one: costs[one], default=None)
    return None if method is None or costs[method] > min(_iterative_costs(rows, coupling)) else method


def choose_direct(rows: Centred, coupling: TaskCoupling) -> SharedBasis | DirectMethod:
    """The method with the fewest operations among those that give leverages."""
    costs = _direct_costs(rows, coupling)
    return min(costs, key=lambda one: costs[one][0])(rows, coupling)


def _direct_costs(rows: Centred, coupling: TaskCoupling) -> Costs:
    """Operations, and numbers kept, of every direct method that can be used."""
    data = rows.data
    T, d, k = float(data.n_tasks), float(data.n_features), float(len(coupling.values))
    n = [float(len(target)) for target in data.targets]
    N = sum(n)
    if data.is_shared:
        short = min(n[0], d)
        is_wide_sparse = issparse(data.designs[0]) and n[0] < d
        kept = n[0] * d if is_wide_sparse else short * d
        return {SharedBasis: (2 * n[0] * d * short + 10 * short**3 + 4 * short * d * (T + k), kept)}
    gram = N * d**2
    costs: Costs = {
        BlockCholesky: (gram + (T * d) ** 3 / 3, (T * d) ** 2),
        LowRank: (gram + 6 * T * d**3 + (T + 1) * (k * d) ** 2 + (k * d) ** 3, 3 * T * d**2 + 2 * (k * d) ** 2),
    }
    if not coupling.is_singular:
        of_products = N**2 * (d if rows.row_products is None else T)
        costs[Dual] = (of_products + N**3 / 3, 2 * N**2)
    return costs


def _iterative_costs(rows: Centred, coupling: TaskCoupling) -> tuple[float, float]:
    """Operations of conjugate gradients with Gram matrices, and with the rows."""
    data = rows.data
    T, d, k = float(data.n_tasks), float(data.n_features), float(len(coupling.values))
    entries = float(sum(_count_entries(design) for design in data.designs))
    common = STEPS * 8 * d * T * k + 10 * min(d, 1500.0) ** 3
    fits = T * d**2 <= MOST_NUMBERS
    by_grams = common + entries * d + STEPS * 2 * T * d**2 if fits else float("inf")
    overhead = 2e4 * T  # of small products, one by one
    return by_grams, common + STEPS * (4 * entries + overhead)


def _count_entries(design: Any) -> int:
    return int(design.nnz if issparse(design) else design.size)
