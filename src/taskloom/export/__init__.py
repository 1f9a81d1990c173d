"""Trained networks as plain modules and files for use elsewhere."""

from taskloom._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "ExportView": "_view",
        "export_onnx": "onnx",
        "export_view": "_view",
    },
)
