"""Oracle runs: kernel machines, Gaussian processes, hierarchical Bayes, reweighted samples.

Their entries name no data: regressions are on ``data/ragged``, classifications on ``data/clf``, the process whose tasks
share their rows on ``data/shared``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.gaussian_process.kernels import RBF
from sklearn.linear_model import LogisticRegression, Ridge

from taskloom.gp import ICMGaussianProcess
from taskloom.instance import TaskReweighting
from taskloom.kernel import MultiTaskKernelRidge, MultiTaskSVC, MultiTaskSVR
from taskloom.linear import HierarchicalBayes, TaskPrior
from taskloom.testing._oracles_base import Unsupported
from taskloom.testing._oracles_classical_base import Array, Case, Method

__all__ = ["METHODS"]


def _table(case: Case, data: str = "ragged") -> tuple[Array, Array]:
    """X with the task column first, and y."""
    if f"data/{data}/task" not in case.arrays:
        raise Unsupported(f"no data/{data} in the file")
    X, y = case.arrays[f"data/{data}/X"], case.arrays[f"data/{data}/y"]
    return np.column_stack([case.arrays[f"data/{data}/task"], X]), y


def _given(case: Case, *names: str) -> list[Array]:
    """Arrays of the entry that are not results but what the results are for."""
    missing = [name for name in names if name not in case.expected]
    if missing:
        raise Unsupported(f"no arrays {missing}")
    return [case.expected[name] for name in names]


# -- kernel machines ----------------------------------------------------------------------------------------------


def _kernel_ridge(case: Case) -> dict[str, Any]:
    X, y = _table(case)
    kernel = case.params.get("kernel", "linear")
    model = MultiTaskKernelRidge(
        case.parameter("alpha"),
        kernel=kernel,
        coupling=case.parameter("coupling"),
        gamma=case.params.get("gamma"),
        fit_intercept=bool(case.params.get("fit_intercept", False)),
        loss_weights=case.params.get("loss_weights", "sample"),
        task_feature=0,
    ).fit(X, y)
    found = {"obj": model.objective_, "dual": model.dual_coef_, "pred": model.predict(X), "B": model.task_covariance_}
    return {**found, "A": model.coef_.T} if kernel == "linear" else found


def _machine(case: Case, model: MultiTaskSVR | MultiTaskSVC, data: str) -> tuple[dict[str, Any], Array]:
    """The dual value, coefficients of all samples, the intercept; and X."""
    X, y = _table(case, data)
    model.set_params(mu=case.parameter("mu"), kernel=case.parameter("kernel"), task_feature=0)
    if "gamma" in case.params:
        model.set_params(gamma=case.params["gamma"])
    model.fit(X, y)
    dual = np.zeros(len(y))
    dual[model.support_] = model.dual_coef_
    value = model.objective_ - model.dual_gap_
    return {"obj": value, "dual_coef": dual, "intercept": np.array([model.intercept_])}, X


def _svr(case: Case) -> dict[str, Any]:
    model = MultiTaskSVR(case.parameter("C"), epsilon=case.parameter("epsilon"), tol=1e-10)
    found, X = _machine(case, model, "ragged")
    return {**found, "pred": model.predict(X)}


def _svc(case: Case) -> dict[str, Any]:
    model = MultiTaskSVC(case.parameter("C"), tol=1e-10)
    found, X = _machine(case, model, "clf")
    return {**found, "decision": model.decision_function(X)}


# -- Gaussian processes -------------------------------------------------------------------------------------------


def _icm_ragged(case: Case) -> dict[str, Any]:
    X, y = _table(case)
    factors, variances, noise, X_test, task_test = _given(case, "W", "kappa", "noise", "X_test", "task_test")
    model = ICMGaussianProcess(
        factors.shape[1],
        kernel=RBF(case.parameter("lengthscale")),
        task_factors=factors,
        task_variances=variances,
        noise=noise,
        normalize_y=False,
        optimise=False,
        task_feature=0,
    ).fit(X, y)
    asked = np.column_stack([task_test, X_test])
    mean, deviation = model.predict(asked, return_std=True, include_noise=False)
    return {"obj": model.log_marginal_likelihood_, "mean": mean, "var": deviation**2}


def _icm_shared(case: Case) -> dict[str, Any]:
    if "data/shared/Y" not in case.arrays:
        raise Unsupported("no data/shared in the file")
    (covariance,) = _given(case, "B")
    values, vectors = np.linalg.eigh(covariance)
    X, Y = case.arrays["data/shared/X"], case.arrays["data/shared/Y"]
    model = ICMGaussianProcess(
        len(covariance),
        kernel=RBF(case.parameter("lengthscale")),
        task_factors=vectors * np.sqrt(np.maximum(values, 0.0)),
        task_variances=0.0,
        noise=case.parameter("noise"),
        normalize_y=False,
        optimise=False,
    ).fit(X, Y)
    return {"obj": model.log_marginal_likelihood_, "post_mean": model.predict(X)}


# -- hierarchical Bayes, reweighting ------------------------------------------------------------------------------


def _em(case: Case) -> dict[str, Any]:
    if case.parameter("S0") != "I" or case.params.get("init", "m=0,Sigma=I,sigma2=1") != "m=0,Sigma=I,sigma2=1":
        raise Unsupported(f"S0={case.params['S0']!r}, init={case.params.get('init')!r}")
    X, y = _table(case)
    size = X.shape[1] - 1
    model = HierarchicalBayes(
        start=TaskPrior(np.zeros(size), np.eye(size), 1.0),
        prior_degrees=case.parameter("nu0"),
        prior_scale=1.0,
        fit_intercept=False,
        optimise=False,
        task_feature=0,
    ).fit(X, y)
    first = {
        "post_mean_iter0": model.coef_.T,
        "post_cov_iter0": np.array([model.posterior_covariance(task) for task in model.tasks_]),
    }
    model.set_params(optimise=True, max_iter=1)
    before = []
    for _ in range(case.parameter("iters")):  # one step at a time, so that none is left out when all is still
        model.fit(X, y)
        before.append([model.log_evidence_path_[0], model.evidence_path_[0]])
        model.set_params(start=model.prior_)
    prior = model.prior_
    last = {"m": prior.mean, "Sigma": prior.covariance, "sigma2": prior.noise_variance, "post_mean": model.coef_.T}
    return {**first, **last, "trace": np.array(before), "obj": before[-1][1]}


def _dist_match(case: Case) -> dict[str, Any]:
    X, y = _table(case)
    n, alpha = len(y), case.parameter("alpha")
    model = TaskReweighting(
        Ridge(alpha=n * alpha, fit_intercept=False, solver="cholesky"),
        task_classifier=LogisticRegression(C=case.parameter("C"), max_iter=10_000, tol=1e-10),
        n_folds=None,
        r_max=np.inf,
        task_feature=0,
    ).fit(X, y)
    A = np.column_stack([learner.coef_ for learner in model.estimators_])
    misses = y[:, None] - X[:, 1:] @ A
    value = 0.5 * float((model.weights_ * misses**2).sum()) / n + 0.5 * alpha * float((A**2).sum())
    return {"obj": value, "r": model.weights_, "A": A, "ess": model.effective_sample_size_}


# Coefficients of support vectors are less determined than decision values: libsvm stops at a tolerance.
_MACHINE = {"dual_coef": 1e-4, "intercept": 1e-4, "pred": 1e-5, "decision": 1e-5}

METHODS = {
    "kernel/krr_mean_rbf": Method(_kernel_ridge),
    "kernel/krr_mean_linear": Method(_kernel_ridge),
    "kernel/svr_ep": Method(_svr, _MACHINE),
    "kernel/svc_ep": Method(_svc, _MACHINE),
    "gp/icm_ragged": Method(_icm_ragged),
    "gp/icm_shared": Method(_icm_shared),
    "bayes/em": Method(_em),
    "instance/dist_match": Method(_dist_match),
}
