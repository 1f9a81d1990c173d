"""Candidates with generated weights: what a comparison says of factors that are larger than the weights."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

import taskloom as tl
from taskloom.nn import MLP, CompressionWarning, FactorisedNetworks
from taskloom.nn.factors import LAF
from taskloom.study import load_model
from taskloom.study.architectures import architectures


@pytest.fixture(scope="module")
def unrelated() -> tl.MultiTaskData:
    """Two tasks that have nothing in common, so that two common weights are found, and numbers on top of them."""
    random = np.random.default_rng(0)
    x = random.normal(size=(90, 4))
    y = {"first": x[:, 0] + 0.1 * random.normal(size=90), "second": x[:, 1] * x[:, 2]}
    return tl.MultiTaskData.from_arrays(x, y, tasks=[tl.Task(name=name, kind=tl.Regression()) for name in y])


def test_a_comparison_shows_the_size_of_factors_and_does_not_warn(unrelated: tl.MultiTaskData, tmp_path: Path) -> None:
    chosen = [one for one in architectures() if one.name == "factorised_trained"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = tl.compare(
            unrelated, candidates=chosen, seeds=2, budget=1, out=tmp_path / "run", progress=False, workers=1
        )
        (network,) = load_model(tmp_path / "run", candidate="factorised_trained").networks
    assert not [warning for warning in caught if issubclass(warning.category, CompressionWarning)]
    shown = results.settings["networks"]["factorised_trained"]["learned"]["compression"]
    assert shown == pytest.approx(network.compression(), abs=1e-6)
    assert shown > 1


def test_a_training_by_hand_warns_once(unrelated: tl.MultiTaskData) -> None:
    model = FactorisedNetworks(lambda: MLP(4, (3,)), unrelated.tasks, factorisation=LAF(rank=2), single_epochs=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tl.fit(model, unrelated, schedule=tl.Schedule(max_epochs=1))
    assert sum(issubclass(warning.category, CompressionWarning) for warning in caught) == 1
