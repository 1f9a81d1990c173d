# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom.nn._batching import batched_evaluation as batched_evaluation
from taskloom.nn._inputs import UnknownTask as UnknownTask
from taskloom.nn._table import sharing_table as sharing_table
from taskloom.nn.adapters import factory_of as factory_of
from taskloom.nn.adapters import stages_of as stages_of
from taskloom.nn.conditioned import Conditioned as Conditioned
from taskloom.nn.conditions.add import EmbeddingAdd as EmbeddingAdd
from taskloom.nn.conditions.base import Condition as Condition
from taskloom.nn.conditions.concat import EmbeddingConcat as EmbeddingConcat
from taskloom.nn.conditions.film import FiLM as FiLM
from taskloom.nn.conditions.gate import EmbeddingGate as EmbeddingGate
from taskloom.nn.conditions.onehot import OneHotConcat as OneHotConcat
from taskloom.nn.cost import Cost as Cost
from taskloom.nn.cost import layer_macs as layer_macs
from taskloom.nn.cost import macs as macs
from taskloom.nn.cut import NoCommonFeature as NoCommonFeature
from taskloom.nn.encoders.mlp import MLP as MLP
from taskloom.nn.fork import fork as fork
from taskloom.nn.fork import gates as gates
from taskloom.nn.hard import HardSharing as HardSharing
from taskloom.nn.hardsoft import HardSoftMix as HardSoftMix
from taskloom.nn.heads.default import default_head as default_head
from taskloom.nn.independent import Independent as Independent
from taskloom.nn.model import MultiTaskModel as MultiTaskModel
from taskloom.nn.parallel import Parallel as Parallel
from taskloom.nn.partial import PartialSharing as PartialSharing
from taskloom.nn.partition import check_partition as check_partition
from taskloom.nn.partition import reached_by as reached_by
from taskloom.nn.phase import Phase as Phase
from taskloom.nn.pooled import Pooled as Pooled
from taskloom.nn.soft import SoftSharing as SoftSharing

__all__ = [
    "Condition",
    "Conditioned",
    "Cost",
    "EmbeddingAdd",
    "EmbeddingConcat",
    "EmbeddingGate",
    "FiLM",
    "HardSharing",
    "HardSoftMix",
    "Independent",
    "MLP",
    "MultiTaskModel",
    "NoCommonFeature",
    "OneHotConcat",
    "Parallel",
    "PartialSharing",
    "Phase",
    "Pooled",
    "SoftSharing",
    "UnknownTask",
    "batched_evaluation",
    "check_partition",
    "default_head",
    "factory_of",
    "fork",
    "gates",
    "layer_macs",
    "macs",
    "reached_by",
    "sharing_table",
    "stages_of",
]
