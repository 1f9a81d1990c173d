"""Least squares of several tasks with the intercepts eliminated; sparse designs stay sparse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from scipy.sparse import issparse

from taskloom.regularised.coupled.row_products import RowProducts
from taskloom.regularised.data import Array, TaskData

__all__ = ["Centred", "Intercept"]

Intercept = Literal["none", "task", "shared"]
ROWS = 16384  # rows that are centred at a time


@dataclass(frozen=True)
class Centred:
    """Weighted least squares of T tasks as a function of the coefficients alone.

    Args:
        data: designs, targets and weights.
        intercept: ``"none"``, ``"task"`` (one per task) or ``"shared"`` (one for all tasks).
        row_products: products of all pairs of rows, where they are known.

    Example:
        >>> X, y, w = np.array([[1.0], [3.0]]), np.array([2.0, 6.0]), np.ones(2)
        >>> rows = Centred(TaskData((X,), (y,), (w,)), "task")
        >>> rows.grams, rows.right_hand_sides, rows.intercepts(np.array([[2.0]]))
        (array([[[2.]]]), array([[4.]]), array([0.]))
    """

    data: TaskData
    intercept: Intercept
    row_products: RowProducts | None = None

    @classmethod
    def of(cls, data: TaskData, *, shared_intercept: bool = False, row_products: RowProducts | None = None) -> Centred:
        """With the intercepts that the data ask for, or with a shared one."""
        own: Intercept = "task" if data.fit_intercept else "none"
        return cls(data, "shared" if shared_intercept else own, row_products)

    # -- sizes and means ----------------------------------------------------------------------------------------

    @cached_property
    def totals(self) -> Array:
        """Sum of the weights of each task, shape (T,)."""
        return np.array([weights.sum() for weights in self.data.weights])

    @cached_property
    def sums(self) -> Array:
        """Weighted sum of the rows of each task, shape (T, d)."""
        data = self.data
        if data.is_shared:
            one = np.asarray(data.designs[0].T @ data.weights[0])
            return np.broadcast_to(one, (data.n_tasks, data.n_features))
        return np.array([design.T @ weights for design, weights in zip(data.designs, data.weights, strict=True)])

    @cached_property
    def means(self) -> Array:
        """What is subtracted from the rows of each task, shape (T, d): 0 without an intercept of its own."""
        if self.intercept != "task":
            return np.zeros((self.data.n_tasks, self.data.n_features))
        return _over(self.sums, self.totals[:, None])

    @cached_property
    def target_means(self) -> Array:
        """Intercepts at zero coefficients, shape (T,)."""
        sums = np.array([w @ y for w, y in zip(self.data.weights, self.data.targets, strict=True)])
        if self.intercept == "task":
            return _over(sums, self.totals)
        if self.intercept == "shared":
            return np.full(self.data.n_tasks, sums.sum() / self.totals.sum())
        return np.zeros(self.data.n_tasks)

    @property
    def has_one_gram(self) -> bool:
        """Whether one Gram matrix serves all tasks."""
        return self.data.is_shared

    # -- products -----------------------------------------------------------------------------------------------

    def intercepts(self, A: Array) -> Array:
        """The best intercepts for given coefficients, shape (T,)."""
        if self.intercept == "task":
            return self.target_means - self._shifts(A)
        if self.intercept == "shared":
            shift = float(np.vdot(self.sums.T, A)) / float(self.totals.sum())
            return np.asarray(self.target_means - shift)
        return np.zeros(self.data.n_tasks)

    def _shifts(self, A: Array) -> Array:
        """Means of the rows times the coefficients, shape (T,)."""
        shifts: Array = np.einsum("td,dt->t", self.means, A)
        return shifts

    def residuals(self, A: Array) -> tuple[Array, ...]:
        """``y_t - X_t a_t - b_t`` with the best intercepts."""
        data, intercepts = self.data, self.intercepts(A)
        if data.is_shared:
            fitted = data.designs[0] @ A + intercepts  # (n, T)
            return tuple(y - column for y, column in zip(data.targets, np.asarray(fitted).T, strict=True))
        return tuple(data.targets[t] - data.designs[t] @ A[:, t] - intercepts[t] for t in range(data.n_tasks))

    def gradient(self, u: tuple[Array, ...]) -> Array:
        """``X_t' u_t`` for vectors u that sum to 0 where there is an intercept, shape (d, T)."""
        data = self.data
        if data.is_shared:
            pulled: Array = np.asarray(data.designs[0].T @ np.column_stack(u))
        else:
            pulled = np.column_stack([design.T @ one for design, one in zip(data.designs, u, strict=True)])
        rounding: Array = self.means * np.array([one.sum() for one in u])[:, None]  # what is left of the sums
        return pulled - rounding.T

    def descent(self, A: Array) -> Array:
        """Minus the gradient of the least squares at A, shape (d, T)."""
        return self.gradient(tuple(w * r for w, r in zip(self.data.weights, self.residuals(A), strict=True)))

    @cached_property
    def right_hand_sides(self) -> Array:
        """The descent at A = 0, ``r``, shape (d, T)."""
        return self.descent(np.zeros((self.data.n_features, self.data.n_tasks)))

    def products(self, A: Array) -> tuple[Array, ...]:
        """``W_t^1/2 X_t a_t`` with the centred rows."""
        data = self.data
        if data.is_shared:
            images = list(np.asarray(data.designs[0] @ A).T)
        else:
            images = [data.designs[t] @ A[:, t] for t in range(data.n_tasks)]
        triples = zip(data.weights, images, self._shifts(A), strict=True)
        return tuple(np.sqrt(weights) * (image - shift) for weights, image, shift in triples)

    def gram_times(self, A: Array) -> Array:
        """``H_t a_t``, shape (d, T): by the Gram matrices if they have been made, by the rows otherwise."""
        if "grams" in self.__dict__:
            found: Array = np.matmul(self.grams, A.T[:, :, None])[:, :, 0].T
            return found
        products = self.products(A)
        return self.gradient(tuple(np.sqrt(w) * one for w, one in zip(self.data.weights, products, strict=True)))

    def value(self, A: Array) -> float:
        """``sum_t sum_i w_ti (y_ti - x_ti . a_t - b_t)^2 / 2``."""
        pairs = zip(self.data.weights, self.residuals(A), strict=True)
        return 0.5 * float(sum(w @ r**2 for w, r in pairs))

    # -- matrices -----------------------------------------------------------------------------------------------

    @cached_property
    def grams(self) -> Array:
        """``X_t' W_t X_t`` of the centred rows, shape (T, d, d), or (1, d, d) if one serves all."""
        data = self.data
        chosen = range(1 if self.has_one_gram else data.n_tasks)
        return np.array([self._gram(data.designs[t], data.weights[t], self.means[t]) for t in chosen])

    def with_grams(self) -> Centred:
        """The same with the Gram matrices made, which products use from then on."""
        made = Centred(self.data, self.intercept, self.row_products)
        made.__dict__.update(self.__dict__, grams=self.grams)
        return made

    @cached_property
    def eigenbasis(self) -> tuple[Array, Array]:
        """Eigenvectors (d, m) and eigenvalues (m,) of the only Gram matrix, without those 0 for want of rows."""
        n_rows, n_features = self.data.designs[0].shape
        if n_rows >= n_features:
            values, vectors = np.linalg.eigh(self.grams[0])
            return vectors, np.maximum(values, 0)
        _, singular, transposed = np.linalg.svd(self.scaled_rows(0), full_matrices=False)
        return transposed.T, singular**2

    def _gram(self, design: Any, weights: Array, mean: Array) -> Array:
        if issparse(design):
            weighted = design.multiply(weights[:, None]).tocsc()
            sparse_gram: Array = (design.T @ weighted).toarray()
            return sparse_gram - float(weights.sum()) * np.outer(mean, mean)
        gram: Array = np.zeros((design.shape[1], design.shape[1]))
        for rows in _blocks(len(weights)):
            scaled = (design[rows] - mean) * np.sqrt(weights[rows])[:, None]
            gram += scaled.T @ scaled
        return gram

    def mean_gram(self) -> Array:
        """Mean of the Gram matrices over the tasks, shape (d, d), one matrix at a time."""
        if self.has_one_gram:
            only: Array = self.grams[0]
            return only
        data = self.data
        mean = np.zeros((data.n_features, data.n_features))
        for design, weights, centre in zip(data.designs, data.weights, self.means, strict=True):
            mean += self._gram(design, weights, centre) / data.n_tasks
        return mean

    def gram_diagonal(self) -> Array:
        """Diagonal of :meth:`mean_gram`, shape (d,), without the matrix."""
        data = self.data
        diagonal = np.zeros(data.n_features)
        for task, weights in enumerate(data.weights):
            design: Any = data.designs[task]
            squares = design.multiply(design) if issparse(design) else design**2
            diagonal += np.asarray(squares.T @ weights).ravel() - weights.sum() * self.means[task] ** 2
        found: Array = np.maximum(diagonal, 0) / data.n_tasks
        return found

    def inner_products(self) -> Array:
        """Products of all pairs of centred rows times the roots of their weights, shape (N, N)."""
        data = self.data
        if self.row_products is None and not any(issparse(design) for design in data.designs):
            scaled = np.concatenate([self.scaled_rows(task) for task in range(data.n_tasks)])
            dense_products: Array = scaled @ scaled.T
            return dense_products
        rows = self.row_products or RowProducts.of(data, is_shifted=False)
        products = rows.centred(data.weights) if self.intercept == "task" else rows.products
        roots = np.sqrt(np.concatenate(data.weights))
        scaled_products: Array = products * roots[:, None] * roots
        return scaled_products

    def scaled_rows(self, task: int) -> Array:
        """The centred rows of a task times the roots of their weights, dense, shape (n_t, d)."""
        design: Any = self.data.designs[task]
        dense = design.toarray() if issparse(design) else design
        scaled: Array = (dense - self.means[task]) * np.sqrt(self.data.weights[task])[:, None]
        return scaled


def _over(numbers: Array, totals: Array) -> Array:
    """Quotient, 0 where a task has no weight."""
    quotient: Array = np.divide(numbers, totals, out=np.zeros(numbers.shape), where=totals > 0)
    return quotient


def _blocks(n_rows: int) -> Iterator[slice]:
    return (slice(start, start + ROWS) for start in range(0, n_rows, ROWS))
