"""Write the ``__init__.pyi`` beside every package ``__init__`` that loads its names lazily.

Type checkers and editors cannot see names that are looked up when they are used; the stub says where they live.
``python tools/write_stubs.py`` writes the stubs, ``--check`` only says which are stale.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"
HEADER = "# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.\n\n"


def lazy_packages() -> dict[str, Path]:
    """Name and ``__init__.py`` of every package of taskloom that uses lazy names."""
    files = sorted((SOURCE / "taskloom").rglob("__init__.py"))
    return {
        ".".join(file.parent.relative_to(SOURCE).parts): file
        for file in files
        if "attach(" in file.read_text(encoding="utf-8")
    }


def stub(package: str) -> str:
    """Text of the stub of one package."""
    module = importlib.import_module(package)
    names: dict[str, str] = module.__dict__["__lazy_names__"]
    modules: tuple[str, ...] = module.__dict__["__lazy_modules__"]
    lines = [f"from {package}.{place} import {name} as {name}\n" for name, place in names.items()]
    lines += [f"from {package} import {name} as {name}\n" for name in modules]
    lines.sort(key=lambda line: line.split()[1:4])
    exported = "".join(f'    "{name}",\n' for name in module.__all__)
    version = "\n__version__: str\n" if "__version__" in module.__dict__ else ""
    return f"{HEADER}{''.join(lines)}{version}\n__all__ = [\n{exported}]\n"


def main(arguments: list[str]) -> int:
    """Write the stubs, or with ``--check`` return 1 if one is stale."""
    sys.path.insert(0, str(SOURCE))
    stale = []
    for package, file in lazy_packages().items():
        target, text = file.with_suffix(".pyi"), stub(package)
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            stale.append(package)
            if "--check" not in arguments:
                target.write_text(text, encoding="utf-8")
    print(f"stale: {stale}" if stale else "stubs agree with the packages")
    return int(bool(stale) and "--check" in arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
