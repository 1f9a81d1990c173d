"""How exact the gradients behind a Gramian are, which the Gramian itself, always float64, does not tell."""

from __future__ import annotations

import torch

from taskloom.balance.flow import Signals

__all__ = ["rounding"]


def rounding(signals: Signals) -> float:
    """Relative rounding error of the task gradients: eps of the coarsest dtype among what was measured.

    The dtypes of the gradients if they are at hand, else those of the losses and of the Gramian as it was given. Losses
    have the dtype of the gradients except where they are computed in a wider one than the parameters; pass rows then.
    """
    given = [signals.losses]
    if signals.rows is not None:
        given = list(signals.rows)
    elif signals.gramian is not None:
        given.append(signals.gramian)
    return max(torch.finfo(one.dtype).eps for one in given if one.is_floating_point())
