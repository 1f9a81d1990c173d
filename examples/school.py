"""
Marks of 139 schools
====================

Each of 139 London schools is a task: predict the marks of its pupils from what is known about them. A school has 22 to
251 pupils, and many columns are constant within a school, so that a model of its own is poorly determined. The data are
read from the folder that the environment variable ``TASKLOOM_DATA`` names; without it the script generates schools like
them, and says so.
"""

import os
from pathlib import Path

import numpy as np
from scipy.io import loadmat
from sklearn.base import BaseEstimator

from taskloom.linear import DirtyModelCV, HierarchicalBayes, MeanRegularizedCV, MultiTaskGroupLassoCV, TraceNormCV
from taskloom.task_column import TaskStandardScaler, stack_tasks

# %%
# ``stack_tasks`` makes one table of them, with a column in front that says which school a row belongs to. Such a table
# goes through everything in scikit-learn.


def generated(n_schools: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Schools whose pupils' marks depend on the same things in much the same way."""
    random = np.random.default_rng(0)
    common = random.normal(size=20) * (random.random(20) < 0.5)
    tables, marks = [], []
    for size in random.integers(22, 120, n_schools):
        pupils = (random.random((size, 20)) < 0.3).astype(float)
        own = common + 0.3 * random.normal(size=20)
        tables.append(pupils)
        marks.append(20 + 3 * random.normal() + 4 * pupils @ own + 8 * random.normal(size=size))
    return stack_tasks(tables, marks)


def school() -> tuple[np.ndarray, np.ndarray]:
    """Rows of all schools, and their marks."""
    folder = os.environ.get("TASKLOOM_DATA")
    file = Path(folder) / "school" / "school.mat" if folder else None
    if file is None or not file.exists():
        print("no data: TASKLOOM_DATA names no folder with school/school.mat; the schools are generated")
        return generated()
    stored = loadmat(file, mat_dtype=True)  # without it the numbers are bytes, and their sums overflow
    tables = [table[:, :27] for table in stored["X"].ravel()]  # the last column is constant
    return stack_tasks(tables, [marks.ravel() for marks in stored["Y"].ravel()])


x, y = school()
print(f"{len(np.unique(x[:, 0]))} schools, {len(y)} pupils")

# %%
# Thirty per cent of each school's pupils are for training, the rest for testing. The columns are scaled by the training
# rows; the column of schools stays as it is.

random = np.random.default_rng(30_000)
is_training = np.zeros(len(y), dtype=bool)
for task in np.unique(x[:, 0]):
    rows = np.flatnonzero(x[:, 0] == task)
    is_training[random.permutation(rows)[: int(np.ceil(0.3 * len(rows)))]] = True
scaler = TaskStandardScaler(task_feature=0).fit(x[is_training])
train, test = scaler.transform(x[is_training]), scaler.transform(x[~is_training])


def explained(model: BaseEstimator) -> float:
    """Share of the variance of the test marks of all schools that is explained."""
    return float(model.fit(train, y[is_training]).score(test, y[~is_training]))


# %%
# Strengths are chosen within the training rows: by leaving out every row, which has a closed form, or along paths in
# three folds with pupils of every school. Hierarchical Bayes has none to choose. A coupling of 1 is ridge regression
# for each school by itself, a very large one is one model with a level for each school.

folds = {"task_feature": 0, "n_alphas": 12, "eps": 0.01, "cv": 3, "tol": 1e-4}
scores = {
    "each school alone": explained(MeanRegularizedCV(couplings=(1.0,), task_feature=0)),
    "one model, own levels": explained(MeanRegularizedCV(couplings=(1e6,), task_feature=0)),
    "l1/l2": explained(MultiTaskGroupLassoCV(**folds)),
    "dirty model": explained(DirtyModelCV(**folds)),
    "trace norm": explained(TraceNormCV(**folds)),
    "held to the mean": explained(MeanRegularizedCV(task_feature=0)),
    "hierarchical Bayes": explained(HierarchicalBayes(task_feature=0)),
}
for name, score in scores.items():
    print(f"{name:22} {100 * score:5.1f} % explained")

# %%
# Schools that are learned together are predicted far better than each alone. Most of it is that they are variations of
# one theme: a common model with a level for each school is hard to beat, and those that start from a mean do best.
