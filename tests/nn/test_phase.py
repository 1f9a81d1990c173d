from __future__ import annotations

import pytest

from taskloom.errors import TaskError
from taskloom.nn import Phase


def test_defaults_train_everything() -> None:
    phase = Phase(name="train")
    assert phase.train == ("shared", "task", "structure")
    assert (phase.steps, phase.epochs, phase.penalties, phase.split) == (None, None, "all", "train")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 3, "epochs": 2}, "steps or epochs, not both"),
        ({"steps": 0}, "1 or more"),
        ({"train": ("shared", "heads")}, r"unknown parameter groups \['heads'\]"),
    ],
)
def test_checks(settings: dict[str, object], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        Phase(name="warmup", **settings)  # type: ignore[arg-type]
