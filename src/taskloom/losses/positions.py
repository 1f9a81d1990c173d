"""Targets at every position of an image or a sequence: each labelled position is one row of a loss."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from taskloom.errors import DataError

__all__ = ["by_position"]


def by_position(
    outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor], *, mask: Mapping[str, Tensor] | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor] | None]:
    """Outputs, targets and mask in the form of :func:`taskloom.losses.task_losses`, with every position as a row.

    A loss is then the mean over all labelled positions of a batch. Tasks with one target per sample stay as they are.

    Args:
        outputs: task name -> outputs (n, C, ...) of dense heads, or (n, ..., C) of token heads. Where
            both readings fit, one axis of positions means tokens and two or more an image.
        targets: task name -> targets (n, ...), or (n, 1, ...) for one output; (n,) for other tasks.
        mask: task name -> bool in the shape of the targets, True where labelled; None: everything is.

    Returns:
        for a dense task outputs (N, C), targets (N,) and mask (N,), with N = n times the number of positions.

    Raises:
        DataError: outputs and targets have other positions.

    Example:
        >>> import torch
        >>> outputs, targets, _ = by_position({"depth": torch.zeros(2, 1, 4, 5)}, {"depth": torch.zeros(2, 4, 5)})
        >>> outputs["depth"].shape, targets["depth"].shape
        (torch.Size([40, 1]), torch.Size([40]))
    """
    if all(target.ndim == 1 for target in targets.values()):
        return dict(outputs), dict(targets), None if mask is None else dict(mask)
    found = {name: output for name, output in outputs.items() if name not in targets}
    rows, labels = {}, {}
    known: dict[str, Tensor] | None = None if mask is None else {}
    for name, target in targets.items():
        if name not in outputs:
            labels[name] = target  # task_losses says what is missing
            continue
        output, shape = outputs[name], tuple(target.shape)
        if target.ndim > 2 and target.ndim == output.ndim and shape[1] == 1:
            shape = (shape[0], *shape[2:])
        rows[name] = output if target.ndim == 1 else _rows(output, shape, name)
        labels[name] = target.reshape(-1)
        if mask is not None and known is not None and name in mask:
            known[name] = mask[name].reshape(-1)
    return {**found, **rows}, labels, known


def _rows(output: Tensor, positions: tuple[int, ...], name: str) -> Tensor:
    """Outputs (N, C) of a dense task."""
    shape = tuple(output.shape)
    as_tokens, as_image = shape[:-1] == positions, (shape[0], *shape[2:]) == positions
    if as_tokens and (len(positions) == 2 or not as_image):
        return output.flatten(0, -2)
    if as_image:
        return output.movedim(1, -1).flatten(0, -2)
    raise DataError(
        f"task {name!r}: found outputs of shape {shape} for targets of shape {positions}; expected (n, outputs, "
        "*positions) or (n, *positions, outputs). Give the task a head whose outputs have the size of its targets"
    )
