"""Oracle builders: methods whose weights solve a problem of K numbers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from taskloom.balance.base import Balancer
from taskloom.balance.mix.upgrad import upgrad
from taskloom.balance.reduce.cagrad import CAGrad, cagrad
from taskloom.balance.reduce.dualproj import dualproj
from taskloom.balance.reduce.fairgrad import fairgrad
from taskloom.balance.reduce.mgda import mgda
from taskloom.balance.reduce.nash_mtl import nash_mtl
from taskloom.solvers.conflict_averse import conflict_averse
from taskloom.testing._oracles_base import Parameters, Unsupported, only, tensor

__all__ = ["BUILDERS", "FIELDS", "SEQUENCES"]


def _mgda(params: Parameters, n_tasks: int) -> Balancer:
    return mgda(only(params, "normalization")["normalization"])


def _cagrad(params: Parameters, n_tasks: int) -> Balancer:
    given = only(params, "c", "rescale")
    return cagrad(given["c"], rescale=given["rescale"])


def _nash_mtl(params: Parameters, n_tasks: int) -> Balancer:
    given = only(params, "max_norm", "update_weights_every", defaults={"update_weights_every": 1})
    return nash_mtl(given["max_norm"], update_weights_every=given["update_weights_every"])


def _fairgrad(params: Parameters, n_tasks: int) -> Balancer:
    return fairgrad(only(params, "alpha")["alpha"])


def _even(params: Parameters) -> None:
    if only(params, "preference")["preference"] != "1/K":
        raise Unsupported(f"preference {params['preference']!r}")


def _upgrad(params: Parameters, n_tasks: int) -> Balancer:
    _even(params)
    return upgrad()


def _dualproj(params: Parameters, n_tasks: int) -> Balancer:
    _even(params)
    return dualproj()


def _value(balancer: Balancer, jacobian: Tensor, losses: Tensor) -> dict[str, Tensor]:
    """The squared length that MGDA minimises."""
    return {"value": balancer.direction(jacobian, losses).square().sum()}


def _objective(balancer: Balancer, jacobian: Tensor, losses: Tensor) -> dict[str, Tensor]:
    """The dual objective of CAGrad."""
    (link,) = balancer
    assert isinstance(link, CAGrad)
    point = torch.from_numpy(conflict_averse((jacobian @ jacobian.T).numpy(), link.c))
    mean = jacobian.mean(0)
    found = point @ jacobian
    return {"simplex": point, "objective": found @ mean + link.c * mean.norm() * found.norm()}


def _nash_sequence(params: Parameters, sequence: Parameters) -> dict[str, Tensor]:
    jacobians = tensor(sequence["J"])
    balancer = _nash_mtl(params, jacobians.shape[1])
    balancer.bind([f"task {position}" for position in range(jacobians.shape[1])])
    return {"weights": torch.stack([balancer.step(jacobian).weights for jacobian in jacobians])}


BUILDERS: dict[str, Callable[[Parameters, int], Balancer]] = {
    "cagrad": _cagrad,
    "dualproj": _dualproj,
    "fairgrad": _fairgrad,
    "mgda": _mgda,
    "nash_mtl": _nash_mtl,
    "upgrad": _upgrad,
}
FIELDS: dict[str, Callable[[Balancer, Tensor, Tensor], dict[str, Tensor]]] = {"cagrad": _objective, "mgda": _value}
SEQUENCES: dict[str, Callable[[Parameters, Parameters], dict[str, Tensor]]] = {"nash_mtl_every2": _nash_sequence}
