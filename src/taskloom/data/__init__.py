"""Data of several tasks: tables, arrays, splits, preparation for networks, and generated problems."""

from taskloom._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Batch": "batch",
        "Column": "_columns",
        "FixedSplit": "split",
        "GroupedSplit": "split",
        "LabelledRows": "_listing",
        "LeakWarning": "_checks",
        "Listing": "_listing",
        "MultiTaskData": "multitask",
        "Preparation": "prepare",
        "RandomSplit": "split",
        "RowOrder": "order",
        "Schema": "_schema",
        "Split": "split",
        "Splitter": "split",
        "TaskTensors": "tensors",
        "TimeSplit": "split",
        "default_split": "split",
        "is_labelled": "mask",
        "read_features": "table",
        "read_table": "table",
    },
    modules=["problems"],
)
