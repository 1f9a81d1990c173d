"""Which trainings can be members of one batched run, and which of them belong together."""

from __future__ import annotations

import dataclasses
from enum import Enum
from typing import Any

from torch import nn

from taskloom.balance.base import Need
from taskloom.fit.training import Training, is_trained_in_phases

__all__ = ["reason_against_batching", "shape_signature"]

# Plain attributes of modules that may differ between the members of a batch.
_NOT_SETTINGS = frozenset({"training", "seed", "n_steps", "n_draws", "diagnostics"})


def reason_against_batching(training: Training) -> str | None:
    """Why a training cannot join a batched run; None if it can.

    Dropout and batch norm change their state or draw random numbers inside the forward pass, several phases change
    what is trained, and a balancer with a memory of its own changes it per step: these go to the Trainer.
    """
    for name, module in training.model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            return f"{name} is a batch normalisation, whose statistics change in the forward pass"
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            return f"{name} is a dropout layer, which draws random numbers in the forward pass"
        if getattr(module, "draws", False):
            return f"{name} draws random numbers in the forward pass"
        if isinstance(module, (nn.RNNBase, nn.modules.conv._ConvNd)):
            return f"{name} is a {type(module).__name__}, which gains nothing from batching over networks"
    if training.model.has_batch_penalties:
        return "the penalties of the model depend on the batch"
    if is_trained_in_phases(training.model):
        return "the model is trained in phases of its own"
    if training.balancer.remembers or training.balancer.observes:
        return "the balancer remembers earlier steps"
    if training.balancer.looks_at_features:
        return "the balancer looks at features"
    if training.balancer.needs & (Need.ROWS | Need.LAST_LAYER | Need.CROSS):
        return "the balancer looks at more than the losses and the Gramian"
    if len(training.balancer.parameter_groups()) > 1:
        return "the balancer has several optimiser groups"
    return None


def shape_signature(training: Training) -> tuple[Any, ...]:
    """What two trainings must have in common to be members of one batched run."""
    model, tensors = training.model, training.tensors
    return (
        repr(model),
        _plain_settings(model),
        tuple((name, tuple(p.shape), p.dtype, p.requires_grad) for name, p in model.named_parameters()),
        tuple((name, tuple(b.shape)) for name, b in model.named_buffers()),
        tuple(type(module).__qualname__ for module in training.balancer.modules()),
        _plain_settings(training.balancer),
        tuple((name, tuple(b.shape)) for name, b in training.balancer.named_buffers()),
        tuple((task.kind, task.loss, task.loss_weight) for task in tensors.tasks),
        tensors.per_task,
        tuple(tensors.inputs.shape[1:]),
        tensors.inputs.dtype,
        training.schedule,
    )


def _plain_settings(module: nn.Module) -> tuple[Any, ...]:
    """What the modules hold as plain attributes: what is no tensor cannot differ in a batch. Names of tasks may."""
    return tuple(
        (prefix, name, _plain(value))
        for prefix, part in module.named_modules()
        for name, value in sorted(vars(part).items())
        if name not in _NOT_SETTINGS
        and (isinstance(value, (bool, int, float, str, Enum)) or dataclasses.is_dataclass(value))
    )


def _plain(value: Any) -> Any:
    """A setting in a form that can be compared; the strength of a coupling is a buffer and may differ."""
    if not dataclasses.is_dataclass(value):
        return value
    fields = [(field.name, repr(getattr(value, field.name))) for field in dataclasses.fields(value)]
    return (type(value).__qualname__, tuple(field for field in fields if field[0] != "strength"))
