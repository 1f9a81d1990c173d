"""Networks for several tasks: which parameters and features which task uses."""

from taskloom._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Condition": "conditions.base",
        "Conditioned": "conditioned",
        "EmbeddingAdd": "conditions.add",
        "EmbeddingConcat": "conditions.concat",
        "EmbeddingGate": "conditions.gate",
        "FiLM": "conditions.film",
        "HardSharing": "hard",
        "HardSoftMix": "hardsoft",
        "Independent": "independent",
        "MLP": "encoders.mlp",
        "MultiTaskModel": "model",
        "NoCommonFeature": "cut",
        "OneHotConcat": "conditions.onehot",
        "Parallel": "parallel",
        "Phase": "phase",
        "Pooled": "pooled",
        "SoftSharing": "soft",
        "UnknownTask": "_inputs",
        "batched_evaluation": "_batching",
        "default_head": "heads.default",
        "fork": "fork",
        "gates": "fork",
        "factory_of": "adapters",
        "stages_of": "adapters",
    },
)
