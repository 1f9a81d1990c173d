"""Factors from which the weights of several tasks are generated: ``W_t = basis . s_t``."""

from taskloom._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Basis": "base",
        "DenseBasis": "laf",
        "Factorisation": "base",
        "LAF": "laf",
        "TensorTrain": "tensor_train",
        "TensorTrainBasis": "tensor_train",
        "Tucker": "tucker",
        "TuckerBasis": "tucker",
    },
)
