# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom.fit.callbacks.best_weights import BestWeights as BestWeights
from taskloom.fit.callbacks.history_recorder import HistoryRecorder as HistoryRecorder

__all__ = [
    "BestWeights",
    "HistoryRecorder",
]
