"""What a trained network is, in plain data: who shares which part, what a prediction costs, what its gates chose."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from taskloom.nn.cost import macs
from taskloom.nn.model import MultiTaskModel
from taskloom.nn.partition import reached_by

__all__ = ["describe_network", "describe_networks", "part_in_words", "shared_parts"]

_MOST_TASKS = 24  # beyond, who shares what is neither quick to find nor possible to draw
_LEARNED = (
    "gates",
    "mixing",
    "task_correlation",
    "table",
    "blocks",
    "select",
    "edges",
    "mixture",
    "overlap",
    "ranks",
    "compression",
)


def describe_network(model: MultiTaskModel, example: Tensor) -> dict[str, Any]:
    """Describe a trained network.

    Args:
        model: the network.
        example: some rows of inputs, (n, ...).

    Returns:
        JSON-able: ``parameters`` (total, shared, per task on its path and of its own), ``macs`` of one row (all tasks
        together, each task alone, and the largest not counted), ``parts`` (see :func:`shared_parts`; None with many
        tasks), and ``learned``, what ``model.describe()`` says of a learned structure.

    Example:
        >>> import taskloom as tl
        >>> tasks = [tl.Task(name="a", kind=tl.Regression()), tl.Task(name="b", kind=tl.Regression())]
        >>> described = describe_network(tl.HardSharing(tl.MLP(3, hidden=(4,)), tasks), torch.randn(5, 3))
        >>> described["macs"]["joint"], [(part["name"], part["tasks"]) for part in described["parts"]]
        (20, [('encoder', ['a', 'b']), ('head of a', ['a']), ('head of b', ['b'])])
    """
    model = model.eval()
    said = _said(model, example)
    row = example[:1]
    with torch.no_grad():
        joint = macs(model, row)
        alone = {task: macs(model.path(task).eval(), row).macs for task in model.tasks}
    few = len(model.tasks) <= _MOST_TASKS
    return {
        "architecture": said["architecture"],
        "parameters": {name: said[name] for name in ("total", "shared", "task", "path")},
        "macs": {"joint": joint.macs, "tasks": alone, "not_counted": list(joint.not_counted)},
        "parts": shared_parts(model, example) if few else None,
        "learned": {name: _plain(said[name]) for name in _LEARNED if said.get(name) is not None} if few else {},
    }


def _said(model: MultiTaskModel, example: Tensor) -> dict[str, Any]:
    """What a model says of itself, after its gates have seen the rows: they remember what they saw in training."""
    said = model.describe()
    if "gates" not in said:
        return said
    seeing = copy.deepcopy(model).train()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # of noisy gates
        seeing(example)
    return seeing.eval().describe()


def describe_networks(networks: Sequence[MultiTaskModel], example: Tensor) -> dict[str, Any]:
    """Describe what a candidate has learned: one network, or several that each answer some of the tasks."""
    if len(networks) == 1:
        return describe_network(networks[0], example)
    found = [describe_network(network, example) for network in networks]
    own = {task: n for one in found for task, n in one["parameters"]["path"].items()}
    return {
        "architecture": f"{len(networks)} networks",
        "parameters": {
            "total": sum(one["parameters"]["total"] for one in found),
            "shared": 0,
            "task": own,
            "path": own,
        },
        "macs": {
            "joint": sum(one["macs"]["joint"] for one in found),
            "tasks": {task: n for one in found for task, n in one["macs"]["tasks"].items()},
            "not_counted": sorted({name for one in found for name in one["macs"]["not_counted"]}),
        },
        "parts": None,
        "learned": {},
    }


def shared_parts(model: MultiTaskModel, example: Tensor) -> list[dict[str, Any]]:
    """Who shares what: the largest parts of a network whose parameters are all reached by the same tasks.

    Args:
        model: the network.
        example: some rows of inputs.

    Returns:
        one entry per part, in the order of the network: its name, its number of parameters, its tasks.
    """
    reached = reached_by(copy.deepcopy(model).double(), example[:8].double(), samples=3)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    rows = _collapsed("", {tuple(name.split(".")): frozenset(tasks) for name, tasks in reached.items()}, sizes)
    order = {task: place for place, task in enumerate(model.tasks)}
    return [
        {"name": part_in_words(name, model.tasks), "parameters": size, "tasks": sorted(tasks, key=order.__getitem__)}
        for name, size, tasks in rows
        if size
    ]


def _collapsed(
    prefix: str, reached: Mapping[tuple[str, ...], frozenset[str]], sizes: Mapping[str, int]
) -> list[tuple[str, int, frozenset[str]]]:
    """One row for a part that is reached alike throughout, else the rows of what it consists of."""
    if len(set(reached.values())) == 1 and (prefix or len(reached) == 1):
        names = [".".join(filter(None, [prefix, *rest])) for rest in reached]
        return [(prefix, sum(sizes[name] for name in names), next(iter(reached.values())))]
    children: dict[str, dict[tuple[str, ...], frozenset[str]]] = {}
    for (first, *rest), tasks in reached.items():
        children.setdefault(first, {})[tuple(rest)] = tasks
    return [
        row
        for first, below in children.items()
        for row in _collapsed(".".join(filter(None, [prefix, first])), below, sizes)
    ]


def part_in_words(name: str, tasks: Sequence[str]) -> str:
    """A parameter's or module's path in words.

    Args:
        name: the path.
        tasks: names of the tasks, which heads are called by.

    Example:
        >>> part_in_words("levels.levels.0.experts.2", ["a"])
        'level 1, expert 3'
    """
    first, *rest = name.split(".")
    if first == "heads" and rest and rest[0].isdigit() and int(rest[0]) < len(tasks):
        return f"head of {tasks[int(rest[0])]}"
    words: list[str] = []
    for part in [first, *rest]:
        if not part.isdigit():
            words += [] if words and words[-1] == part else [part]
        elif not words:
            words.append(f"part {int(part) + 1}")
        elif words[-1][-1].isdigit():
            words[-1] += f".{int(part) + 1}"
        else:
            words[-1] = f"{_singular(words[-1])} {int(part) + 1}"
    return ", ".join(words).replace("_", " ")


def _singular(word: str) -> str:
    if word.endswith(("ches", "xes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _plain(value: Any) -> Any:
    """Plain data with text keys and rounded numbers."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return round(value, 6) if isinstance(value, float) else value
