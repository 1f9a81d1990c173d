# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom.report.html import write_report as write_report
from taskloom.report.text import console_summary as console_summary

__all__ = [
    "console_summary",
    "write_report",
]
