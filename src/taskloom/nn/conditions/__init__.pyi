# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom.nn.conditions.add import EmbeddingAdd as EmbeddingAdd
from taskloom.nn.conditions.base import Condition as Condition
from taskloom.nn.conditions.concat import EmbeddingConcat as EmbeddingConcat
from taskloom.nn.conditions.film import FiLM as FiLM
from taskloom.nn.conditions.gate import EmbeddingGate as EmbeddingGate
from taskloom.nn.conditions.onehot import OneHotConcat as OneHotConcat
from taskloom.nn.conditions.token import EmbeddingToken as EmbeddingToken

__all__ = [
    "Condition",
    "EmbeddingAdd",
    "EmbeddingConcat",
    "EmbeddingGate",
    "EmbeddingToken",
    "FiLM",
    "OneHotConcat",
]
