"""Train one candidate as its configuration says, and store it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskloom.cli._config import FitConfig

__all__ = ["run"]


def run(settings: FitConfig, *, quiet: bool = False) -> None:
    """Read the table, show it, train the candidate, and store model and settings.

    Raises:
        TaskloomError: the data, the settings or the folder cannot be used.
    """
    raise NotImplementedError
