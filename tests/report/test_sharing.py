"""Who shares what: parts against tasks, costs, gates and correlations, for the networks that were described."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

import taskloom as tl
from taskloom.nn import (
    MLP,
    CompressionWarning,
    HardSharing,
    MMoE,
    RelationshipNetwork,
    SharingGraph,
    SoftOrdering,
    TensorFactorised,
)
from taskloom.nn.factors import LAF
from taskloom.report.html import page
from taskloom.report.reading import read
from taskloom.report.sections.sharing import sharing
from taskloom.report.words import number
from taskloom.study.description import describe_network


@pytest.fixture
def results(make_results: Any) -> Any:
    made = make_results()
    tasks = [tl.Task(name=entry["name"], kind=tl.Regression()) for entry in made.settings["tasks"]]
    torch.manual_seed(0)
    models = {
        "single_task": HardSharing(MLP(4, (8,)), tasks),
        "hard_sharing": HardSharing(MLP(4, (5,)), tasks),
        "pooled": MMoE(lambda: MLP(4, (5,)), tasks, n_experts=2),
        "soft_sharing": RelationshipNetwork(MLP(4, (5,)), tasks, tower=lambda: MLP(5, (3,))),
    }
    models["pooled"].train()(torch.randn(6, 4))  # gates remember the rows they saw
    networks = {name: describe_network(model, torch.randn(8, 4)) for name, model in models.items()}
    return dataclasses.replace(made, settings={**made.settings, "networks": networks})


def test_every_described_network_is_drawn(results: Any) -> None:
    written = str(sharing(read(results), results.settings))
    assert written.count("<details") == 3  # the reference is what the others are compared with
    assert written.count("Parts and the tasks that use them") == 2 * 3  # caption and label
    assert "How tasks weigh the experts" in written
    assert "Correlation of the tasks" in written
    n_tasks = len(results.settings["tasks"])
    hard = results.settings["networks"]["hard_sharing"]
    assert sum(len(part["tasks"]) for part in hard["parts"]) == 2 * n_tasks
    assert f"{20 + 5 * n_tasks} for all tasks" in written


def test_factors_that_are_larger_than_the_weights_are_shown(results: Any) -> None:
    tasks = [tl.Task(name=entry["name"], kind=tl.Regression()) for entry in results.settings["tasks"]]
    with pytest.warns(CompressionWarning):
        model = TensorFactorised(lambda: MLP(4, (5,)), tasks, factorisation=LAF(rank=100))
    described = describe_network(model, torch.randn(8, 4))
    ratio = (20 * len(tasks) + len(tasks) ** 2) / (20 * len(tasks))
    results.settings["networks"]["pooled"] = described
    written = str(sharing(read(results), results.settings))
    assert written.count("times the weights that they generate") == 1
    assert f"{number(ratio, 2)} times the weights" in written


def test_names_of_tasks_are_text(results: Any) -> None:
    assert "<script>alert" not in str(sharing(read(results), results.settings))


def test_the_section_is_part_of_the_page(results: Any, make_results: Any) -> None:
    assert 'id="sharing"' in page(results)
    assert 'href="#sharing"' in page(results)
    plain = make_results()
    assert sharing(read(plain), plain.settings) is None
    assert 'id="sharing"' not in page(plain)


def test_learned_mixtures_and_edges_are_drawn(results: Any) -> None:
    tasks = [tl.Task(name=entry["name"], kind=tl.Regression()) for entry in results.settings["tasks"]]
    models = {
        "pooled": SoftOrdering(lambda: nn.Linear(5, 5), tasks, n_layers=2, stem=MLP(4, (5,))),
        "soft_sharing": SharingGraph([lambda: MLP(4, (5,)), lambda: MLP(5, (3,)), lambda: MLP(3, (3,))], tasks),
    }
    networks = {name: describe_network(model, torch.randn(8, 4)) for name, model in models.items()}
    written = str(sharing(read(results), {**results.settings, "networks": networks}))
    assert written.count("<caption>Which layer") == len(tasks)
    assert "depth 2" in written
    assert written.count("<caption>What reads which node of depth 1") == 1
    assert written.count("<caption>What reads which node of depth 3") == 1
    assert "0.50" in written
