r"""Products of all pairs of rows, made once for many weights of the samples.

With ``K_ij = x_i . x_j`` and the weighted mean ``m_t = sum_i p_ti x_i`` of the rows of task t, products of centred rows
are sums of products that are known already:

    (x_i - m_s) . (x_j - m_t) = K_ij - (K p_t)_i - (K p_s)_j + p_s' K p_t

They lose digits where means are large beside what varies; rows that are taken from their plain means first do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, issparse, vstack

from taskloom.regularised.data import Array, TaskData

__all__ = ["RowProducts"]


@dataclass(frozen=True)
class RowProducts:
    """All products of the rows of all tasks.

    Args:
        products: K, shape (N, N).
        tasks: which task each row belongs to, shape (N,).

    Example:
        >>> X, w = np.array([[1.0], [3.0]]), np.array([0.5, 0.5])
        >>> RowProducts.of(TaskData((X,), (w,), (w,)), is_shifted=False).centred((w,))
        array([[ 1., -1.],
               [-1.,  1.]])
    """

    products: Array
    tasks: NDArray[np.intp]

    @classmethod
    def of(cls, data: TaskData, *, is_shifted: bool) -> RowProducts:
        """Products of the rows.

        Args:
            data: designs of all tasks.
            is_shifted: take the rows of dense designs from their mean in their task; weighted means are subtracted
                from them later in any case.
        """
        tasks = np.repeat(np.arange(data.n_tasks), [len(weights) for weights in data.weights])
        if any(issparse(design) for design in data.designs):
            rows = csr_array(vstack([csr_array(design) for design in data.designs]))
            return cls((rows @ rows.T).toarray(), tasks)
        shifts = [X.mean(axis=0) if is_shifted and len(X) else 0.0 for X in data.designs]
        dense = np.concatenate([X - shift for X, shift in zip(data.designs, shifts, strict=True)])
        return cls(dense @ dense.T, tasks)

    def centred(self, weights: tuple[Array, ...]) -> Array:
        """Products of the rows taken from the weighted mean of their task, shape (N, N).

        Args:
            weights: of the samples of each task, shape (n_t,).
        """
        totals = [one.sum() or 1.0 for one in weights]
        shares = np.zeros((len(self.tasks), len(weights)))
        shares[np.arange(len(self.tasks)), self.tasks] = np.concatenate(
            [one / total for one, total in zip(weights, totals, strict=True)]
        )
        with_means = self.products @ shares  # row i with the mean of each task
        means = shares.T @ with_means
        across = with_means[:, self.tasks]
        found: Array = self.products - across - across.T + means[np.ix_(self.tasks, self.tasks)]
        return found
