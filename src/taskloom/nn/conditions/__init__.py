"""Conditions: small parts that tell a common network which task a row belongs to."""

from taskloom._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Condition": "base",
        "EmbeddingAdd": "add",
        "EmbeddingConcat": "concat",
        "EmbeddingGate": "gate",
        "EmbeddingToken": "token",
        "FiLM": "film",
        "OneHotConcat": "onehot",
    },
)
