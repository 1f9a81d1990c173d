# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom.nn._batching import batched_evaluation as batched_evaluation
from taskloom.nn._inputs import UnknownTask as UnknownTask
from taskloom.nn._orthogonality import SubspaceOrthogonality as SubspaceOrthogonality
from taskloom.nn._table import sharing_table as sharing_table
from taskloom.nn.adapters import factory_of as factory_of
from taskloom.nn.adapters import stages_of as stages_of
from taskloom.nn.adaptive import AdaptiveSharing as AdaptiveSharing
from taskloom.nn.adaptive import error_affinity as error_affinity
from taskloom.nn.adashare import AdaShare as AdaShare
from taskloom.nn.attention._mask import PositionMask as PositionMask
from taskloom.nn.attention.base import Attention as Attention
from taskloom.nn.attention.image import ImageAttention as ImageAttention
from taskloom.nn.attention.row import RowAttention as RowAttention
from taskloom.nn.branched import BranchedNetworks as BranchedNetworks
from taskloom.nn.branched import feature_affinity as feature_affinity
from taskloom.nn.branched import tree_from_affinity as tree_from_affinity
from taskloom.nn.branching import LearningToBranch as LearningToBranch
from taskloom.nn.cascade import Cascade as Cascade
from taskloom.nn.cgc import CGC as CGC
from taskloom.nn.conditioned import Conditioned as Conditioned
from taskloom.nn.conditions.add import EmbeddingAdd as EmbeddingAdd
from taskloom.nn.conditions.base import Condition as Condition
from taskloom.nn.conditions.concat import EmbeddingConcat as EmbeddingConcat
from taskloom.nn.conditions.film import FiLM as FiLM
from taskloom.nn.conditions.gate import EmbeddingGate as EmbeddingGate
from taskloom.nn.conditions.onehot import OneHotConcat as OneHotConcat
from taskloom.nn.conditions.token import EmbeddingToken as EmbeddingToken
from taskloom.nn.cost import Cost as Cost
from taskloom.nn.cost import layer_macs as layer_macs
from taskloom.nn.cost import macs as macs
from taskloom.nn.cross_stitch import CrossStitch as CrossStitch
from taskloom.nn.cut import NoCommonFeature as NoCommonFeature
from taskloom.nn.deferred import Deferred as Deferred
from taskloom.nn.encoders.adapted import Adapted as Adapted
from taskloom.nn.encoders.adapted import from_hugging_face as from_hugging_face
from taskloom.nn.encoders.adapted import from_timm as from_timm
from taskloom.nn.encoders.bilstm import BiLSTM as BiLSTM
from taskloom.nn.encoders.cnn import CNN as CNN
from taskloom.nn.encoders.dry_run import dry_run as dry_run
from taskloom.nn.encoders.feature_tokens import FeatureTokens as FeatureTokens
from taskloom.nn.encoders.mlp import MLP as MLP
from taskloom.nn.encoders.resnet import ResNet as ResNet
from taskloom.nn.encoders.resnet import resnet18 as resnet18
from taskloom.nn.encoders.resnet import resnet34 as resnet34
from taskloom.nn.encoders.resnet import resnet50 as resnet50
from taskloom.nn.encoders.segnet import SegNet as SegNet
from taskloom.nn.encoders.table import FeatureEmbedding as FeatureEmbedding
from taskloom.nn.encoders.table import TableMLP as TableMLP
from taskloom.nn.encoders.transformer import TransformerEncoder as TransformerEncoder
from taskloom.nn.encoders.unet import UNet as UNet
from taskloom.nn.encoders.weights import LoadedWeights as LoadedWeights
from taskloom.nn.encoders.weights import load_weights as load_weights
from taskloom.nn.factorised import CompressionWarning as CompressionWarning
from taskloom.nn.factorised import TensorFactorised as TensorFactorised
from taskloom.nn.factorised_networks import FactorisedNetworks as FactorisedNetworks
from taskloom.nn.fork import fork as fork
from taskloom.nn.fork import gates as gates
from taskloom.nn.gates.base import GateRule as GateRule
from taskloom.nn.gates.dselect_k import DSelectKGate as DSelectKGate
from taskloom.nn.gates.gate import Gate as Gate
from taskloom.nn.gates.mix import mix as mix
from taskloom.nn.gates.softmax import SoftmaxGate as SoftmaxGate
from taskloom.nn.gates.static import StaticGate as StaticGate
from taskloom.nn.gates.top_k import TopKGate as TopKGate
from taskloom.nn.hard import HardSharing as HardSharing
from taskloom.nn.hardsoft import HardSoftMix as HardSoftMix
from taskloom.nn.heads.default import default_head as default_head
from taskloom.nn.heads.dense import DenseHead as DenseHead
from taskloom.nn.heads.pooled import PooledHead as PooledHead
from taskloom.nn.independent import Independent as Independent
from taskloom.nn.layered import LayeredSupervision as LayeredSupervision
from taskloom.nn.lora import LoRA as LoRA
from taskloom.nn.mixing import Mixing as Mixing
from taskloom.nn.mmoe import MMoE as MMoE
from taskloom.nn.mod_squad import ModSquad as ModSquad
from taskloom.nn.model import MultiTaskModel as MultiTaskModel
from taskloom.nn.mtan import MTAN as MTAN
from taskloom.nn.mtinet import MTINet as MTINet
from taskloom.nn.nddr import NDDR as NDDR
from taskloom.nn.omoe import OMoE as OMoE
from taskloom.nn.padnet import PADNet as PADNet
from taskloom.nn.parallel import Parallel as Parallel
from taskloom.nn.partial import PartialSharing as PartialSharing
from taskloom.nn.partition import check_partition as check_partition
from taskloom.nn.partition import reached_by as reached_by
from taskloom.nn.perceiver import PerceiverIO as PerceiverIO
from taskloom.nn.phase import Phase as Phase
from taskloom.nn.ple import PLE as PLE
from taskloom.nn.pooled import Pooled as Pooled
from taskloom.nn.relationship import RelationshipNetwork as RelationshipNetwork
from taskloom.nn.routing import TaskRouting as TaskRouting
from taskloom.nn.sharing_graph import SharingGraph as SharingGraph
from taskloom.nn.sluice import Sluice as Sluice
from taskloom.nn.soft import SoftSharing as SoftSharing
from taskloom.nn.soft_ordering import SoftOrdering as SoftOrdering
from taskloom.nn.split_norm import split_batch_norm as split_batch_norm
from taskloom.nn.thin import spanning_rows as spanning_rows
from taskloom.nn.thin import thin_chain as thin_chain

__all__ = [
    "AdaShare",
    "Adapted",
    "AdaptiveSharing",
    "Attention",
    "BiLSTM",
    "BranchedNetworks",
    "CGC",
    "CNN",
    "Cascade",
    "CompressionWarning",
    "Condition",
    "Conditioned",
    "Cost",
    "CrossStitch",
    "DSelectKGate",
    "Deferred",
    "DenseHead",
    "EmbeddingAdd",
    "EmbeddingConcat",
    "EmbeddingGate",
    "EmbeddingToken",
    "FactorisedNetworks",
    "FeatureEmbedding",
    "FeatureTokens",
    "FiLM",
    "Gate",
    "GateRule",
    "HardSharing",
    "HardSoftMix",
    "ImageAttention",
    "Independent",
    "LayeredSupervision",
    "LearningToBranch",
    "LoRA",
    "LoadedWeights",
    "MLP",
    "MMoE",
    "MTAN",
    "MTINet",
    "Mixing",
    "ModSquad",
    "MultiTaskModel",
    "NDDR",
    "NoCommonFeature",
    "OMoE",
    "OneHotConcat",
    "PADNet",
    "PLE",
    "Parallel",
    "PartialSharing",
    "PerceiverIO",
    "Phase",
    "Pooled",
    "PooledHead",
    "PositionMask",
    "RelationshipNetwork",
    "ResNet",
    "RowAttention",
    "SegNet",
    "SharingGraph",
    "Sluice",
    "SoftOrdering",
    "SoftSharing",
    "SoftmaxGate",
    "StaticGate",
    "SubspaceOrthogonality",
    "TableMLP",
    "TaskRouting",
    "TensorFactorised",
    "TopKGate",
    "TransformerEncoder",
    "UNet",
    "UnknownTask",
    "batched_evaluation",
    "check_partition",
    "default_head",
    "dry_run",
    "error_affinity",
    "factory_of",
    "feature_affinity",
    "fork",
    "from_hugging_face",
    "from_timm",
    "gates",
    "layer_macs",
    "load_weights",
    "macs",
    "mix",
    "reached_by",
    "resnet18",
    "resnet34",
    "resnet50",
    "sharing_table",
    "spanning_rows",
    "split_batch_norm",
    "stages_of",
    "thin_chain",
    "tree_from_affinity",
]
