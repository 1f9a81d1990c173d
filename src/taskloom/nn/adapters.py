"""Adapters that turn one encoder module into what an architecture needs: a factory of fresh copies, or stages."""

from __future__ import annotations

import copy
import itertools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import torch
from torch import nn

from taskloom.errors import TaskError, nearest
from taskloom.nn.parallel import Parallel

__all__ = ["build_copies", "factory_of", "stages_of"]


class _Resettable(Protocol):
    def reset_parameters(self) -> None: ...


def factory_of(module: nn.Module, *, pretrained: bool = False) -> Callable[[], nn.Module]:
    """Make a factory of independent copies of a module.

    Each call deep-copies the module and draws new initial weights (``reset_parameters`` of every part that has it).

    Args:
        module: the pattern; it is not changed.
        pretrained: keep the weights of the pattern, so that all copies start equal; default False.

    Returns:
        a function without arguments that returns a new module.

    Raises:
        UserWarning: (a warning) parameters that no ``reset_parameters`` covers, and that therefore stay equal.

    Example:
        >>> make = factory_of(nn.Linear(3, 2))
        >>> torch.equal(make().weight, make().weight)
        False
    """
    if not pretrained:
        fixed = _not_resettable(module)
        if fixed:
            warnings.warn(
                f"parameters {fixed} of {type(module).__name__} have no reset_parameters; their copies start equal. "
                "Give a factory (a function that builds a new module), or pretrained=True if that is meant",
                stacklevel=2,
            )

    def make() -> nn.Module:
        fresh = copy.deepcopy(module)
        if not pretrained:
            for part in reversed([*fresh.modules()]):  # parts before the whole, which may start them in its own way
                if callable(getattr(part, "reset_parameters", None)):
                    cast(_Resettable, part).reset_parameters()
        return fresh

    return make


def _not_resettable(module: nn.Module) -> list[str]:
    covered = {
        id(parameter)
        for part in module.modules()
        if callable(getattr(part, "reset_parameters", None))
        for parameter in part.parameters()
    }
    return [name for name, parameter in module.named_parameters() if id(parameter) not in covered]


def build_copies(
    encoder: nn.Module | Callable[[], nn.Module], n_copies: int, *, what: str = "encoder", same: bool = False
) -> Parallel:
    """Build independent modules from a factory or from a pattern module.

    Args:
        encoder: function without arguments that builds a new module each time, or a module to copy and re-initialise.
        n_copies: how many.
        what: name used in error messages.
        same: give all the weights of the first.

    Raises:
        TaskError: the factory returned no module, the same module twice, or modules that share tensors.

    Example:
        >>> len(build_copies(lambda: nn.Linear(3, 2), 4))
        4
    """
    make = factory_of(encoder) if isinstance(encoder, nn.Module) else encoder
    copies: list[nn.Module] = []
    owners: dict[int, int] = {}
    for index in range(n_copies):
        made = make()
        if not isinstance(made, nn.Module):
            raise TaskError(f"the {what} factory must return a torch.nn.Module, found {type(made).__name__}")
        if any(made is other for other in copies):
            raise TaskError(
                f"the {what} factory returned the same module twice; build a new one in each call "
                "(lambda: MLP(8), not lambda: encoder)"
            )
        for name, parameter in made.named_parameters():
            if owners.setdefault(parameter.data_ptr(), index) != index and parameter.numel() > 0:
                raise TaskError(
                    f"the {what} factory returned modules that share the tensor {name!r}; build new parameters in each"
                    " call"
                )
        copies.append(made)
    if same:
        for other in copies[1:]:
            other.load_state_dict(copies[0].state_dict())
    return Parallel(copies)


def stages_of(
    module: nn.Module, *, cuts: Sequence[str] | None = None, example: Any = None, tolerance: float = 1e-6
) -> list[nn.Sequential]:
    """Cut an encoder into stages whose composition is the encoder.

    The top-level children are grouped in registration order, each group up to and including a named child. This is
    right only when the encoder's forward calls its children one after the other, which is checked on a sample.

    Args:
        module: the encoder. ``nn.Sequential`` needs neither cuts nor example: every child is a stage.
        cuts: names of the children that end a stage, in order; children after the last one form a last stage.
        example: sample input for the check; may be left out for ``nn.Sequential``.
        tolerance: largest allowed difference between the encoder and its stages.

    Returns:
        the stages; they hold the module's own children, not copies.

    Raises:
        TaskError: an unknown child, cuts out of order, a missing example, or stages that do not compose to the encoder.

    Example:
        >>> [len(stage) for stage in stages_of(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)), cuts=["1"])]
        [2, 1]
    """
    children = dict(module.named_children())
    is_plain = type(module).forward is nn.Sequential.forward
    if cuts is None:
        if not is_plain:
            raise TaskError(
                f"{type(module).__name__} is no nn.Sequential; name the children that end a stage with cuts="
            )
        return [nn.Sequential(child) for child in children.values()]
    names = list(children)
    for cut in cuts:
        if cut not in children:
            raise TaskError(f"{type(module).__name__} has no child {cut!r}.{nearest(cut, names)}")
    ends = [names.index(cut) + 1 for cut in cuts]
    if ends != sorted(set(ends)):
        raise TaskError(f"cuts {list(cuts)} are not in the order of the children {names}")
    bounds = [0, *ends] if ends[-1] == len(names) else [0, *ends, len(names)]
    stages = [nn.Sequential(*(children[name] for name in names[low:high])) for low, high in itertools.pairwise(bounds)]
    if example is None and not is_plain:
        raise TaskError(f"give example= (a sample input) so that the stages of {type(module).__name__} can be checked")
    if example is not None:
        _check_composition(module, stages, example, tolerance)
    return stages


def _check_composition(module: nn.Module, stages: Sequence[nn.Module], example: Any, tolerance: float) -> None:
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            expected, found = module(example), example
            for stage in stages:
                found = stage.eval()(found)
    finally:
        for part, training in modes:
            part.training = training
    same_form = isinstance(found, torch.Tensor) and isinstance(expected, torch.Tensor) and found.shape == expected.shape
    difference = float((found - expected).abs().max()) if same_form else float("inf")
    if not difference <= tolerance:
        raise TaskError(
            f"the stages do not compose to the encoder (max difference {difference:.3g}); give the stages explicitly"
        )
