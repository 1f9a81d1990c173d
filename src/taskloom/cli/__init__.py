"""The command line: one command per file, nothing heavy imported before a command runs.

Example:
    >>> from taskloom.cli import main
    >>> callable(main)
    True
"""

from taskloom.cli.app import main

__all__ = ["main"]
