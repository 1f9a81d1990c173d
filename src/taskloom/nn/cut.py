"""The error for asking feature-level gradients of a model that has no cut."""

from taskloom.errors import NoCommonFeature

__all__ = ["NoCommonFeature"]
