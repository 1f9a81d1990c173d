"""Oracle builders: methods that look at losses alone, and smoothed weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from taskloom.balance.base import Balancer
from taskloom.balance.flow import Flow, Signals
from taskloom.balance.scale.almo import almo
from taskloom.balance.scale.dwa import dwa
from taskloom.balance.scale.famo import EvenProgress, famo
from taskloom.balance.scale.gls import GeometricMean, gls
from taskloom.balance.scale.group_dro import group_dro
from taskloom.balance.scale.imtl_l import imtl_l
from taskloom.balance.scale.stch import SmoothLogMaximum, SmoothMaximum, stch, stch_mtl
from taskloom.balance.scale.worst_task import FavourWorst, worst_task
from taskloom.balance.wrap.smoothed import smoothed
from taskloom.testing._oracles_base import Parameters, Unsupported, only, tensor

__all__ = ["BUILDERS", "FIELDS", "SEQUENCES"]

Fields = dict[str, Tensor]


def _worst_task(params: Parameters, n_tasks: int) -> Balancer:
    given = only(params, "form", "temperature", defaults={"temperature": 1.0})
    forms = {"hard": "hard", "softmax": "soft"}
    if given["form"] not in forms:
        raise Unsupported(f"form {given['form']!r}")
    return worst_task("hard" if given["form"] == "hard" else "soft", temperature=given["temperature"])


def _gls(params: Parameters, n_tasks: int) -> Balancer:
    only(params)
    return gls()


def _imtl_l(params: Parameters, n_tasks: int) -> Balancer:
    return imtl_l(only(params, "log_scale")["log_scale"])


def _stch(params: Parameters, n_tasks: int) -> Balancer:
    given = only(params, "mu", "lambda", "ideal", "log", defaults={"lambda": "1/K", "ideal": 0.0, "log": False})
    if given["log"]:
        raise Unsupported("the logarithmic form without a nadir")
    preference = None if given["lambda"] == "1/K" else given["lambda"]
    return stch(given["mu"], preference=preference, ideal=given["ideal"])


def _stch_mtl(params: Parameters, n_tasks: int) -> Balancer:
    given = only(params, "mu", "nadir")
    return stch_mtl(given["mu"], nadir=given["nadir"])


def _value(balancer: Balancer, jacobian: Tensor, losses: Tensor) -> Fields:
    """The objective whose gradient the weights are."""
    (link,) = balancer
    assert isinstance(link, (FavourWorst, GeometricMean, SmoothMaximum, SmoothLogMaximum))
    return {"value": link.value(Flow.start(Signals(balancer.tasks, losses)))}


def _learned(balancer: Balancer, jacobian: Tensor, losses: Tensor) -> Fields:
    combination = balancer.combine(losses)
    value = (combination.weights * losses).sum() + combination.penalty
    (gradient,) = torch.autograd.grad(value, list(balancer.parameters()))
    return {"value": value.detach(), "grad_log_scale": gradient}


# -- sequences ------------------------------------------------------------------------------------------------------


def _bound(balancer: Balancer, losses: Tensor) -> Balancer:
    balancer.bind([f"task {position}" for position in range(losses.shape[1])])
    return balancer


def _path(balancer: Balancer, losses: Tensor) -> Fields:
    """Weights of one step per loss vector."""
    _bound(balancer, losses)
    return {"weights": torch.stack([balancer.weights(None, step) for step in losses])}


def _dwa(params: Parameters, sequence: Parameters) -> Fields:
    losses = tensor(sequence["losses"])
    balancer = _bound(dwa(only(params, "temperature")["temperature"]), losses)
    weights = []
    for mean in losses:  # an epoch of one step
        weights.append(balancer.weights(None, mean))
        balancer.end_epoch()
    return {"weights": torch.stack(weights)}


def _famo(params: Parameters, sequence: Parameters) -> Fields:
    given = only(params, "w_lr", "weight_decay", "min_losses", "eps", "optimiser")
    if given["eps"] != 1e-8 or not str(given["optimiser"]).startswith("Adam(0.9,0.999,1e-8)"):
        raise Unsupported(f"eps {given['eps']!r}, optimiser {given['optimiser']!r}")
    losses, jacobians = tensor(sequence["losses"]), tensor(sequence["J"])
    balancer = _bound(famo(given["w_lr"], decay=given["weight_decay"], minimum=given["min_losses"]), losses)
    (link,) = balancer
    assert isinstance(link, EvenProgress)
    weights, logits = [], []
    for step, jacobian in enumerate(jacobians):
        weights.append(balancer.step(jacobian, losses[step], after=losses[step + 1]).weights)
        logits.append(link.logits.clone())
    return {"weights": torch.stack(weights), "logits_after": torch.stack(logits)}


def _group_dro(params: Parameters, sequence: Parameters) -> Fields:
    return _path(group_dro(only(params, "eta")["eta"]), tensor(sequence["losses"])[: len(sequence["J"])])


def _almo(params: Parameters, sequence: Parameters) -> Fields:
    given = only(params, "gamma_lambda", "set")
    if given["set"] != "full simplex":
        raise Unsupported(f"set {given['set']!r}")
    return _path(almo(given["gamma_lambda"]), tensor(sequence["losses"]))


def _cr_mogm(params: Parameters, sequence: Parameters) -> Fields:
    from taskloom.balance.reduce.mgda import mgda  # another family: loaded only for these cases

    given = only(params, "alpha", "inner")
    if given["inner"] != "mgda exact":
        raise Unsupported(f"inner {given['inner']!r}")
    losses = tensor(sequence["losses"])
    balancer = _bound(smoothed(given["alpha"], mgda()), losses)
    steps = [balancer.step(jacobian, losses[step]) for step, jacobian in enumerate(tensor(sequence["J"]))]
    directions = [step.direction for step in steps if step.direction is not None]
    return {"weights": torch.stack([step.weights for step in steps]), "direction": torch.stack(directions)}


BUILDERS: dict[str, Callable[[Parameters, int], Balancer]] = {
    "gls": _gls,
    "imtl_l": _imtl_l,
    "stch": _stch,
    "stch_mtl": _stch_mtl,
    "worst_task": _worst_task,
}
FIELDS: dict[str, Callable[[Balancer, Tensor, Tensor], Fields]] = {
    "gls": _value,
    "imtl_l": _learned,
    "stch": _value,
    "stch_mtl": _value,
    "worst_task": _value,
}
SEQUENCES: dict[str, Callable[[Parameters, Parameters], Fields]] = {
    "almo": _almo,
    "cr_mogm": _cr_mogm,
    "dwa": _dwa,
    "famo": _famo,
    "group_dro": _group_dro,
}
