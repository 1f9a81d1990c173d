"""Alpha-fair allocation over a direction: the positive solution of ``G w = w^(-1/alpha)``.

It exists exactly if the origin is not in the convex hull of the vectors. With ``w = x / n``, n the norms, C the
cosines, ``q = 1 / alpha`` and ``y = C x`` it is the minimiser of either of

    x^T C x / 2 + sum n_i^(q-1) x_i^(1-q) / (q-1)   over x > 0
    x^T C x / 2 + sum n_i^(1-alpha) y_i^(1-alpha) / (alpha-1)   over y > 0

the second being the problem in the direction itself. Both are convex; damped Newton steps start from the Nash solution,
where x and y are positive, and run on the one whose variables differ by fewer orders: x for alpha < 1, y for alpha > 1.
The last digits come from Newton steps relative to w on ``w^q (G w) = 1``.

Source:
    Ban, Ji, "Fair Resource Allocation in Multi-Task Learning", ICML 2024, arXiv 2402.15638 (the system; solved there by
    bounded least squares).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from taskloom.solvers._compiled import compiled
from taskloom.solvers.nash import nash_cosines

__all__ = ["allocate", "fair"]

Array = NDArray[np.float64]

_RIDGE = 1e-15  # on a unit diagonal: keeps steps finite where C is singular; it only bends them
_LARGEST = 600.0  # logarithm of a number that is too large whatever it stands for
_SMALL_STEP = 1e-7  # relative; after a Newton step of this size the error is its square


def fair(G: Array, alpha: float, *, tolerance: float = 0.0, regularise: bool = True) -> Array:
    """Weights of the alpha-fair direction.

    Args:
        G: inner products of the vectors, shape (K, K). Vectors of length zero get weight 0.
        alpha: > 0; 1 gives the weights of Nash bargaining, large values favour the worst-off.
        tolerance: as in :func:`taskloom.solvers.nash.nash`.
        regularise: as in :func:`taskloom.solvers.nash.nash`.

    Returns:
        w, shape (K,).

    Example:
        >>> fair(np.diag([1.0, 8.0]), 2.0)
        array([1.  , 0.25])
    """
    return allocate(G, alpha, tolerance=tolerance, regularise=regularise)[0]


def allocate(G: Array, alpha: float, *, tolerance: float = 0.0, regularise: bool = True) -> tuple[Array, bool]:
    """The same, and whether the equation has a solution.

    Args:
        G: as in :func:`fair`.
        alpha: as in :func:`fair`.
        tolerance: as in :func:`fair`.
        regularise: as in :func:`fair`.

    Returns:
        w, shape (K,), and False where the origin is in the hull.

    Example:
        >>> allocate(np.array([[1.0, -1.0], [-1.0, 1.0]]), 2.0, regularise=False)
        (array([0., 0.]), False)
    """
    kept, norms, cosines, relative, is_solved = nash_cosines(G, tolerance=tolerance, regularise=regularise)
    weights = np.zeros(len(G))
    if len(kept) == 0 or relative[0] == 0:
        return weights, is_solved
    if alpha == 1:
        weights[kept] = relative / norms
    else:
        power = max(alpha, 1 / alpha)
        factor = (power - 1 if alpha < 1 else 1 - power) * np.log(norms)
        if alpha < 1:  # exact for orthogonal vectors
            relative = norms * (relative / norms) ** (2 * alpha / (1 + alpha))
        relative = _minimiser(cosines, factor, power, relative, alpha > 1)
        weights[kept] = _polished(cosines * norms * norms[:, np.newaxis], relative / norms, 1 / alpha)
    return weights, is_solved


@compiled
def _minimiser(C: Array, factor: Array, power: float, x: Array, of_image: bool) -> Array:
    """Minimises ``x^T C x / 2 + sum exp(factor) v^(1-power) / (power-1)`` over v > 0, where v is x or C x."""
    y = C @ x
    v = y if of_image else x
    # the best length: k^(1+power) = sum exp(factor) v^(1-power) / x^T C x
    logs = factor + (1.0 - power) * np.log(v)
    largest = logs.max()
    length = np.exp((largest + np.log(np.exp(logs - largest).sum()) - np.log(x @ y)) / (1.0 + power))
    x, y, v = x * length, y * length, v * length
    pull = np.exp(np.minimum(factor - power * np.log(v), _LARGEST))
    for _ in range(200):
        # (I + diag(root) C diag(root)) f = right, scaled to a unit diagonal: roots differ by many orders
        root = np.sqrt(power * pull / v) if of_image else np.sqrt(v / (power * pull))
        shrink = 1.0 / np.sqrt(1.0 + root * root)
        scale = root * shrink
        system = C * scale * scale.reshape(-1, 1) + np.diag(shrink * shrink + _RIDGE)
        if of_image:
            step = scale * np.linalg.solve(system, (pull - x) * shrink / root)
            image = C @ step
            slope = image @ (x - pull)
            change = image / v
        else:
            step = scale * np.linalg.solve(system, (pull - y) * scale)
            image = C @ step
            slope = step @ (y - pull)
            change = step / v
        small = np.abs(change).max() <= _SMALL_STEP
        shortest = change.min()
        length = 1.0 if shortest >= -0.99 else -0.99 / shortest
        value = 0.5 * (x @ y) + (pull @ v) / (power - 1.0)
        for _ in range(40):
            new_x = x + length * step
            new_y = y + length * image
            new_v = new_y if of_image else new_x
            new_pull = np.exp(np.minimum(factor - power * np.log(new_v), _LARGEST))
            new_value = 0.5 * (new_x @ new_y) + (new_pull @ new_v) / (power - 1.0)
            if small or new_value <= value + 1e-4 * length * slope + 1e-14 * abs(value):
                break
            length *= 0.5
        x, y, v, pull = new_x, C @ new_x, new_v, new_pull
        if small:
            break
    return pull if of_image else x


@compiled
def _polished(G: Array, weights: Array, power: float) -> Array:
    scaling = power * np.eye(G.shape[0])
    lift = weights**power
    right = 1.0 - lift * (G @ weights)
    residual = np.abs(right).max()
    for _ in range(4):
        if residual <= 1e-14:
            break
        trial = weights * (1.0 + np.linalg.solve(lift.reshape(-1, 1) * G * weights + scaling, right))
        if trial.min() <= 0:
            break
        lift = trial**power
        right = 1.0 - lift * (G @ trial)
        before = residual
        residual = np.abs(right).max()
        if residual >= before:
            break
        weights = trial
    return weights
