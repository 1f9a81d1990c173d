"""Oracle builders: equal and fixed weights, PCGrad, uncertainty weighting."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from taskloom.balance.base import Balancer
from taskloom.balance.mix.pcgrad import pcgrad
from taskloom.balance.reduce.sum import equal
from taskloom.balance.scale.fixed import fixed
from taskloom.balance.scale.uncertainty import GAUSSIAN, SOFTMAX, LogVariances, uncertainty
from taskloom.testing._oracles_base import Parameters, Unsupported, only, tensor

__all__ = ["BUILDERS", "FIELDS", "SEQUENCES"]


def _equal(params: Parameters, n_tasks: int) -> Balancer:
    return equal(only(params, "reduction")["reduction"])


def _fixed(params: Parameters, n_tasks: int) -> Balancer:
    return fixed(only(params, "weights")["weights"])


def _pcgrad(params: Parameters, n_tasks: int) -> Balancer:
    given = only(params, "order", "reduction", defaults={"reduction": "sum"})
    if not str(given["order"]).startswith("ascending"):
        raise Unsupported(f"order {given['order']!r}")
    return pcgrad(given["reduction"], order="ascending")


def _uncertainty(params: Parameters, n_tasks: int) -> Balancer:
    given = only(params, "log_var", "factors", "kinds", defaults={"factors": "0.5", "kinds": None})
    if given["kinds"] is not None:
        known = {"regression": GAUSSIAN, "classification": SOFTMAX}
        if set(given["kinds"]) - set(known):
            raise Unsupported(f"kinds {given['kinds']}")
        return uncertainty([known[kind] for kind in given["kinds"]], init=given["log_var"])
    if float(given["factors"]) != GAUSSIAN.factor:
        raise Unsupported(f"factors {given['factors']!r}")
    return uncertainty(GAUSSIAN, init=given["log_var"])


def _objective(balancer: Balancer, jacobian: Tensor, losses: Tensor) -> dict[str, Tensor]:
    combination = balancer.combine(losses)
    value = (combination.weights * losses).sum() + combination.penalty
    return {"value": value.detach(), "grad_log_var": torch.autograd.grad(value, list(balancer.parameters()))[0]}


def _trained(params: Parameters, sequence: Parameters) -> dict[str, Tensor]:
    given = only(params, "lr", "optimiser", "init")
    if given["optimiser"] != "plain SGD":
        raise Unsupported(f"optimiser {given['optimiser']!r}")
    losses = tensor(sequence["losses"])
    balancer = uncertainty(GAUSSIAN, init=given["init"])
    balancer.bind([f"task {position}" for position in range(losses.shape[1])])
    balancer.double().reset()
    link = next(iter(balancer))
    assert isinstance(link, LogVariances)
    optimiser = torch.optim.SGD(link.parameters(), lr=given["lr"])
    path = [link.log_variance.detach().clone()]
    for step in losses[: len(sequence["J"])]:
        optimiser.zero_grad()
        combination = balancer.combine(step)
        torch.autograd.backward((combination.weights * step).sum() + combination.penalty)
        optimiser.step()
        path.append(link.log_variance.detach().clone())
    return {"log_var": torch.stack(path)}


BUILDERS: dict[str, Callable[[Parameters, int], Balancer]] = {
    "equal": _equal,
    "fixed": _fixed,
    "pcgrad": _pcgrad,
    "uncertainty": _uncertainty,
}
FIELDS: dict[str, Callable[[Balancer, Tensor, Tensor], dict[str, Tensor]]] = {"uncertainty": _objective}
SEQUENCES: dict[str, Callable[[Parameters, Parameters], dict[str, Tensor]]] = {"uncertainty_trained": _trained}
