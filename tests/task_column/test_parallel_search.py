"""Grid searches give the same scores wherever joblib sends them: this process, processes, a Dask cluster."""

import os
from contextlib import ExitStack

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.model_selection import GridSearchCV

from taskloom.linear import MultiTaskGroupLasso
from taskloom.task_column import TaskStratifiedKFold, stack_tasks


def searched() -> np.ndarray:
    random = np.random.default_rng(0)
    designs = [random.normal(size=(n, 5)) for n in (20, 14, 17)]
    X, y = stack_tasks(designs, [X[:, 0] + 0.1 * random.normal(size=len(X)) for X in designs])
    grid = {"alpha": [0.01, 0.1, 1.0]}
    folds = TaskStratifiedKFold(3, task_feature=0)
    search = GridSearchCV(MultiTaskGroupLasso(task_feature=0), grid, cv=folds, error_score="raise").fit(X, y)
    scores: np.ndarray = search.cv_results_["mean_test_score"]
    return scores


@pytest.mark.parametrize("backend", ["loky", "dask"])
def test_a_search_scales_over_processes(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = searched()
    with ExitStack() as stack:
        if backend == "dask":
            distributed = pytest.importorskip("distributed", reason="Dask is not installed (pip install distributed)")
            monkeypatch.setitem(os.environ, "PYTHONWARNINGS", "ignore")
            cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
            stack.enter_context(distributed.Client(stack.enter_context(cluster)))
        stack.enter_context(parallel_config(backend, n_jobs=2))
        np.testing.assert_array_equal(searched(), alone)
