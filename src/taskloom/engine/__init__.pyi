# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom.engine.autograd import AutogradEngine as AutogradEngine
from taskloom.engine.base import Cost as Cost
from taskloom.engine.base import GradientEngine as GradientEngine
from taskloom.engine.base import Layout as Layout
from taskloom.engine.combine import balance as balance
from taskloom.engine.explain import explain_cost as explain_cost
from taskloom.engine.features import FeatureEngine as FeatureEngine
from taskloom.engine.last_stage import LastStageEngine as LastStageEngine
from taskloom.engine.layers.engine import LayerEngine as LayerEngine
from taskloom.engine.lean import LeanEngine as LeanEngine
from taskloom.engine.low_precision import LowPrecisionEngine as LowPrecisionEngine
from taskloom.engine.measure import Measurement as Measurement
from taskloom.engine.measure import measure as measure
from taskloom.engine.replay.engine import Approximation as Approximation
from taskloom.engine.sharded import ShardedEngine as ShardedEngine
from taskloom.engine.sketch import SketchedEngine as SketchedEngine

__all__ = [
    "Approximation",
    "AutogradEngine",
    "Cost",
    "FeatureEngine",
    "GradientEngine",
    "LastStageEngine",
    "LayerEngine",
    "Layout",
    "LeanEngine",
    "LowPrecisionEngine",
    "Measurement",
    "ShardedEngine",
    "SketchedEngine",
    "balance",
    "explain_cost",
    "measure",
]
