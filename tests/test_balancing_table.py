"""The table of methods in the guide has every balancer, and says of each what it needs and costs."""

from __future__ import annotations

import re
import typing
from pathlib import Path

import pytest

import taskloom as tl
from taskloom.balance.base import Balancer
from taskloom.balance.flow import Need

PAGE = Path(__file__).parents[1] / "docs" / "balancing.rst"
ARGUMENTS = {"fixed": [{"a": 1.0, "b": 2.0, "c": 3.0}], "aux_cosine": ["a"]}
SETTINGS = {"auto_lambda": {"primary": "a", "inner_lr": 1e-3}}
AROUND_OTHERS = {"chain", "every", "warm_up", "smoothed", "only", "at_features", "blockwise", "from_torchjd"}


def rows() -> dict[str, dict[str, str]]:
    """Name of a method -> column -> text, from the list-table that begins with "method"."""
    text = PAGE.read_text(encoding="utf-8")
    body = text[text.index("   * - method\n") :].split("\n\n")[0]
    cells = [[cell.strip() for cell in row.split("\n     - ")] for row in re.split(r"(?:^|\n)   \* - ", body)[1:]]
    heads, *lines = cells
    assert all(len(line) == len(heads) for line in lines)
    named = {re.fullmatch(r"``tl\.(\w+)\(.*\)``", line[0])[1]: dict(zip(heads, line, strict=True)) for line in lines}
    assert len(named) == len(lines)
    return named


ROWS = rows()


def test_every_balancer_is_in_the_table():
    made = {name for name in dir(tl) if returns_a_balancer(getattr(tl, name))}
    assert set(ROWS) == made - AROUND_OTHERS


def returns_a_balancer(found: object) -> bool:
    if not callable(found) or isinstance(found, type) or not hasattr(found, "__annotations__"):
        return False
    return typing.get_type_hints(found).get("return") is Balancer


@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_row_says_what_the_balancer_needs(name):
    row = ROWS[name]
    balancer = getattr(tl, name)(*ARGUMENTS.get(name, []), **SETTINGS.get(name, {}))
    balancer.bind([tl.Task(name=task, kind=tl.Regression()) for task in "abc"])
    needs = row["needs"]
    looks_at_gradients = balancer.needs & (Need.ROWS | Need.CROSS)
    says = {
        "losses": bool(balancer.needs & Need.LOSSES),
        "Gramian": bool(balancer.needs & Need.GRAMIAN),
        "last shared layer": bool(balancer.needs & Need.LAST_LAYER),
        "gradients": bool(looks_at_gradients or balancer.needs & Need.LAST_LAYER),
        "batches": balancer.n_batches > 1 or name == "sdmgrad",
        "random numbers": any(link.draw_shape(3) for link in balancer) or name == "graddrop",
        "own parameters": bool(balancer.parameter_groups()),
        "memory": balancer.remembers,
        "features": balancer.looks_at_features,
        "before and after": balancer.observes,
    }
    assert {word for word, is_so in says.items() if is_so} == {word for word in says if word in needs}
    costs_passes = bool(balancer.needs & ~(Need.LOSSES | Need.NOTHING)) and not balancer.looks_at_features
    assert ("K passes" in row["cost"]) == costs_passes
    assert ("2 K rows" in row["cost"]) == (bool(balancer.needs & Need.ROWS) and balancer.remembers)
    if "losses" in needs or needs in ("–", "random numbers"):
        assert (row["cost"] == "none") == (not costs_passes and not balancer.observes)
