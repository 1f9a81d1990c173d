"""Attention: what the masks of :class:`taskloom.nn.MTAN` and what leads from one to the next are made of."""

from taskloom._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {"Attention": "base", "ImageAttention": "image", "PositionMask": "_mask", "RowAttention": "row"},
)
