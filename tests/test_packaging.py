"""What ``make setup`` installs is pinned, satisfiable and free of machine-specific builds."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[A-Za-z0-9.]+)")


def pins() -> dict[str, Version]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    matches = [PIN.fullmatch(line) for line in lines]
    assert all(matches), [line for line, match in zip(lines, matches, strict=True) if match is None]
    return {canonicalize_name(match["name"]): Version(match["version"]) for match in matches if match}


@pytest.mark.parametrize("wanted", [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]])
def test_everything_that_setup_installs_is_pinned(wanted: str) -> None:
    requirement = Requirement(wanted)
    assert pins()[canonicalize_name(requirement.name)] in requirement.specifier


def imported_packages() -> set[str]:
    """Top-level names of everything that the source imports, wherever in a file."""
    found = set()
    for file in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    belongs_to_pydantic = {"pydantic_core"}
    return found - set(sys.stdlib_module_names) - belongs_to_pydantic - {"taskloom"}


def test_what_is_imported_is_declared() -> None:
    """A package that another one happens to bring may be gone with its next version."""
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    declared = {canonicalize_name(Requirement(line).name) for group in groups for line in group}
    distributions = packages_distributions()
    undeclared = {
        name
        for name in imported_packages()
        if not {canonicalize_name(distribution) for distribution in distributions.get(name, [name])} & declared
    }
    assert not undeclared


def test_pytorch_is_pinned_without_a_local_build() -> None:
    assert str(pins()["torch"]) == "2.13.0"


@pytest.mark.parametrize("malicious", ["2.6.2", "2.6.3"])
def test_malicious_uploads_are_excluded(malicious: str) -> None:
    lightning = next(Requirement(line) for line in PROJECT["dependencies"] if line.startswith("lightning"))
    assert malicious not in lightning.specifier


def test_the_command_is_installed() -> None:
    assert PROJECT["scripts"] == {"taskloom": "taskloom.cli:main"}


def test_the_license_is_the_whole_text() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
