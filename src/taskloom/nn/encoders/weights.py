"""Read the weights of an encoder from a file or a mapping, and say what was missing or left over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from taskloom.errors import TaskError, nearest

__all__ = ["LoadedWeights", "load_weights"]


@dataclass(frozen=True)
class LoadedWeights:
    """What :func:`load_weights` found.

    Args:
        loaded: names that were read.
        missing: names that the module has and the source has not; they keep their values.
        unexpected: names that the source has and the module has not.
        dropped: names of the source that were left out on purpose.

    Example:
        >>> LoadedWeights(loaded=("a",), missing=(), unexpected=(), dropped=()).missing
        ()
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    dropped: tuple[str, ...]


def load_weights(
    module: nn.Module,
    source: str | Path | Mapping[str, Tensor],
    *,
    drop: Sequence[str] = ("fc.",),
    strict: bool = True,
) -> LoadedWeights:
    """Copy weights and statistics into a module, in place, by name.

    Files are read as safetensors when their name ends in ``.safetensors``, else by ``torch.load(weights_only=True)``,
    which builds tensors and plain containers only and runs no code from the file.

    Args:
        module: any module; its parameters and buffers are overwritten.
        source: a file, or a mapping name -> tensor.
        drop: names that begin with one of these are left out; default the classifier ``fc.`` of ResNet checkpoints.
        strict: refuse a source with missing or unexpected names; False reports them. Default True. Counters of batches
            (``num_batches_tracked``) may be missing, as they are in older files.

    Returns:
        which names were read, missing, unexpected and dropped.

    Raises:
        TaskError: the file does not exist or is no mapping of tensors, a shape differs, or, if strict, names do.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> state = {"weight": torch.ones(1, 2), "bias": torch.ones(1), "fc.weight": torch.ones(9)}
        >>> load_weights(layer, state).dropped
        ('fc.weight',)
    """
    state = _read(source)
    dropped = tuple(name for name in state if name.startswith(tuple(drop))) if drop else ()
    given = {name: value for name, value in state.items() if name not in set(dropped)}
    own = module.state_dict()
    missing = tuple(name for name in own if name not in given)
    unexpected = tuple(name for name in given if name not in own)
    needed = [name for name in missing if not name.endswith("num_batches_tracked")]
    if strict and (needed or unexpected):
        raise TaskError(_message(module, needed, unexpected, list(own)))
    matching = {name: value for name, value in given.items() if name in own}
    for name, value in matching.items():
        if value.shape != own[name].shape:
            raise TaskError(
                f"{name!r} is {tuple(value.shape)} in the source and {tuple(own[name].shape)} in "
                f"{type(module).__name__}; build the module with the same widths"
            )
    module.load_state_dict(matching, strict=False)
    return LoadedWeights(tuple(matching), missing, unexpected, dropped)


def _read(source: str | Path | Mapping[str, Tensor]) -> dict[str, Tensor]:
    if isinstance(source, Mapping):
        state: object = dict(source)
    else:
        file = Path(source)
        if not file.is_file():
            raise TaskError(f"there is no file {str(file)!r} to read weights from")
        if file.suffix == ".safetensors":
            state = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        keys = list(state)[:5] if isinstance(state, Mapping) else []
        raise TaskError(
            f"the source of weights must map names to tensors, found a {type(state).__name__}"
            f"{f' with keys {keys}' if keys else ''}; pass the mapping that holds the tensors"
        )
    return {str(name): value for name, value in state.items()}


def _message(module: nn.Module, missing: Sequence[str], unexpected: Sequence[str], own: Sequence[str]) -> str:
    lines = [f"the source does not fit {type(module).__name__}"]
    if missing:
        lines.append(f"missing ({len(missing)}): {_shown(missing)}")
    if unexpected:
        lines.append(f"unexpected ({len(unexpected)}): {_shown(unexpected)}.{nearest(unexpected[0], own)}")
    return "; ".join(lines) + ". Leave names out with drop=, or pass strict=False to keep what is missing"


def _shown(names: Sequence[str]) -> str:
    return f"[{', '.join(map(repr, names[:8]))}{', ...' if len(names) > 8 else ''}]"
