"""Oracle builders: closed forms on the Gramian, methods that need the gradients, methods that compare batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from taskloom.balance.base import Balancer
from taskloom.balance.flow import Combination, Rows
from taskloom.balance.mix.aux_cosine import aux_cosine
from taskloom.balance.mix.gradvac import gradvac
from taskloom.balance.reduce.aligned_mtl import aligned_mtl
from taskloom.balance.reduce.config import config
from taskloom.balance.reduce.imtl_g import imtl_g
from taskloom.balance.reduce.modo import modo
from taskloom.balance.reduce.sdmgrad import sdmgrad
from taskloom.balance.rows.db_mtl import db_mtl
from taskloom.balance.rows.excess_mtl import excess_mtl
from taskloom.balance.rows.graddrop import graddrop
from taskloom.balance.rows.moco import moco
from taskloom.balance.scale.auto_lambda import AutoLambda, auto_lambda
from taskloom.balance.scale.gradnorm import GradNorm, gradnorm, gradnorm_loss
from taskloom.testing._oracles_base import Parameters, Unsupported, only, tensor

__all__ = ["BUILDERS", "FIELDS", "SEQUENCES"]


def _imtl_g(params: Parameters, n_tasks: int) -> Balancer:
    only(params)
    return imtl_g(sign_guard=False)  # the values keep the published sign, also where it is that of an ascent


def _config(params: Parameters, n_tasks: int) -> Balancer:
    only(params)
    return config()


def _aligned_mtl(params: Parameters, n_tasks: int) -> Balancer:
    given = only(params, "scale", "preference", defaults={"preference": "1/K"})
    if given["preference"] not in ("1/K", "1"):
        raise Unsupported(f"preference {given['preference']!r}")
    return aligned_mtl(given["scale"], preference=None if given["preference"] == "1/K" else [1.0] * n_tasks)


def _aux_cosine(params: Parameters, n_tasks: int) -> Balancer:
    given = only(params, "main", "form", defaults={"form": "weighted"})
    return aux_cosine(given["main"], given["form"])


def _graddrop(params: Parameters, n_tasks: int) -> Balancer:
    given = only(params, "leak", "uniform", defaults={"leak": 0.0})
    return graddrop(given["leak"], uniform=tensor(given["uniform"]))


# -- sequences --------------------------------------------------------------------------------------------------


def _bound(balancer: Balancer, sequence: Parameters) -> Balancer:
    balancer.bind([f"task {position}" for position in range(len(sequence["J"][0]))])
    balancer.double().reset()
    return balancer


def _run(balancer: Balancer, sequence: Parameters, others: Sequence[str] = ()) -> list[Combination]:
    """All steps of a sequence, with the Jacobians of further batches."""
    _bound(balancer, sequence)
    losses = tensor(sequence["losses"])
    return [
        balancer.step(tensor(jacobian), losses[step], others=[tensor(sequence[name][step]) for name in others])
        for step, jacobian in enumerate(sequence["J"])
    ]


def _fields(combinations: Sequence[Combination]) -> dict[str, Tensor]:
    directions = [one.direction for one in combinations if one.direction is not None]
    return {"weights": torch.stack([one.weights for one in combinations]), "direction": torch.stack(directions)}


def _gradvac(params: Parameters, sequence: Parameters) -> dict[str, Tensor]:
    given = only(params, "beta", "order", "granularity", defaults={"granularity": "whole model"})
    if not str(given["order"]).startswith("ascending") or given["granularity"] != "whole model":
        raise Unsupported(f"order {given['order']!r}, granularity {given['granularity']!r}")
    return _fields(_run(gradvac(given["beta"], order="ascending"), sequence))


def _excess_mtl(params: Parameters, sequence: Parameters) -> dict[str, Tensor]:
    given = only(params, "robust_step_size", "eps", "warmup", defaults={"eps": 1e-7, "warmup": 0})
    balancer = excess_mtl(given["robust_step_size"], eps=given["eps"], warmup=given["warmup"])
    return _fields(_run(balancer, sequence))


def _db_mtl(params: Parameters, sequence: Parameters) -> dict[str, Tensor]:
    given = only(
        params, "beta", "beta_sigma", "log_eps", "norm_eps", defaults={"beta_sigma": 0, "log_eps": 1e-8, "norm_eps": 0}
    )
    return _fields(_run(db_mtl(**given), sequence))


def _moco(params: Parameters, sequence: Parameters) -> dict[str, Tensor]:
    names = ("beta", "beta_sigma", "gamma", "gamma_sigma", "rho")
    return _fields(_run(moco(**only(params, *names, defaults={"rho": 0.0})), sequence))


def _modo(params: Parameters, sequence: Parameters) -> dict[str, Tensor]:
    return _fields(_run(modo(**only(params, "gamma", "rho")), sequence, ["J_second"]))


def _sdmgrad(params: Parameters, sequence: Parameters) -> dict[str, Tensor]:
    given = only(params, "lr", "momentum", "n_iter", "lambda_")
    return _fields(_run(sdmgrad(mode="stochastic", **given), sequence, ["J_second", "J_third"]))


def _gradnorm(params: Parameters, sequence: Parameters) -> dict[str, Tensor]:
    given = only(params, "alpha", "weight_lr", "weight_optimiser", "renormalise")
    if given["weight_optimiser"] != "plain SGD":
        raise Unsupported(f"optimiser {given['weight_optimiser']!r}")
    balancer = _bound(gradnorm(given["alpha"], lr=given["weight_lr"]), sequence)
    link = next(iter(balancer))
    assert isinstance(link, GradNorm)
    optimiser = torch.optim.SGD(balancer.parameter_groups())
    losses, jacobians = tensor(sequence["losses"]), tensor(sequence["J"])
    weights, values, gradients = [], [], []
    for step, jacobian in enumerate(jacobians):
        optimiser.zero_grad()
        combination = balancer.combine(losses[step], last_layer=jacobian @ jacobian.T, step=step)
        torch.autograd.backward(combination.penalty)
        assert link.weight.grad is not None
        weights.append(combination.weights.detach())
        ratios = losses[step] / losses[0]
        values.append(gradnorm_loss(weights[-1], jacobian.norm(dim=1), ratios=ratios, alpha=given["alpha"])[0])
        gradients.append(link.weight.grad.clone())
        optimiser.step()
    weights.append(balancer.combine(losses[-1], last_layer=jacobians[-1] @ jacobians[-1].T).weights.detach())
    found = {"weights": weights, "gradnorm_loss": values, "weight_grad": gradients}
    return {name: torch.stack(steps) for name, steps in found.items()}


def _auto_lambda(params: Parameters, sequence: Parameters) -> dict[str, Tensor]:
    given = only(params, "inner_lr", "primary", "note", defaults={"note": ""})
    balancer = _bound(auto_lambda(given["primary"], inner_lr=given["inner_lr"]), sequence)
    link = next(iter(balancer))
    assert isinstance(link, AutoLambda)
    losses, gradients = tensor(sequence["losses"]), []
    for step, (training, held_out) in enumerate(zip(tensor(sequence["J"]), tensor(sequence["J_second"]), strict=True)):
        balancer.zero_grad()
        cross = Rows((training,)).cross(Rows((held_out,)))
        torch.autograd.backward(balancer.combine(losses[step], cross=cross, step=step).penalty)
        assert link.weight.grad is not None
        gradients.append(link.weight.grad.clone())
    return {"meta_grad": torch.stack(gradients)}


BUILDERS: dict[str, Callable[[Parameters, int], Balancer]] = {
    "imtl_g": _imtl_g,
    "config": _config,
    "aligned_mtl": _aligned_mtl,
    "aux_cosine": _aux_cosine,
    "graddrop": _graddrop,
}
FIELDS: dict[str, Callable[[Balancer, Tensor, Tensor], dict[str, Tensor]]] = {}
SEQUENCES: dict[str, Callable[[Parameters, Parameters], dict[str, Tensor]]] = {
    "gradvac": _gradvac,
    "excess_mtl": _excess_mtl,
    "db_mtl": _db_mtl,
    "moco": _moco,
    "modo": _modo,
    "sdmgrad": _sdmgrad,
    "gradnorm": _gradnorm,
    "auto_lambda": _auto_lambda,
}
