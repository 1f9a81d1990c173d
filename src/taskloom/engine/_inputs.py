"""What users hand to the engine, checked once at the public doors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from taskloom.errors import BalanceError, EngineError

__all__ = ["not_finite", "read_last_layer", "read_losses", "read_parameters", "require_choices"]


def require_choices(**given: tuple[str | None, tuple[str | None, ...]]) -> None:
    """Arguments of ``balance`` that take one of a few texts: name = (what was given, what is known)."""
    for argument, (found, known) in given.items():
        if found not in known:
            raise BalanceError(f"balance(): {argument} must be one of {known}, found {found!r}")


def read_losses(losses: Mapping[str, Tensor]) -> tuple[tuple[str, ...], list[Tensor]]:
    """Names and losses of a mapping of scalar losses that have a graph and lie on one device."""
    if not isinstance(losses, Mapping):
        raise EngineError(
            f"losses must be a mapping task name -> scalar tensor, found {type(losses).__name__}; write "
            '{"depth": depth_loss, "normals": normals_loss}'
        )
    if not losses:
        raise EngineError("losses is empty; expected one scalar loss per task that the batch has. Skip such a batch")
    for task, loss in losses.items():
        _require_scalar(task, loss)
    if not torch.is_grad_enabled():
        raise EngineError("gradients are switched off (torch.no_grad or inference mode); call this while training only")
    constant = [task for task, loss in losses.items() if not loss.requires_grad]
    if constant:
        raise EngineError(
            f"the losses of the tasks {constant} require no gradient; compute them from the outputs of the model, "
            "without .detach() or .item(), or leave them out"
        )
    devices = {str(loss.device) for loss in losses.values()}
    if len(devices) > 1:
        listed = ", ".join(f"{task!r} on {loss.device}" for task, loss in losses.items())
        raise EngineError(f"the losses lie on different devices: {listed}; move them to one, loss.to(device)")
    if devices == {"meta"}:
        raise EngineError("the losses lie on the meta device and have no values; run the model on a real device")
    return tuple(losses), list(losses.values())


def _require_scalar(task: object, loss: object) -> None:
    """A name and a number that a gradient can be taken of."""
    if not isinstance(task, str):
        raise EngineError(
            f"losses has the key {task!r} of type {type(task).__name__}; tasks are called by name: write "
            '{"depth": depth_loss}, or {task.name: loss} with Task objects'
        )
    if not isinstance(loss, Tensor):
        raise EngineError(f"the loss of task {task!r} is {loss!r}, expected a scalar tensor with a graph")
    if loss.ndim:
        raise EngineError(
            f"the loss of task {task!r} has shape {tuple(loss.shape)}, expected a scalar; take its mean or sum"
        )
    if loss.is_complex():
        raise EngineError(f"the loss of task {task!r} is complex, expected a real number; take loss.real or loss.abs()")


def read_parameters(shared: Iterable[Tensor] | nn.Module) -> list[Tensor]:
    """Trainable shared parameters, each once, of an iterable, a module or a multi-task model."""
    owner = type(shared).__name__
    if isinstance(shared, Tensor):
        raise EngineError("shared is one tensor, expected several; write shared=[tensor]")
    of_model = getattr(shared, "shared_parameters", None)
    if of_model is not None:
        given = list(of_model())
    elif isinstance(shared, nn.Module):
        given = list(shared.parameters())
    else:
        given, owner = list(shared), "shared"
    parameters = list({id(one): one for one in given if isinstance(one, Tensor) and one.requires_grad}.values())
    if any(not isinstance(one, Tensor) for one in given):
        raise EngineError("shared has entries that are no tensors; pass model.encoder.parameters() or the module")
    if not parameters:
        if of_model is not None:
            raise BalanceError(
                f"{owner} has no parameters reached by more than one task; gradient balancing has nothing to balance. "
                "Use a method that needs only losses, such as taskloom.equal()"
            )
        raise EngineError(
            "there is no shared parameter that requires a gradient; if you passed model.parameters() kept from "
            "before, note that it can be read only once: call it in every step"
        )
    if any(not one.is_leaf for one in parameters):
        raise EngineError("shared has tensors that are results of operations; expected parameters (leaf tensors)")
    if any(one.is_meta for one in parameters):
        raise EngineError(
            "shared has parameters on the meta device, which have no values; make them real first "
            "(module.to_empty(device=...), then load or initialise) and pass the parameters that the forward pass used"
        )
    return parameters


def read_last_layer(given: Iterable[Tensor] | nn.Module | None, parameters: Sequence[Tensor]) -> list[Tensor]:
    """The parameters of the last shared layer: those given, else the last shared matrix."""
    if given is not None:
        return read_parameters(given)
    matrices = [parameter for parameter in parameters if parameter.ndim > 1]
    return (matrices or list(parameters))[-1:]


def not_finite(values: Tensor, tasks: Sequence[str]) -> list[str]:
    """Tasks whose entries (rows, in a matrix) are NaN or infinite; the diagonal decides in a Gramian."""
    values = values.detach()
    if bool(torch.isfinite(values).all()):
        return []
    own = values.diagonal() if values.ndim == 2 else values
    bad = (~torch.isfinite(own)).tolist()
    return [task for task, is_bad in zip(tasks, bad, strict=True) if is_bad] or list(tasks)
