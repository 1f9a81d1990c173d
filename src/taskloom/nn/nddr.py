"""NDDR networks: one network per task, fused by 1x1 convolutions on the features of all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from taskloom.nn._channel_norm import ChannelBatchNorm
from taskloom.nn._param_groups import UNIT_LR_FACTOR
from taskloom.nn._shortcut import Shortcut
from taskloom.nn._stages import Stages
from taskloom.nn._stitched import StitchedNetworks
from taskloom.nn.mixing import Mixing
from taskloom.task import Task

__all__ = ["NDDR"]


class NDDR(StitchedNetworks):
    """One encoder per task; behind each stage every network goes on with a learned map of all features of all networks.

    Where cross-stitch networks weigh whole networks or channels, a matrix here makes every channel out of every other:
    the richest exchange, and the most parameters (neural discriminative dimensionality reduction).

        h~_t = act(norm(W_t [h_1; ...; h_K]))

    Args:
        stages: the encoder in stages, see :class:`CrossStitch`.
        tasks: the tasks.
        after: indices of the stages behind which features are fused; default all.
        init: the block of W_t for the task's own features starts as this times the identity, the other K-1 as equal
            shares of the rest; default 0.9.
        norm: number of channels -> normalisation of the fused features; default batch normalisation with momentum 0.05;
            None: none.
        act: builds the activation behind it; default ``nn.ReLU``; None: none.
        shortcut: read the features off the fused outputs of all stages, averaged to the size of the last, concatenated
            and mapped to its width; default False.
        channels: number of channels behind each stage; default: from ``example`` or the layers.
        dimension: axis of the channels, 1 (default) for (n, D) and images, 2 for tokens (n, N, D).
        same_start: give all encoders the weights of the first, for pretrained encoders; default False.
        unit_lr_factor: learning rate of the mixing weights over that of the networks in :func:`taskloom.fit`; default 1
            (measured for AdamW). The paper has more, with plain gradient steps: see ``model.param_groups``.
        single_task_epochs: train the networks apart for so many epochs before they are fused; default 0.
        heads: task name -> head module; default a linear layer by kind of task.
        example: sample input of the encoder, only needed when the layers do not say how wide the features are.

    Raises:
        TaskError: no or unknown stages, unknown widths, heads that do not match.

    Cost:
        K encoders; a unit is one 1x1 convolution of K C to K C channels.

    Differs from the paper:
        for K > 2 the other networks share 1 - init; the shortcut averages instead of interpolating.

    Source:
        Y. Gao, J. Ma, M. Zhao, W. Liu, A. L. Yuille, NDDR-CNN: Layerwise Feature Fusing in Multi-Task CNNs by Neural
        Discriminative Dimensionality Reduction, CVPR 2019, arXiv:1801.08297.

    Example:
        >>> import torch
        >>> from taskloom.nn import MLP
        >>> from taskloom.task import Regression
        >>> model = NDDR(MLP(4, (8, 8)), [Task(name="a", kind=Regression()), Task(name="b", kind=Regression())])
        >>> model(torch.zeros(3, 4))["b"].shape, model.units[0].weight.shape
        (torch.Size([3, 1]), torch.Size([2, 8, 16]))
    """

    decays_units = True

    def __init__(
        self,
        stages: Stages,
        tasks: Sequence[Task],
        *,
        after: Sequence[int] | None = None,
        init: float = 0.9,
        norm: Callable[[int], nn.Module] | None = ChannelBatchNorm,
        act: Callable[[], nn.Module] | None = nn.ReLU,
        shortcut: bool = False,
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
        last = len(self.stages) - 1
        places = list(range(last + 1) if after is None else after)

        def unit(place: int) -> Mixing:
            width = self.width(place)
            return Mixing(
                len(self.tasks), per="full", channels=width, init=init, dimension=dimension, norm=norm, act=act
            )

        def readout() -> Shortcut:
            read = sorted({*places, last})
            return Shortcut(read, widths=[self.width(place) for place in read], dimension=dimension)

        self.connect(places, unit=unit, readout=readout if shortcut else None)
