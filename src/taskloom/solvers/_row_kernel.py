"""The compiled loops of :mod:`taskloom.solvers.row_descent`, all in one file so that they may call each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from taskloom.solvers._compiled import compiled, compiled_in_any_order

__all__ = ["BLOCK", "descend"]

Array = NDArray[np.float64]
Places = NDArray[np.int64]
Flags = NDArray[np.bool_]

_MEMORY = 5  # passes between two extrapolations
BLOCK = 8  # rows whose changes are carried on together where one design serves all tasks
_MOST_STEPS, _MOST_LEVELS, _MOST_JUMPS = 10, 100, 30  # proximal steps and Newton steps on one row; jumps ahead


@compiled_in_any_order
def _norm(v: Array, q: float) -> float:
    """The l_q norm."""
    total, largest = 0.0, 0.0
    if q == 2.0:
        for value in v:
            total += value * value
        return float(np.sqrt(total))
    for value in v:
        total += abs(value)
        largest = max(largest, abs(value))
    if q == 1.0 or q == np.inf or largest == 0.0:
        return total if q == 1.0 else largest
    total = 0.0
    for value in v:
        total += (abs(value) / largest) ** q
    return float(largest * total ** (1 / q))


@compiled
def _dual_norm(v: Array, q: float) -> float:
    """The norm that is polar to l_q."""
    return _norm(v, np.inf if q == 1.0 else 1.0 if q == np.inf else q / (q - 1))


@compiled
def _shrink(v: Array, x: Array, tau: float, q: float) -> None:
    """``x = prox of tau ||.||_q at v``, q neither 2 nor infinite."""
    if tau == 0.0:
        x[:] = v
    elif q == 1.0:
        for t in range(len(v)):
            x[t] = v[t] - min(max(v[t], -tau), tau)
    elif _dual_norm(v, q) <= tau:
        x[:] = 0.0
    else:
        _shrink_power(v, x, tau, q)


@compiled
def _shrink_power(v: Array, x: Array, tau: float, q: float) -> None:
    """The same for 1 < q < inf by two nested Newton iterations; derived in taskloom.solvers.prox.powers."""
    largest = _norm(v, np.inf)
    tau = tau / largest
    low, high = 0.0, _norm(v, q) / largest
    nu = max(high - tau, high / 2)
    is_flat = q < 2.0
    exponent = 1 / (q - 1) if is_flat else q - 1
    reachable = 4e-15 * max(1.0, 1 / (q - 1))
    for _ in range(100):
        linear, other = (tau, nu) if is_flat else (nu, tau)
        total, falling = 0.0, 0.0
        for t in range(len(v)):
            size = abs(v[t]) / largest
            root = min(size / linear, (size / other) ** (1 / exponent))
            for _ in range(100):
                power = root ** (exponent - 1)
                step = (linear * root + other * root * power - size) / (linear + other * exponent * power)
                root = max(root - step, 0.0)
                if step <= 4e-15 * root:
                    break
            y = root**exponent if is_flat else root
            x[t] = y
            if y > 0:
                total += y**q
                falling += y**q / (nu + tau * (q - 1) * y ** (q - 2))
        excess = total ** (1 / q) - 1
        low, high = (nu, high) if excess > 0 else (low, nu)
        following = nu + excess * total / (falling * (excess + 1))
        if not low < following < high:
            following = (low + high) / 2
        if abs(excess) <= reachable or abs(following - nu) <= 4e-15 * nu:
            break
        nu = following
    for t in range(len(v)):
        x[t] = np.copysign(x[t] * nu * largest, v[t])


@compiled_in_any_order
def _level(b: Array, curvatures: Array, j: int, strength: float, q: float, edge: float, near: float) -> float:
    """``||p||_q`` at the minimum over ``a^j = p + r``, q = 2 or inf; see row_descent. Safeguarded Newton steps."""
    low, high, level, most = 0.0, np.inf, near, edge / strength
    for _ in range(_MOST_LEVELS):
        total, rate = 0.0, 0.0  # of what falls with the level, to 1 or to the strength, and how fast
        if q == 2.0:
            for t in range(len(b)):
                inverse = 1 / (curvatures[j, t] * level + strength)
                share = min(abs(b[t]) * inverse, most)
                total += share * share
                rate += share * share * curvatures[j, t] * inverse if share < most else 0.0
        else:
            for t in range(len(b)):
                share = min(max(abs(b[t]) - curvatures[j, t] * level, 0.0), edge)
                total += share
                rate += curvatures[j, t] if 0.0 < share < edge else 0.0
        excess = total * (np.sqrt(total) - 1) if q == 2.0 else total - strength
        if level == 0.0 and excess <= 0.0:
            break
        low, high = (level, high) if excess > 0.0 else (low, level)
        following = max(level + excess / rate, low) if rate > 0.0 else high
        if not following < high:
            following = (low + high) / 2 if high < np.inf else 2 * level + strength
        step, level = following - level, following
        if abs(step) <= 1e-8 * level:
            break
    return level


@compiled
def _move_row(
    parts: Array, j: int, g: Array, curvatures: Array, largest: float, is_even: bool, strength: float, q: float,
    entry: float, delta: Array, v: Array, x: Array,
) -> bool:  # fmt: skip
    """Minimise over row j; its gradients g follow. ``delta`` is by how much the sum of its parts has changed."""
    n_parts, _, n_tasks = parts.shape
    if largest <= 0.0:  # nothing but the penalty knows this row
        parts[:, j] = 0.0
        return False
    if n_parts == 1 and q == 2.0:  # the commonest case, and with one curvature in its closed form
        for t in range(n_tasks):
            v[t] = g[t] + curvatures[j, t] * parts[0, j, t]
        size, length, n_changed = _norm(v, 2.0), 0.0, 0
        factor = (1 - strength / size) / largest if size > strength else 0.0
        if not is_even and factor > 0.0:
            near = max(factor * size, _norm(parts[0, j], 2.0))
            length = _level(v, curvatures, j, strength, q, np.inf, near) if strength > 0.0 else 1.0
        for t in range(n_tasks):
            below = curvatures[j, t] * length + strength
            value = v[t] * length / below if length > 0.0 and below > 0.0 else factor * v[t]
            delta[t], parts[0, j, t] = value - parts[0, j, t], value
            n_changed += delta[t] != 0.0
        return n_changed > 0
    first, side, delta[:] = 0.0, entry / largest, 0.0
    if (q == 2.0 or q == np.inf) and strength > 0.0:
        return _move_parts(parts, j, g, curvatures, strength, q, entry, delta, v)
    for step in range(_MOST_STEPS):
        moved = 0.0
        for t in range(n_tasks):
            v[t] = parts[0, j, t] + g[t] / largest
        _shrink(v, x, strength / largest, q)
        for t in range(n_tasks):
            change = x[t] - parts[0, j, t]
            parts[0, j, t] = x[t]
            if n_parts == 2:
                rest = v[t] - x[t] + parts[1, j, t]
                rest -= min(max(rest, -side), side)
                change, parts[1, j, t] = change + rest - parts[1, j, t], rest
            if change != 0.0:
                delta[t] += change
                g[t] -= curvatures[j, t] * change
                moved = max(moved, abs(change))
        first = moved if step == 0 else first
        if (is_even and n_parts == 1) or moved <= 0.1 * first:
            break
    return first > 0.0


@compiled
def _move_parts(
    parts: Array, j: int, g: Array, curvatures: Array, strength: float, q: float, entry: float, delta: Array, v: Array
) -> bool:
    """The same exactly, and for all parts at once."""
    n_parts, _, n_tasks = parts.shape
    edge, has_moved = entry if n_parts == 2 else np.inf, False
    for t in range(n_tasks):
        v[t] = g[t] + curvatures[j, t] * (parts[0, j, t] + (parts[1, j, t] if n_parts == 2 else 0.0))
    level = _level(v, curvatures, j, strength, q, edge, _norm(parts[0, j], q))
    for t in range(n_tasks):
        size, curvature, value, rest = abs(v[t]), curvatures[j, t], 0.0, 0.0
        if level > 0.0 and q == 2.0:
            value = level * min(size / (curvature * level + strength), edge / strength)
        elif level > 0.0 and curvature > 0.0:
            value = min(size / curvature, level)
        if n_parts == 2 and curvature > 0.0:
            rest = np.copysign(max(size - curvature * value - entry, 0.0) / curvature, v[t])
            delta[t], parts[1, j, t] = rest - parts[1, j, t], rest
        value = np.copysign(value, v[t])
        delta[t], parts[0, j, t] = delta[t] + value - parts[0, j, t], value
        has_moved = has_moved or delta[t] != 0.0
    return has_moved


@compiled_in_any_order
def _product(row: Array, state: Array, start: int, end: int) -> float:
    column, residuals = row[start:end], state[start:end]
    total = 0.0
    for i in range(len(column)):
        total += column[i] * residuals[i]
    return total


@compiled
def _subtract(factor: float, row: Array, target: Array) -> None:
    for i in range(len(target)):
        target[i] -= factor * row[i]


@compiled
def _flush(matrix: Array, waiting: Places, changes: Array, n_waiting: int, state: Array) -> None:
    """Carry the changes of some rows on, to the gradients by rows of a Gram matrix or to the residuals by columns."""
    if n_waiting == 0:
        return
    waiting[n_waiting:], changes[n_waiting:] = waiting[0], 0.0
    a, b, c, d = matrix[waiting[0]], matrix[waiting[1]], matrix[waiting[2]], matrix[waiting[3]]
    e, f, g, h = matrix[waiting[4]], matrix[waiting[5]], matrix[waiting[6]], matrix[waiting[7]]
    for t in range(len(state)):
        row = state[t]  # "for row in state" would not be known to lie in one piece: half the speed
        p0, p1, p2, p3 = changes[0, t], changes[1, t], changes[2, t], changes[3, t]
        p4, p5, p6, p7 = changes[4, t], changes[5, t], changes[6, t], changes[7, t]
        for k in range(len(row)):
            near = (p0 * a[k] + p1 * b[k]) + (p2 * c[k] + p3 * d[k])
            row[k] -= near + ((p4 * e[k] + p5 * f[k]) + (p6 * g[k] + p7 * h[k]))


@compiled
def _rest(parts: Array, state: Array, r: Array, square: float, ridge: float) -> float:
    """Sum of the squared residuals and, with residuals as state, of the ridge."""
    n_parts, m, n_tasks = parts.shape
    if len(r) == 0:
        flat = parts[0].reshape(-1)
        return float(np.dot(state, state) + ridge * np.dot(flat, flat))
    total = 0.0
    for part in range(n_parts):
        for t in range(n_tasks):
            for j in range(m):
                total += parts[part, j, t] * (r[t, j] + state[t * m + j])
    return max(square - total, 0.0)


@compiled
def _penalty(parts: Array, strengths: Array, powers: Array, entries: Array) -> float:
    total = 0.0
    for j in range(parts.shape[1]):
        total += strengths[j] * _norm(parts[0, j], powers[j])
        if len(parts) == 2:
            total += entries[j] * _norm(parts[1, j], 1.0)
    return total


@compiled
def _gap(
    parts: Array, gradients: Array, rest: float, ridge: float, strengths: Array, powers: Array, entries: Array, v: Array
) -> float:
    """Objective minus the dual value at the residuals, scaled as well as the polar balls of the rows allow."""
    n_parts, m, n_tasks = parts.shape
    fit, scale, extra = rest, 0.0, 0.0
    for j in range(m):
        for t in range(n_tasks):
            v[t] = gradients[t, j]
            for part in range(n_parts):
                fit += parts[part, j, t] * v[t]
            if strengths[j] == 0.0 and ridge > 0.0:  # in no ball: residuals of the ridge make up for the gradients
                extra += v[t] * (2 * parts[0, j, t] + v[t] / ridge)
        if strengths[j] > 0.0:
            scale = max(scale, _dual_norm(v, powers[j]) / strengths[j])
        if n_parts == 2:
            scale = max(scale, _norm(v, np.inf) / entries[j])
    most = np.inf if scale == 0.0 else 1 / scale
    best = min(max(fit / (rest + extra), 0.0), most) if rest + extra > 0.0 else min(1.0, most)
    objective = rest / 2 + _penalty(parts, strengths, powers, entries)
    return objective - best * (fit - best * (rest + extra) / 2)


@compiled
def _extrapolation(iterates: Array) -> Array:
    """Weights of the iterates, summing to 1, that make the change small: ``(U'U) w = 1`` for the changes U."""
    changes = iterates[1:] - iterates[:-1]
    system = np.dot(changes, changes.T)
    weights = np.zeros(len(iterates))
    trace = np.trace(system)
    if trace > 0.0:
        solved = np.linalg.solve(system + 1e-12 * trace * np.eye(len(system)), np.ones(len(system)))
        weights[1:] = solved / solved.sum()
    return weights


@compiled
def _combine(weights: Array, history: Array, target: Array) -> None:
    target[:] = 0.0
    for i in range(len(weights)):
        if weights[i] != 0.0:
            _subtract(-weights[i], history[i], target)


@compiled
def descend(
    parts: Array, state: Array, grams: Array, columns: Array, ends: Places, r: Array, square: float, ridge: float,
    curvatures: Array, largest: Array, is_even: Flags, strengths: Array, powers: Array, entries: Array, passes: int,
    target: float,
) -> tuple[int, float]:  # fmt: skip
    """Passes over the rows until the gap is at most the target. ``parts`` and ``state`` are changed."""
    m, n_tasks = parts.shape[1:]
    with_grams, is_shared = len(r) > 0, len(grams) == 1  # the Gram matrix, or that of every block of columns
    by_columns = is_shared and not with_grams
    gradients = state.reshape((n_tasks, m)) if with_grams else np.zeros((n_tasks, m))
    residuals = state.reshape((n_tasks, columns.shape[1])) if by_columns else np.zeros((1, 1))
    matrix, following = (grams[0], gradients) if is_shared and with_grams else (columns, residuals)
    g, delta, v, x = np.empty(n_tasks), np.empty(n_tasks), np.empty(n_tasks), np.empty(n_tasks)
    waiting, changes = np.zeros(BLOCK, dtype=np.int64), np.zeros((BLOCK, n_tasks))
    flat = parts.reshape(-1)
    iterates, states = np.empty((_MEMORY + 1, len(flat))), np.empty((_MEMORY + 1, len(state)))
    iterates[0], states[0] = flat, state
    gap, rest, made, kept = np.inf, 0.0, 0, 0
    best_rest, best_weights = 0.0, np.zeros(_MEMORY + 1)
    is_active = np.ones(m, dtype=np.bool_)
    while made < passes:
        n_waiting, begin, inner = 0, 0, np.zeros((n_tasks, BLOCK))
        for j in range(m):
            if by_columns and j % BLOCK == 0:  # all products of a block of columns at once
                _flush(matrix, waiting, changes, n_waiting, following)
                n_waiting, begin = 0, j
                if kept == 0 or np.any(is_active[j : j + BLOCK]):
                    inner = np.dot(residuals, columns[j : j + BLOCK].T)
            if kept > 0 and not is_active[j]:
                continue
            for t in range(n_tasks):
                if with_grams:
                    g[t] = gradients[t, j]
                    continue
                g[t] = inner[t, j - begin] if by_columns else _product(columns[j], state, ends[t], ends[t + 1])
                g[t] -= ridge * parts[0, j, t]
            for i in range(n_waiting):
                near = grams[0, j, waiting[i] - begin]
                for t in range(n_tasks):
                    g[t] -= near * changes[i, t]
            has_moved = _move_row(
                parts, j, g, curvatures, largest[j], is_even[j], strengths[j], powers[j], entries[j], delta, v, x
            )
            is_active[j] = has_moved or np.any(parts[:, j])
            if has_moved and is_shared:
                waiting[n_waiting], changes[n_waiting] = j, delta
                n_waiting += 1
                if n_waiting == BLOCK:
                    _flush(matrix, waiting, changes, n_waiting, following)
                    n_waiting = 0
            elif has_moved:
                for t in range(n_tasks):
                    if with_grams:
                        _subtract(delta[t], grams[t, j], gradients[t])
                    else:
                        _subtract(delta[t], columns[j, ends[t] : ends[t + 1]], state[ends[t] : ends[t + 1]])
        _flush(matrix, waiting, changes, n_waiting, following)
        made += 1
        kept += 1
        iterates[kept], states[kept] = flat, state
        if kept < _MEMORY:
            continue
        # what lies ahead: the extrapolation, then 1, 2, 4, ... times the whole way of the last passes
        best, ahead, weights = np.inf, np.inf, np.zeros(_MEMORY + 1)
        weights[_MEMORY] = 1.0
        for jump in range(_MOST_JUMPS):
            if jump == 1:
                weights = _extrapolation(iterates)
            elif jump > 1:
                weights[:] = 0.0
                weights[0] = -(2.0 ** (jump - 2))
                weights[_MEMORY] = 1.0 - weights[0]
            _combine(weights, iterates, flat)
            _combine(weights, states, state)
            rest = _rest(parts, state, r, square, ridge)
            objective = rest / 2 + _penalty(parts, strengths, powers, entries)
            if objective < best - 4e-16 * square:  # less is rounding, and would lead away again
                best, best_rest, best_weights = objective, rest, weights.copy()
            if jump > 1 and objective > ahead:
                break
            ahead = objective if jump > 1 else np.inf
        _combine(best_weights, iterates, flat)
        _combine(best_weights, states, state)
        iterates[0], states[0], kept, rest = flat, state, 0, best_rest
        if by_columns:
            gradients[:] = np.dot(residuals, columns.T)
        for t in range(0 if with_grams else n_tasks):
            for j in range(m):
                if not by_columns:
                    gradients[t, j] = _product(columns[j], state, ends[t], ends[t + 1])
                gradients[t, j] -= ridge * parts[0, j, t]
        gap = _gap(parts, gradients, rest, ridge, strengths, powers, entries, v)
        if gap <= target:
            break
    return made, gap
