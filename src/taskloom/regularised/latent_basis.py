"""Coefficients as sparse combinations of a few latent tasks that are learnt: ``A = L S``.

    minimise  risk(L S) + sparsity ||S||_1 + ridge / 2 ||L||_F^2,    L (d, k), S (k, T)

by turns. For fixed L the columns of S are lassos of k features, ``X_t L``; for fixed S the squared loss makes L the
solution of a linear system, ``sum_t H_t L s_t s_t' + ridge L = sum_t r_t s_t'``, solved by conjugate gradients; the
logistic loss is expanded to second order for it. A latent task may be made longer and its combinations smaller: the
scale with the smallest penalty follows in closed form after every turn. The objective never rises. It is not convex:
where the turns end depends on where they begin.

Source:
    Kumar, Daumé, "Learning task grouping and overlap in multi-task learning", ICML 2012.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.linalg
from scipy.sparse import issparse

from taskloom.regularised._least_squares import LeastSquaresOfData
from taskloom.regularised.coupled.centred import Centred
from taskloom.regularised.data import Array, Solution, TaskData
from taskloom.regularised.logistic_risk import LogisticPoint, LogisticRisk
from taskloom.regularised.newton import expanded
from taskloom.regularised.penalties.entry import EntryNorm
from taskloom.regularised.risk import SquaredRisk
from taskloom.regularised.solve import solve
from taskloom.regularised.splitting import solve_by_splitting

__all__ = ["LatentBasis", "first_bases", "solve_latent_basis"]

_INNER = 0.1  # tolerance of the lassos, as a share of that of the turns
_RESIDUAL = 1e-10  # of the linear system, relative
_MOST_STEPS = 1000  # of conjugate gradients, and iterations of the lassos
_LARGEST_BASIS = 1500  # features up to which the mean Gram matrix is taken apart
_MOST_NUMBERS = 2**24  # in Gram matrices that are kept
_SHORTEST = 2.0**-20
_MOST_TURNS = 200  # of the codes at the beginning
_TRIAL = 5  # turns from every beginning; then the best one goes on
_ROUGH = 1e-4  # tolerance of these turns: enough to tell which is best


@dataclass(frozen=True)
class LatentBasis:
    """Latent tasks and how the tasks combine them.

    Args:
        basis: L, shape (d, k).
        codes: S, shape (k, T).
        objective: risk plus penalties.
        gap: certified distance of the codes from the best ones for this basis.
        objectives: after every turn, not increasing.
        converged: whether the last turn gained no more than asked.

    Example:
        >>> LatentBasis(np.ones((2, 1)), np.array([[1.0, 0.0, 2.0]]), 0.0, 0.0, (), True).coefficients
        array([[1., 0., 2.],
               [1., 0., 2.]])
    """

    basis: Array
    codes: Array
    objective: float
    gap: float
    objectives: tuple[float, ...]
    converged: bool

    @property
    def coefficients(self) -> Array:
        """``L S``, shape (d, T)."""
        product: Array = self.basis @ self.codes
        return product


def first_bases(A: Array, n_latent: int) -> list[tuple[Array, Array]]:
    """Where turns may begin: singular vectors of coefficients, the same with few large codes, and tasks themselves.

    Every beginning is a good approximation of A of rank k, and no two are the same. Turning leaves the approximation
    and makes the squares of the codes as unequal as possible (varimax). The tasks are those that a QR decomposition
    with pivots picks: the longest, then the one farthest from it, and so on; they are latent tasks where some tasks use
    one latent task only.

    Args:
        A: shape (d, T).
        n_latent: k, at most T.

    Returns:
        pairs of L (d, k) and S (k, T), the largest code of every latent task positive.

    Example:
        >>> (L, S), *others = first_bases(np.array([[3.0, -3.0, -4.0], [0.0, 0.0, 0.0]]), 1)
        >>> L.ravel(), S, len(others)
        (array([-1.,  0.]), array([[-3.,  3.,  4.]]), 1)
    """
    left, s, right = np.linalg.svd(A, full_matrices=False)
    taken = min(n_latent, len(s))
    if taken < n_latent:  # more latent tasks than features
        return [_of_tasks(A, n_latent)]
    L, S = left[:, :taken], s[:taken, None] * right[:taken]
    bases = [_signed(L, S)]
    if n_latent > 1:  # a single direction has nothing to turn to
        turn = _varimax(S)
        bases.append(_signed(L @ turn, turn.T @ S))
    if A.shape[1] > 1:  # a single task is its own singular vector
        bases.append(_of_tasks(A, n_latent))
    return bases


def _of_tasks(A: Array, n_latent: int) -> tuple[Array, Array]:
    pivots = scipy.linalg.qr(A, mode="r", pivoting=True)[1]
    L = A[:, np.sort(pivots[:n_latent])]
    S: Array = scipy.linalg.lstsq(L, A, cond=1e-10)[0]
    return _signed(L, S)


def _signed(L: Array, S: Array) -> tuple[Array, Array]:
    largest = S[np.arange(len(S)), np.abs(S).argmax(axis=1)]
    signs = np.where(largest < 0, -1.0, 1.0)
    return L * signs, S * signs[:, None]


def _varimax(S: Array) -> Array:
    """The rotation R, (k, k), that makes the variances of the squares in the rows of ``R' S`` largest in sum."""
    turn = np.eye(len(S))
    for _ in range(_MOST_TURNS):
        turned = turn.T @ S
        slope = S @ (turned**3 - turned * (turned**2).mean(axis=1, keepdims=True)).T
        left, _, right = np.linalg.svd(slope)
        last, turn = turn, left @ right
        if np.abs(turn - last).max() < 1e-10:
            break
    return turn


def solve_latent_basis(
    risk: SquaredRisk | LogisticRisk,
    starts: Sequence[tuple[Array, Array]],
    *,
    sparsity: float,
    ridge: float,
    tol: float = 1e-6,
    max_iterations: int = 1000,
) -> LatentBasis:
    """Minimise by turns: a few from every beginning, and the others from the best.

    Args:
        risk: of the data.
        starts: L (d, k) and S (k, T) to begin with.
        sparsity: strength of the absolute values of S, positive.
        ridge: strength of the squares of L, positive.
        tol: stop when a turn lowers the objective by at most this fraction of the risk at zero coefficients.
        max_iterations: turns at most.

    Returns:
        the last basis, with the codes that are best for it.

    Example:
        >>> X, weights = np.eye(3), np.full(3, 1 / 3)
        >>> data = TaskData((X,) * 2, (np.array([2.0, 1.0, 0.0]), np.array([4.0, 2.0, 0.0])), (weights,) * 2, False)
        >>> risk = SquaredRisk(data)
        >>> found = solve_latent_basis(risk, [(np.eye(3, 1), np.ones((1, 2)))], sparsity=1e-4, ridge=1e-4)
        >>> found.coefficients.round(2)
        array([[2., 4.],
               [1., 2.],
               [0., 0.]])
    """
    turns = _Turns(risk, sparsity, ridge, tol)
    begins = [turns.balanced(*start) for start in starts]
    if len(begins) == 1:
        return turns.descend(*begins[0], (), max_iterations)
    trial = replace(turns, tol=max(tol, _ROUGH))
    trials = [trial.descend(*begin, (), min(_TRIAL, max_iterations)) for begin in begins]
    best = min(trials, key=lambda found: found.objective)
    return turns.descend(best.basis, best.codes, best.objectives, max_iterations)


@dataclass(frozen=True, eq=False)
class _Turns:
    risk: SquaredRisk | LogisticRisk
    sparsity: float
    ridge: float
    tol: float

    @cached_property
    def scale(self) -> float:
        """The risk without coefficients."""
        return self.risk.at(np.zeros((self.risk.n_features, self.risk.n_tasks))).loss

    @property
    def _finest(self) -> float:
        """The relative gap that rounding allows."""
        return 1e-13 if isinstance(self.risk, SquaredRisk) else 1e-8

    def descend(self, L: Array, S: Array, objectives: tuple[float, ...], most: int) -> LatentBasis:
        """Turns until the last gains little or their number, with those before, is ``most``; then codes once more."""
        inner, converged = max(_INNER * self.tol, self._finest) * self.scale, False
        objectives = objectives or (self.objective(L, S),)
        while len(objectives) <= most and not converged:
            S, _ = self.codes(L, S, inner)
            L, S = self.balanced(self.basis(L, S), S)
            objectives += (self.objective(L, S),)
            converged = objectives[-2] - objectives[-1] <= self.tol * self.scale
        S, gap = self.codes(L, S, inner)
        return LatentBasis(L, S, self.objective(L, S), gap, objectives, converged)

    def objective(self, L: Array, S: Array) -> float:
        penalty = self.sparsity * float(np.abs(S).sum()) + self.ridge / 2 * float(np.vdot(L, L))
        return self.risk.at(L @ S).loss + penalty

    def balanced(self, L: Array, S: Array) -> tuple[Array, Array]:
        """The scale of each latent task with the smallest penalty: ``c^3 = sparsity ||s||_1 / (ridge ||l||^2)``."""
        sizes, squares = np.abs(S).sum(axis=1), np.einsum("dk,dk->k", L, L)
        alive = (sizes > 0) & (squares > 0)
        ratios = np.divide(self.sparsity * sizes, self.ridge * squares, out=np.zeros(len(sizes)), where=alive)
        scales = np.where(alive, np.cbrt(ratios), 1.0)
        return np.where(sizes > 0, L * scales, L), S / scales[:, None]

    # -- the codes ---------------------------------------------------------------------------------------------------

    def codes(self, L: Array, S: Array, target: float) -> tuple[Array, float]:
        """The best S for L, and its gap; S itself where rounding leaves nothing better."""
        data, penalty = _projected(self.risk.data, L), EntryNorm(self.sparsity)
        if isinstance(self.risk, SquaredRisk):
            problem = SquaredRisk(data).least_squares
            assert isinstance(problem, LeastSquaresOfData)
            reached = solve_by_splitting(problem.whole, penalty, start=(S,), target=target, max_iterations=_MOST_STEPS)
            found, gap = reached.parts[0], reached.gap
        else:
            risk = LogisticRisk(data)
            begin = Solution((S,), np.zeros(len(data.targets)), 0.0, 0.0, 0, False)
            relative = target / risk.at(np.zeros_like(S)).loss
            solution = solve(risk, penalty, tol=relative, max_iterations=_MOST_STEPS, start=begin)
            found, gap = solution.coefficients, solution.gap
        return (found, gap) if self.objective(L, found) <= self.objective(L, S) else (S, gap)

    # -- the basis ---------------------------------------------------------------------------------------------------

    def basis(self, L: Array, S: Array) -> Array:
        """The best L for S, or, with the logistic loss, a better one."""
        if isinstance(self.risk, SquaredRisk):
            return self._squared.solve(L, S, self.ridge)
        point = self.risk.at(L @ S)
        assert isinstance(point, LogisticPoint)
        goal = _System(Centred.of(expanded(self.risk, point))).solve(L, S, self.ridge)
        last, length = self.objective(L, S), 1.0
        while length >= _SHORTEST:
            candidate = L + length * (goal - L)
            if self.objective(candidate, S) < last:
                return candidate
            length /= 2
        return L

    @cached_property
    def _squared(self) -> _System:
        rows = Centred.of(self.risk.data)
        n_grams = 1 if rows.has_one_gram else rows.data.n_tasks
        return _System(rows.with_grams() if n_grams * rows.data.n_features**2 <= _MOST_NUMBERS else rows)


class _System:
    """``sum_t H_t L s_t s_t' + ridge L = sum_t r_t s_t'`` by conjugate gradients.

    The system with the mean Gram matrix for all tasks prepares the directions: it is exact where they share rows.
    """

    def __init__(self, rows: Centred) -> None:
        """One eigendecomposition; for many features the diagonal alone."""
        self.rows = rows
        self.left: Array | None = None
        if rows.data.n_features <= _LARGEST_BASIS:
            mean = rows.grams.mean(axis=0) if "grams" in rows.__dict__ else rows.mean_gram()
            self.levels, self.left = np.linalg.eigh(mean)
        else:
            self.levels = rows.gram_diagonal()

    def solve(self, L: Array, S: Array, ridge: float) -> Array:
        """L, from a first guess."""
        weights, right = np.linalg.eigh(S @ S.T)
        divisors = np.maximum(self.levels, 0.0)[:, None] * np.maximum(weights, 0.0) + ridge

        def image_of(Z: Array) -> Array:
            image: Array = self.rows.gram_times(Z @ S) @ S.T + ridge * Z
            return image

        def prepared(R: Array) -> Array:
            if self.left is None:
                scaled: Array = ((R @ right) / divisors) @ right.T
                return scaled
            turned: Array = self.left @ ((self.left.T @ R @ right) / divisors) @ right.T
            return turned

        wanted = self.rows.right_hand_sides @ S.T
        enough = _RESIDUAL**2 * float(np.vdot(wanted, prepared(wanted)))
        L, residual = L.copy(), wanted - image_of(L)
        direction = prepared(residual)
        size = float(np.vdot(residual, direction))
        for _ in range(_MOST_STEPS):
            if size <= enough:
                break
            image = image_of(direction)
            step = size / float(np.vdot(direction, image))
            L += step * direction
            residual -= step * image
            following = prepared(residual)
            last, size = size, float(np.vdot(residual, following))
            direction = following + (size / last) * direction
        return L


def _projected(data: TaskData, L: Array) -> TaskData:
    """The same samples with ``X_t L`` for features; one design where all tasks share one."""
    if data.is_shared:
        designs = (_times(data.designs[0], L),) * data.n_tasks
    else:
        designs = tuple(_times(design, L) for design in data.designs)
    return TaskData(designs, data.targets, data.weights, data.fit_intercept)


def _times(design: object, L: Array) -> Array:
    product = design @ L  # type: ignore[operator]
    return np.asarray(product.toarray() if issparse(product) else product)
