# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom.engine.autograd import AutogradEngine as AutogradEngine
from taskloom.engine.base import Cost as Cost
from taskloom.engine.base import GradientEngine as GradientEngine
from taskloom.engine.base import Layout as Layout
from taskloom.engine.combine import balance as balance
from taskloom.engine.explain import explain_cost as explain_cost
from taskloom.engine.features import FeatureEngine as FeatureEngine
from taskloom.engine.layers.engine import LayerEngine as LayerEngine
from taskloom.engine.measure import Measurement as Measurement
from taskloom.engine.measure import measure as measure
from taskloom.engine.sharded import ShardedEngine as ShardedEngine

__all__ = [
    "AutogradEngine",
    "Cost",
    "FeatureEngine",
    "GradientEngine",
    "LayerEngine",
    "Layout",
    "Measurement",
    "ShardedEngine",
    "balance",
    "explain_cost",
    "measure",
]
