"""The loss of a kind, and how a new kind joins."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from taskloom.errors import TaskError
from taskloom.losses import AbsoluteError, BinaryCrossEntropy, CrossEntropy, Loss, SquaredError, default_loss
from taskloom.task import Binary, Kind, Multiclass, Regression


@pytest.mark.parametrize(
    ("kind", "loss"),
    [(Regression(), SquaredError()), (Binary(), BinaryCrossEntropy()), (Multiclass(7), CrossEntropy())],
)
def test_every_kind_has_a_loss(kind: Kind, loss: Loss) -> None:
    assert default_loss(kind) == loss


def test_a_kind_without_a_loss_is_named() -> None:
    @dataclass(frozen=True)
    class Survival(Kind):
        pass

    with pytest.raises(TaskError, match=r"Survival.*default_loss\.register\(Survival"):
        default_loss(Survival())


def test_a_new_kind_registers_its_loss_and_a_subclass_inherits_it() -> None:
    @dataclass(frozen=True)
    class Duration(Kind):
        pass

    @dataclass(frozen=True)
    class LongDuration(Duration):
        pass

    default_loss.register(Duration, lambda kind: AbsoluteError())
    assert default_loss(LongDuration()) == AbsoluteError()
