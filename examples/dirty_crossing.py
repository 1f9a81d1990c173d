"""
When tasks share only some of their features
============================================

Two tasks, each with a few features that matter out of many. How many of these features are common to both? Penalties
on whole rows of the coefficients gain when most are, and lose when few are: a feature of one task then costs as much as
one of both. The dirty model has a part for rows and a part for single coefficients, and is to do well at both ends
(Jalali, Ravikumar, Sanghavi and Ruan, NIPS 2010).
"""

import matplotlib.pyplot as plt
import numpy as np

from taskloom.regularised import EntryNorm, PartSum, RowNorm, SquaredRisk, TaskData, largest_alpha, path

N_FEATURES, N_ACTIVE, NOISE = 128, 13, 0.1
N_ROWS = 60  # a few more than the lasso needs for thirteen features out of 128
random = np.random.default_rng(0)

# %%
# Both tasks have thirteen active features with coefficients 1 or -1. The first ``overlap`` of them are common. Each
# task has rows of its own.


def problem(overlap: int) -> tuple[TaskData, np.ndarray]:
    """Data of two tasks, and the true coefficients (d, 2)."""
    truth = np.zeros((N_FEATURES, 2))
    truth[:N_ACTIVE, 0] = random.choice([-1.0, 1.0], N_ACTIVE)
    first = N_ACTIVE - overlap
    truth[first : first + N_ACTIVE, 1] = random.choice([-1.0, 1.0], N_ACTIVE)
    designs = tuple(random.normal(size=(N_ROWS, N_FEATURES)) for _ in range(2))
    targets = tuple(
        design @ column + NOISE * random.normal(size=N_ROWS) for design, column in zip(designs, truth.T, strict=True)
    )
    weights = (np.full(N_ROWS, 1 / N_ROWS),) * 2
    return TaskData(designs, targets, weights, fit_intercept=False), truth


# %%
# Four penalties. The dirty model is a sum of two parts; with two tasks the strength of the rows is to lie between once
# and twice that of the single coefficients, where it is the model with one of its parts empty.

lasso = EntryNorm(1.0)
penalties = {
    "lasso": [lasso],
    "l1/l2": [RowNorm(1.0, 2.0)],
    "l1/linf": [RowNorm(1.0, np.inf)],
    "dirty": [PartSum((RowNorm(ratio, np.inf), lasso)) for ratio in (1.25, 1.6)],
}


def scaled(penalty, factor: float):
    """The same penalty, stronger or weaker."""
    if isinstance(penalty, EntryNorm):
        return EntryNorm(factor * penalty.alpha)
    if isinstance(penalty, RowNorm):
        return RowNorm(factor * penalty.alpha, penalty.q)
    return PartSum(tuple(scaled(one, factor) for one in penalty.penalties))


def error(data: TaskData, truth: np.ndarray, choices: list) -> float:
    """Distance to the true coefficients, relative to their length, at the best strength of the path."""
    risk = SquaredRisk(data)
    best = np.inf
    for penalty in choices:
        strengths = largest_alpha(risk, penalty) * np.geomspace(0.1, 0.005, 5)
        for solution in path(risk, [scaled(penalty, strength) for strength in strengths], tol=1e-4):
            best = min(best, float(np.linalg.norm(solution.coefficients - truth) / np.linalg.norm(truth)))
    return best


# %%
# Every penalty gets its best strength, so that the penalties are compared and not the ways of choosing.

overlaps = [0, 3, 5, 7, 9, 11, 13]
errors = {name: np.zeros(len(overlaps)) for name in penalties}
n_trials = 4
for place, overlap in enumerate(overlaps):
    for _ in range(n_trials):
        data, truth = problem(overlap)
        for name, choices in penalties.items():
            errors[name][place] += error(data, truth, choices) / n_trials
fractions = np.array(overlaps) / N_ACTIVE

print("common   " + "".join(f"{name:>9}" for name in penalties))
for place, fraction in enumerate(fractions):
    print(f"{fraction:6.2f}   " + "".join(f"{errors[name][place]:9.3f}" for name in penalties))

# %%
# With few common features l1/linf is worse than the lasso, which treats the tasks as if they had nothing to do with
# each other; with many it is better. The lines cross near two thirds, as theory says for two tasks (Negahban and
# Wainwright 2008). The dirty model is near the better of the two at both ends, and better than both in between.

figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
for (name, values), marker in zip(errors.items(), "os^D", strict=True):
    axes.plot(fractions, values, marker=marker, label=name)
axes.axvline(2 / 3, color="0.7", linestyle=":", zorder=0)
axes.set(xlabel="fraction of the features that both tasks use", ylabel="relative error of the coefficients")
axes.legend()
