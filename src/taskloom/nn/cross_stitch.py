"""Cross-stitch networks: one network per task, and units in which they exchange features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import nn

from taskloom.errors import TaskError
from taskloom.nn._param_groups import UNIT_LR_FACTOR
from taskloom.nn._stages import Stages
from taskloom.nn._stitched import StitchedNetworks
from taskloom.nn.mixing import Mixing
from taskloom.task import Task

__all__ = ["CrossStitch"]


class CrossStitch(StitchedNetworks):
    """One encoder per task; behind chosen stages each goes on with a learned mixture of the features of all.

    The mixture decides by itself how much each layer is shared: the identity is a network per task, equal columns are
    one network for all. It needs as many encoders as tasks, in use too, so it pays where few tasks deserve large gains.

        h~_t = sum_j A[t, j] h_j    (per channel: a number A[t, j, c] for each channel c)

    The mixing weights learn without weight decay and, with plain gradient steps, best at a rate of their own:
    ``model.param_groups(lr, unit_lr_factor=100)`` gives that to an optimiser of yours.

    Args:
        stages: the encoder in stages: an ``nn.Sequential`` such as MLP (its children are the stages), a list of modules
            or of functions that build one, or a function that builds the stages of one network. See
            :func:`taskloom.nn.stages_of` for other encoders.
        tasks: the tasks.
        after: indices of the stages behind which the networks are mixed; default all but the last.
        per: ``"scalar"`` (default) or ``"channel"``: one weight for all channels, or one for each.
        init: weight of a network's own features at the start; the others share the rest, so that rows sum to one.
            Default 0.9.
        channels: number of channels behind each stage, for ``per="channel"``; default: from ``example`` or the layers.
        dimension: axis of the channels, 1 (default) for (n, D) and images, 2 for tokens (n, N, D).
        same_start: give all encoders the weights of the first, for pretrained encoders; default False.
        unit_lr_factor: learning rate of the mixing weights over that of the networks in :func:`taskloom.fit`; default 1
            (measured for AdamW). The paper has more, with plain gradient steps: see ``model.param_groups``.
        single_task_epochs: train the networks apart for so many epochs before they are stitched, which the paper
            recommends; default 0.
        heads: task name -> head module; default a linear layer by kind of task.
        example: sample input of the encoder, only needed when the layers do not say how wide the features are.

    Raises:
        TaskError: no or unknown stages, unknown widths, heads that do not match; in the forward pass features of
            different shapes.

    Cost:
        K encoders, for one task too unless mixing weights are zero; a unit costs one (K x K) matrix product.

    Differs from the paper:
        K tasks instead of two; units where ``after`` says instead of behind pooling and fully connected layers; with
        subspaces of channels see :class:`Sluice`.

    Source:
        I. Misra, A. Shrivastava, A. Gupta, M. Hebert, Cross-stitch Networks for Multi-task Learning, CVPR 2016,
        arXiv:1604.03539.

    Example:
        >>> import torch
        >>> from taskloom.nn import MLP
        >>> from taskloom.task import Regression
        >>> model = CrossStitch(MLP(4, (8, 8)), [Task(name="a", kind=Regression()), Task(name="b", kind=Regression())])
        >>> model(torch.zeros(3, 4))["b"].shape, model.units[0].weight
        (torch.Size([3, 1]), Parameter containing:
        tensor([[0.9000, 0.1000],
                [0.1000, 0.9000]], requires_grad=True))
    """

    def __init__(
        self,
        stages: Stages,
        tasks: Sequence[Task],
        *,
        after: Sequence[int] | None = None,
        per: Literal["scalar", "channel"] = "scalar",
        init: float = 0.9,
        channels: Sequence[int] | None = None,
        dimension: int = 1,
        same_start: bool = False,
        unit_lr_factor: float = UNIT_LR_FACTOR,
        single_task_epochs: int = 0,
        heads: Mapping[str, nn.Module] | None = None,
        example: Any = None,
    ) -> None:
        super().__init__(
            stages,
            tasks,
            channels=channels,
            dimension=dimension,
            same_start=same_start,
            unit_lr_factor=unit_lr_factor,
            single_task_epochs=single_task_epochs,
            heads=heads,
            example=example,
        )
        if per not in ("scalar", "channel"):
            raise TaskError(f"per must be 'scalar' or 'channel', found {per!r}; for matrices over channels use NDDR")

        def unit(place: int) -> Mixing:
            width = self.width(place) if per == "channel" else None
            return Mixing(len(self.tasks), per=per, channels=width, init=init, dimension=dimension)

        self.connect(range(len(self.stages) - 1) if after is None else after, unit=unit)
