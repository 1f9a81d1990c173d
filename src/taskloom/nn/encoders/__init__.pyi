# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

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

__all__ = [
    "Adapted",
    "BiLSTM",
    "CNN",
    "FeatureEmbedding",
    "FeatureTokens",
    "LoadedWeights",
    "MLP",
    "ResNet",
    "SegNet",
    "TableMLP",
    "TransformerEncoder",
    "UNet",
    "dry_run",
    "from_hugging_face",
    "from_timm",
    "load_weights",
    "resnet18",
    "resnet34",
    "resnet50",
]
