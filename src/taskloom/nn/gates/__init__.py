"""Gates: how much each expert counts, for every row of a batch or for all rows alike."""

from taskloom._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "DSelectKGate": "dselect_k",
        "Gate": "gate",
        "GateRule": "base",
        "SoftmaxGate": "softmax",
        "StaticGate": "static",
        "TopKGate": "top_k",
        "mix": "mix",
    },
)
