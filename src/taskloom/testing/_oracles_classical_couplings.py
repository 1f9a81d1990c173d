"""Oracle runs: quadratic couplings of tasks with the squared and the logistic loss."""

from __future__ import annotations

from typing import Any

import numpy as np

from taskloom.linear import (
    ClusteredTasks,
    ClusteredTasksClassifier,
    GraphRegularized,
    GraphRegularizedClassifier,
    MeanRegularized,
    MeanRegularizedClassifier,
)
from taskloom.regularised import EntryNorm, SquaredRisk, TaskCoupling, TaskData, with_coupling
from taskloom.regularised.solve import solve
from taskloom.task_column import unstack_tasks
from taskloom.testing._oracles_classical_base import Case, Method, certified, fit_case, load_school

__all__ = ["METHODS"]


def _is_logistic(case: Case) -> bool:
    return case.params.get("loss") == "logistic"


def _mean_reg(case: Case) -> dict[str, Any]:
    alpha, coupling = case.parameter("alpha"), case.parameter("coupling")
    twin = MeanRegularizedClassifier if _is_logistic(case) else MeanRegularized
    fitted = fit_case(case, twin(alpha, coupling=coupling))
    precision = TaskCoupling.to_mean(fitted.n_tasks_, alpha=1.0, coupling=coupling).precision
    return {**certified(fitted), "Q": precision}


def _graph_path(case: Case) -> dict[str, Any]:
    alpha, coupling = case.parameter("alpha"), case.parameter("coupling")
    twin = GraphRegularizedClassifier if _is_logistic(case) else GraphRegularized
    fitted = fit_case(case, twin(alpha, graph="path", coupling=coupling))
    n_tasks = fitted.n_tasks_
    differences = np.diff(np.eye(n_tasks), axis=0)
    return {**certified(fitted), "Q": np.eye(n_tasks) + coupling * differences.T @ differences}


def _cluster_known(case: Case) -> dict[str, Any]:
    strengths = {name: case.parameter(name) for name in ("eps_mean", "eps_between", "eps_within")}
    scaled = {name: case.params.get("alpha", 1.0) * value for name, value in strengths.items()}
    twin = ClusteredTasksClassifier if _is_logistic(case) else ClusteredTasks
    fitted = fit_case(case, twin(clusters=case.parameter("labels"), **scaled))
    precision = TaskCoupling.to_clusters(
        fitted.labels_, mean=strengths["eps_mean"], between=strengths["eps_between"], within=strengths["eps_within"]
    ).precision
    return {**certified(fitted), "Q": precision}


def _cluster_relaxed(case: Case) -> dict[str, Any]:
    strengths = {name: case.parameter(name) for name in ("eps_mean", "eps_between", "eps_within")}
    twin = ClusteredTasksClassifier if _is_logistic(case) else ClusteredTasks
    return certified(fit_case(case, twin(case.parameter("n_clusters"), **strengths)))


def _school_srmtl(case: Case) -> dict[str, Any]:
    """``rho1 ||A (I - J)||^2 + rho2 ||A||_1`` beside halved squares, every sample with weight 1."""
    X, y = load_school(case)
    Xs, ys, labels = unstack_tasks(X, y)
    weights = tuple(np.ones(len(one)) for one in ys)
    risk = SquaredRisk(TaskData(tuple(Xs), tuple(ys), weights, fit_intercept=False))
    deviations = np.eye(len(labels)) - 1 / len(labels)
    coupling = TaskCoupling.of_matrix(2 * case.parameter("rho1") * deviations)
    solution = solve(risk, with_coupling(EntryNorm(case.parameter("rho2")), coupling), tol=1e-9, max_iterations=100_000)
    return {"obj": solution.objective, "A": solution.coefficients}


METHODS = {
    "mean_reg": Method(_mean_reg),
    "graph_path": Method(_graph_path),
    "cluster_known": Method(_cluster_known),
    "cluster_relaxed": Method(_cluster_relaxed),
    "school/srmtl_mean": Method(_school_srmtl, tolerances={"obj": 3e-7, "A": 1e-4}),
}
