"""Lightning callbacks: the history of a run and its best weights."""

from taskloom._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, {"BestWeights": "best_weights", "HistoryRecorder": "history_recorder"})
