# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom.nn.factors.base import Basis as Basis
from taskloom.nn.factors.base import Factorisation as Factorisation
from taskloom.nn.factors.laf import DenseBasis as DenseBasis
from taskloom.nn.factors.laf import LAF as LAF
from taskloom.nn.factors.tensor_train import TensorTrain as TensorTrain
from taskloom.nn.factors.tensor_train import TensorTrainBasis as TensorTrainBasis
from taskloom.nn.factors.tucker import Tucker as Tucker
from taskloom.nn.factors.tucker import TuckerBasis as TuckerBasis

__all__ = [
    "Basis",
    "DenseBasis",
    "Factorisation",
    "LAF",
    "TensorTrain",
    "TensorTrainBasis",
    "Tucker",
    "TuckerBasis",
]
