"""What an attention is: the parts that a multi-task attention network has at every stage."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

__all__ = ["Attention"]


class Attention:
    """Builds the parts of a multi-task attention network; subclass it, or one of the ready ones, to replace a part.

    At stage l a task has a mask ``a = mask([u; r])``, where ``r = resize(norm(refine(o)))`` are its features o from the
    stage before. Its features are ``a * p``.

    Example:
        >>> import torch
        >>> from taskloom.nn import ImageAttention
        >>> class Smooth(ImageAttention):
        ...     def refine(self, in_channels, channels):
        ...         return nn.Conv2d(in_channels, channels, 1, bias=False)
        >>> Smooth().refine(4, 8)(torch.zeros(1, 4, 5, 5)).shape
        torch.Size([1, 8, 5, 5])
    """

    dimension: ClassVar[int] = 1
    """Axis of the channels."""

    @property
    def norm_per_task(self) -> bool:
        """Whether each task has a normalisation of its own behind a shared ``refine``; default False."""
        return False

    def mask(self, in_channels: int, channels: int) -> nn.Module:
        """Module from features with ``in_channels`` channels to a mask with ``channels``, of the same size."""
        raise NotImplementedError

    def refine(self, in_channels: int, channels: int) -> nn.Module:
        """Module that maps features of one stage to the channels of the next, without normalisation."""
        raise NotImplementedError

    def norm(self, channels: int) -> nn.Module:
        """Module behind ``refine``: normalisation and activation."""
        raise NotImplementedError

    def resize(self, features: Tensor, like: Tensor) -> Tensor:
        """Features in the size of ``like``, whose channels may differ; has no parameters."""
        raise NotImplementedError
