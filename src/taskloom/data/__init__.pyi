# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom.data import problems as problems
from taskloom.data._checks import LeakWarning as LeakWarning
from taskloom.data._columns import Column as Column
from taskloom.data._listing import LabelledRows as LabelledRows
from taskloom.data._listing import Listing as Listing
from taskloom.data._schema import Schema as Schema
from taskloom.data.batch import Batch as Batch
from taskloom.data.mask import is_labelled as is_labelled
from taskloom.data.multitask import MultiTaskData as MultiTaskData
from taskloom.data.order import RowOrder as RowOrder
from taskloom.data.prepare import Preparation as Preparation
from taskloom.data.split import FixedSplit as FixedSplit
from taskloom.data.split import GroupedSplit as GroupedSplit
from taskloom.data.split import RandomSplit as RandomSplit
from taskloom.data.split import Split as Split
from taskloom.data.split import Splitter as Splitter
from taskloom.data.split import TimeSplit as TimeSplit
from taskloom.data.split import default_split as default_split
from taskloom.data.table import read_features as read_features
from taskloom.data.table import read_table as read_table
from taskloom.data.tensors import TaskTensors as TaskTensors

__all__ = [
    "Batch",
    "Column",
    "FixedSplit",
    "GroupedSplit",
    "LabelledRows",
    "LeakWarning",
    "Listing",
    "MultiTaskData",
    "Preparation",
    "RandomSplit",
    "RowOrder",
    "Schema",
    "Split",
    "Splitter",
    "TaskTensors",
    "TimeSplit",
    "default_split",
    "is_labelled",
    "problems",
    "read_features",
    "read_table",
]
