"""Task gradients inside frameworks that guard their backward pass.

Fabric puts a hook on the outputs of a module that raises when gradients flow outside ``fabric.backward``, to catch a
forgotten call. Measuring task gradients is no training pass and the call follows, so the guard is told to wait. The
framework is not imported for this: if it is not loaded there is no guard.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["measuring"]

_GUARDS = (("lightning.fabric.wrappers", "_in_fabric_backward"), ("lightning_fabric.wrappers", "_in_fabric_backward"))


@contextmanager
def measuring() -> Iterator[None]:
    """While inside, gradients may flow through the outputs of guarded modules."""
    before = [
        (module, flag, getattr(module, flag))
        for name, flag in _GUARDS
        if (module := sys.modules.get(name)) is not None and hasattr(module, flag)
    ]
    for module, flag, _ in before:
        setattr(module, flag, True)
    try:
        yield
    finally:
        for module, flag, value in before:
            setattr(module, flag, value)
