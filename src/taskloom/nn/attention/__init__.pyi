# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom.nn.attention._mask import PositionMask as PositionMask
from taskloom.nn.attention.base import Attention as Attention
from taskloom.nn.attention.image import ImageAttention as ImageAttention
from taskloom.nn.attention.row import RowAttention as RowAttention

__all__ = [
    "Attention",
    "ImageAttention",
    "PositionMask",
    "RowAttention",
]
