"""Risks of task data under the squared and the logistic loss."""

from __future__ import annotations

from taskloom.regularised.data import TaskData

__all__ = ["TaskData"]
