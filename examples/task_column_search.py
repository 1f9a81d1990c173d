"""
Search over penalties with a task column
========================================

Forty schools, five to thirty pupils each, and a mark for every pupil. Each school is a task. The rows of all schools
stand in one table, and one column says which school a row belongs to: that is all that scikit-learn's pipelines,
splitters, searches and scorers need to work on tasks.
"""

import numpy as np
import pandas as pd
from sklearn.metrics import mean_squared_error, r2_score, root_mean_squared_error
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline

from taskloom.linear import MeanRegularized, MeanRegularizedCV
from taskloom.task_column import TaskStandardScaler, TaskStratifiedKFold, make_task_scorer, task_scores

# %%
# In all schools marks depend on the same things in much the same way; each school deviates a little, and has a level of
# its own.

random = np.random.default_rng(0)
sizes = random.integers(5, 31, size=40)
school = np.repeat([f"school {number:02d}" for number in range(40)], sizes)
number = np.repeat(np.arange(40), sizes)
pupils = pd.DataFrame(
    {
        "school": school,
        "earlier_mark": random.normal(60, 15, len(school)),
        "hours": random.gamma(4, 2, len(school)),
        "age": random.normal(15, 0.5, len(school)),
    }
)
effect = np.array([0.5, 1.5, -3.0]) * (1 + 0.5 * random.normal(size=(40, 3)))
level = random.normal(0, 5, size=40)
features = pupils[["earlier_mark", "hours", "age"]].to_numpy()
marks = np.einsum("nd,nd->n", features, effect[number]) + level[number] + random.normal(0, 5, len(school))

# %%
# The split is by school, so that every school is in both parts. ``TaskStandardScaler`` scales the features and leaves
# the column of schools as it is. (scikit-learn's ``StandardScaler`` would scale a column of numbers too; the estimators
# notice and say so.)

train, test, marks_train, marks_test = train_test_split(pupils, marks, test_size=0.4, stratify=school, random_state=0)
model = make_pipeline(TaskStandardScaler("school"), MeanRegularized(task_feature="school"))

# %%
# The search tries both strengths. Folds are stratified by school: a plain split could leave a small school out of a
# training part. The score is the mean over schools of their errors, so that small schools count as much as large ones.

search = GridSearchCV(
    model,
    {"meanregularized__alpha": np.logspace(-3, 0, 4), "meanregularized__coupling": [1, 10, 100, 1000]},
    cv=TaskStratifiedKFold(3, task_feature="school", shuffle=True, random_state=0),
    scoring=make_task_scorer(mean_squared_error, task_feature="school", greater_is_better=False),
)
search.fit(train, marks_train)
print("chosen by search:", search.best_params_)

# %%
# The same choice without a search: the leave-one-out errors of this model follow from one fit.

quick = make_pipeline(TaskStandardScaler("school"), MeanRegularizedCV(task_feature="school", average="macro"))
quick.fit(train, marks_train)
print("chosen by leave-one-out:", {"alpha": float(quick[-1].alpha_), "coupling": quick[-1].coupling_})

# %%
# Beside it the two extremes, with their ``alpha`` chosen in the same way: every school by itself, and the same slopes
# for all schools, each with its own level.

candidates = {"search": search, "leave-one-out": quick}
for name, coupling in {"each alone": 1.0, "same slopes": 1e6}.items():
    last = MeanRegularizedCV(couplings=[coupling], task_feature="school", average="macro")
    candidates[name] = make_pipeline(TaskStandardScaler("school"), last).fit(train, marks_train)
for name, candidate in candidates.items():
    print(f"{name:15} explained variance of new pupils: {r2_score(marks_test, candidate.predict(test)):.3f}")

# %%
# Scores by school show where a model is of no use.

errors = task_scores(search, test, y=marks_test, metric=root_mean_squared_error, task_feature="school")
worst = max(errors, key=errors.get)
print(f"root mean squared error: {np.mean(list(errors.values())):.1f} on average, {errors[worst]:.1f} in {worst}")
