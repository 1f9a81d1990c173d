"""The report of a comparison: one HTML file for people, tables for the terminal. Reads ``Results`` and nothing else."""

from taskloom._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, {"console_summary": "text", "write_report": "html"})
