"""Encoders: plain modules that turn inputs into features.

Each says the width of its features (``out_features``) and can be cut into stages: the children of those that are an
``nn.Sequential``, else ``stages()``. ``pairs()``, where it exists, splits each stage in two, for architectures that
look inside a stage.
"""

from taskloom._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Adapted": "adapted",
        "BiLSTM": "bilstm",
        "CNN": "cnn",
        "FeatureEmbedding": "table",
        "FeatureTokens": "feature_tokens",
        "LoadedWeights": "weights",
        "MLP": "mlp",
        "ResNet": "resnet",
        "SegNet": "segnet",
        "TableMLP": "table",
        "TransformerEncoder": "transformer",
        "UNet": "unet",
        "dry_run": "dry_run",
        "from_hugging_face": "adapted",
        "from_timm": "adapted",
        "load_weights": "weights",
        "resnet18": "resnet",
        "resnet34": "resnet",
        "resnet50": "resnet",
    },
)
