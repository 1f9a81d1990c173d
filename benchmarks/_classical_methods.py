"""Classical estimators with their strengths chosen inside the training rows: what `classical_on_data.py` compares."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import KFold

from taskloom import linear
from taskloom.gp import ICMGaussianProcess
from taskloom.task_column import TaskStratifiedKFold

__all__ = ["CLASSIFIERS", "REGRESSORS", "Method", "Table", "fitted"]

_FOLDS = 3
_PATH: Mapping[str, Any] = {"n_alphas": 12, "eps": 3e-3, "cv": _FOLDS, "tol": 1e-4}
_FEW_POINTS = 4000  # the Gaussian process is fitted up to here: ten minutes; its time grows with the third power


@dataclass(frozen=True)
class Table:
    """Inputs with a task column in front and targets (n,), or inputs and targets (n, T) of tasks that share the rows.

    Args:
        x: inputs.
        y: targets.
        has_column: whether the first column says which task a row belongs to.
    """

    x: np.ndarray
    y: np.ndarray
    has_column: bool

    @property
    def task_feature(self) -> int | None:
        """Position of the task column."""
        return 0 if self.has_column else None

    @property
    def n_points(self) -> int:
        """Distinct rows (with their tasks, where these are a column): repeated ones cost a Gaussian process nothing."""
        return len(np.unique(self.x, axis=0))

    def rows(self, chosen: np.ndarray) -> Table:
        """Some of the rows."""
        return Table(self.x[chosen], self.y[chosen], self.has_column)

    def folds(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Training and held-out rows, every task in all of them."""
        if self.has_column:
            splitter = TaskStratifiedKFold(_FOLDS, task_feature=0, shuffle=True, random_state=0)
            return list(splitter.split(self.x))
        return list(KFold(_FOLDS, shuffle=True, random_state=0).split(self.x))


@dataclass(frozen=True)
class Method:
    """A name, and the estimators among which cross-validation chooses; one that chooses by itself is alone."""

    name: str
    choices: Callable[[Table], Sequence[BaseEstimator]]
    suits: Callable[[Table], bool] = lambda table: True


def fitted(method: Method, table: Table, *, held_out: Table | None = None) -> BaseEstimator:
    """The estimator with the smallest loss on held-out rows, fitted on all training rows.

    Args:
        method: what to fit.
        table: the training rows.
        held_out: rows to choose by; None: cross-validation on the training rows.
    """
    choices = list(method.choices(table))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a setting that has not converged is judged by its predictions
        if len(choices) > 1:
            if held_out is not None:
                losses = [_loss(one, table, held_out) for one in choices]
            else:
                folds = [(table.rows(train), table.rows(rest)) for train, rest in table.folds()]
                losses = [float(np.mean([_loss(one, *fold) for fold in folds])) for one in choices]
            choices = [choices[int(np.argmin(losses))]]
        return clone(choices[0]).fit(table.x, table.y)


def _loss(estimator: BaseEstimator, train: Table, rest: Table) -> float:
    model = clone(estimator).fit(train.x, train.y)
    if hasattr(model, "decision_function"):
        signs = 2.0 * rest.y - 1.0
        return float(np.mean(np.logaddexp(0.0, -signs * model.decision_function(rest.x))))
    return float(np.nanmean((model.predict(rest.x) - rest.y) ** 2))


def _grid(kind: type, table: Table, fixed: Mapping[str, Any], **values: Sequence[Any]) -> Iterator[BaseEstimator]:
    for combination in itertools.product(*values.values()):
        named = dict(zip(values, combination, strict=True))
        yield kind(task_feature=table.task_feature, **fixed, **named)


# -- numbers ------------------------------------------------------------------------------------------------------


class _CoupledOffsets(linear.MeanRegularizedCV):
    """Offsets are coefficients of a column of ones, so that they are held to their mean like the others."""

    def fit(self, X: np.ndarray, y: np.ndarray, sample_weight: Any = None) -> _CoupledOffsets:
        return super().fit(_with_ones(X), y, sample_weight)

    def predict(self, X: np.ndarray) -> np.ndarray:
        return super().predict(_with_ones(X))


def _with_ones(X: np.ndarray) -> np.ndarray:
    return np.column_stack([X, np.ones(len(X))])


def _held(*couplings: float) -> Callable[[Table], list[BaseEstimator]]:
    return lambda table: [linear.MeanRegularizedCV(couplings=couplings, task_feature=table.task_feature)]


def _by_path(kind: type) -> Callable[[Table], list[BaseEstimator]]:
    return lambda table: [kind(task_feature=table.task_feature, **_PATH)]


def _offsets(table: Table) -> list[BaseEstimator]:
    return [_CoupledOffsets(couplings=_COUPLINGS, fit_intercept=False, task_feature=table.task_feature)]


def _relations(table: Table) -> list[BaseEstimator]:
    strengths = np.geomspace(1e-3, 1.0, 6)
    return list(_grid(linear.SquaredTraceNorm, table, {"alpha_ridge": 1e-3, "tol": 1e-4}, alpha=strengths))


def _clusters(table: Table) -> list[BaseEstimator]:
    n_tasks = len(np.unique(table.x[:, 0])) if table.has_column else table.y.shape[1]
    if n_tasks < 3:
        return _held(*_COUPLINGS)(table)
    return [
        linear.ClusteredTasks(
            3, eps_mean=mean, eps_between=10 * mean, eps_within=within * mean, tol=1e-4, task_feature=table.task_feature
        )
        for mean in (1e-4, 1e-3, 1e-2, 1e-1)
        for within in (30, 300)
    ]


def _held_bayes(table: Table) -> list[BaseEstimator]:
    return [linear.HierarchicalBayes(prior_tasks=1.0, prior_scale=1.0, task_feature=table.task_feature)]


_COUPLINGS = (1.0, 3.0, 10.0, 30.0, 100.0, 1000.0)

REGRESSORS = (
    Method("independent ridge", _held(1.0)),
    Method("pooled, own offsets", _held(1e6)),
    Method("held to the mean", _held(*_COUPLINGS)),
    Method("held to the mean, offsets too", _offsets),
    Method("l1/l2", _by_path(linear.MultiTaskGroupLassoCV)),
    Method("dirty", _by_path(linear.DirtyModelCV)),
    Method("trace norm", _by_path(linear.TraceNormCV)),
    Method("MTRL", _relations),
    Method("clustered", _clusters),
    Method("hierarchical Bayes", lambda table: [linear.HierarchicalBayes(task_feature=table.task_feature)]),
    Method("hierarchical Bayes, prior of the mean", _held_bayes),
    Method(
        "Gaussian process (ICM)",
        lambda table: [ICMGaussianProcess(max_iter=150, shared_noise=True, task_feature=table.task_feature)],
        suits=lambda table: table.n_points <= _FEW_POINTS and not np.isnan(table.y).any(),
    ),
)

# -- two classes --------------------------------------------------------------------------------------------------

_RIDGES = {"alpha": np.geomspace(1e-5, 0.1, 5)}
_STRENGTHS = {"alpha": np.geomspace(3e-4, 0.03, 5)}
_LOOSE = {"tol": 1e-4}


def _logistic(kind: type, **values: Sequence[Any]) -> Callable[[Table], list[BaseEstimator]]:
    return lambda table: list(_grid(kind, table, _LOOSE, **values))


CLASSIFIERS = (
    Method("independent ridge", _logistic(linear.MeanRegularizedClassifier, coupling=(1.0,), **_RIDGES)),
    Method("pooled, own offsets", _logistic(linear.MeanRegularizedClassifier, coupling=(1e6,), **_RIDGES)),
    Method("held to the mean", _logistic(linear.MeanRegularizedClassifier, coupling=(1.0, 10.0, 100.0), **_RIDGES)),
    Method("lasso", _logistic(linear.MultiTaskLasso1Classifier, **_STRENGTHS)),
    Method("l1/l2", _logistic(linear.MultiTaskGroupLassoClassifier, **_STRENGTHS)),
    Method("trace norm", _logistic(linear.TraceNormClassifier, **_STRENGTHS)),
)
