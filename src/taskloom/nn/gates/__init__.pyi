# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom.nn.gates.base import GateRule as GateRule
from taskloom.nn.gates.dselect_k import DSelectKGate as DSelectKGate
from taskloom.nn.gates.gate import Gate as Gate
from taskloom.nn.gates.mix import mix as mix
from taskloom.nn.gates.softmax import SoftmaxGate as SoftmaxGate
from taskloom.nn.gates.static import StaticGate as StaticGate
from taskloom.nn.gates.top_k import TopKGate as TopKGate

__all__ = [
    "DSelectKGate",
    "Gate",
    "GateRule",
    "SoftmaxGate",
    "StaticGate",
    "TopKGate",
    "mix",
]
