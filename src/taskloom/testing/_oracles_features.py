"""Oracle cases that are no step of a balancer: methods on gradients at features, and metrics over tasks.

``FEATURES``: method -> fields from a case; its ``feature_grads`` have the ``shape`` (K, B, D), ``features`` (B, D).
``METRICS``: field of a case -> its value for every method of the case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from taskloom.balance.base import Balancer
from taskloom.balance.rows.graddrop import graddrop_features
from taskloom.metrics.delta_m import delta_m
from taskloom.metrics.profile import mean_rank
from taskloom.testing._oracles_base import Parameters, Unsupported, only, tensor

__all__ = ["METRICS", "run_features", "run_metrics"]

Builders = Mapping[str, Callable[[Parameters, int], Balancer]]


def _gradients(case: Parameters) -> Tensor:
    return tensor(case["feature_grads"]).reshape(case["shape"])


def _graddrop(case: Parameters, builders: Builders) -> dict[str, Tensor]:
    given = only(case["params"], "leak", "eps", defaults={"leak": 0.0, "eps": 0.0})
    features = tensor(case["features"]).reshape(case["shape"][1:])
    found = graddrop_features(_gradients(case), features, uniform=tensor(case["uniform"]), leak=given["leak"])
    return {"output": found.flatten()}


def _upper_bound(case: Parameters, builders: Builders, *, method: str, params: Parameters) -> dict[str, Tensor]:
    """A method on the Gramian of the features; batch and features flattened, not summed."""
    if method not in builders:
        raise Unsupported(f"method {method!r}")
    rows = _gradients(case).flatten(1)
    balancer = builders[method]({**params, **case["params"]}, len(rows))
    balancer.bind([f"task {position}" for position in range(len(rows))])
    return {"weights": balancer.double().weights(rows @ rows.T, torch.ones(len(rows), dtype=rows.dtype))}


FEATURES: dict[str, Callable[[Parameters, Builders], dict[str, Tensor]]] = {
    "graddrop_feature": _graddrop,
    "mgda_ub": partial(_upper_bound, method="mgda", params={"normalization": "none"}),
    "aligned_mtl_ub": partial(_upper_bound, method="aligned_mtl", params={"scale": "min"}),
    "imtl_g_ub": partial(_upper_bound, method="imtl_g", params={}),
}


def run_features(case: Parameters, builders: Builders) -> dict[str, Tensor]:
    """Fields of a feature case.

    Raises:
        Unsupported: an unknown method, parameter or field.
    """
    method = case.get("method")
    if method not in FEATURES:
        raise Unsupported(f"method {method!r}")
    found = FEATURES[method](case, builders)
    missing = [field for field in case["compare"] if field not in found]
    if missing:
        raise Unsupported(f"fields {missing}")
    return found


# -- metrics ----------------------------------------------------------------------------------------------------


def _delta_m(case: Parameters, **convention: Any) -> Tensor:
    places = list(enumerate(case["task_of_metric"]))

    def by_task(values: list[Any]) -> dict[str, dict[str, Any]]:
        tasks: dict[str, dict[str, Any]] = {}
        for place, task in places:
            tasks.setdefault(f"task {task}", {})[f"metric {place}"] = values[place]
        return tasks

    lower = by_task([not higher for higher in case["higher_is_better"]])
    reference = by_task(case["baseline"])
    found = [delta_m(by_task(scores), reference, lower_is_better=lower, **convention) for scores in case["methods"]]
    return tensor([float(one) for one in found])


def _mean_rank(case: Parameters, **convention: Any) -> Tensor:
    lower = [not higher for higher in case["higher_is_better"]]
    return tensor(mean_rank(list(zip(*case["methods"], strict=True)), lower_is_better=lower, **convention))


METRICS: dict[str, Callable[[Parameters], Tensor]] = {
    "delta_per_task_first_improvement_positive": _delta_m,
    "delta_flat_improvement_positive": partial(_delta_m, per_task_first=False),
    "delta_flat_drop_positive": partial(_delta_m, per_task_first=False, convention="drop"),
    "mean_rank_average_ties": _mean_rank,
    "mean_rank_dense_ties": partial(_mean_rank, ties="dense"),
}


def run_metrics(case: Parameters) -> dict[str, Tensor]:
    """All known fields of a metric case.

    Raises:
        Unsupported: the case has none.
    """
    known = [field for field in METRICS if field in case]
    if not known:
        raise Unsupported("no known metric")
    return {field: METRICS[field](case) for field in known}
