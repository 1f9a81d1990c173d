# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom.export._view import ExportView as ExportView
from taskloom.export._view import export_view as export_view
from taskloom.export.onnx import export_onnx as export_onnx

__all__ = [
    "ExportView",
    "export_onnx",
    "export_view",
]
