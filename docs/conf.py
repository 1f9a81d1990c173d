"""Settings of the documentation (Sphinx). Built by ``make docs``; warnings are errors."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))
sys.path.insert(0, str(ROOT / "tools"))

import write_stubs  # noqa: E402

import taskloom  # noqa: E402

project = "taskloom"
author = "The taskloom maintainers"
project_copyright = "The taskloom maintainers. Apache License 2.0"
version = release = taskloom.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "gallery/**/*.ipynb", "sg_execution_times.rst"]
suppress_warnings = ["config.cache"]

highlight_language = "none"  # literal blocks are formulas and files; code names its language
maximum_signature_line_length = 90

html_theme = "pydata_sphinx_theme"
html_title = "taskloom"
html_static_path = ["_static"]
html_show_sourcelink = False
html_sidebars = {"*": []}  # pages of the guide have no pages below them
html_theme_options = {
    "navigation_with_keys": True,
    "show_toc_level": 2,
    "header_links_before_dropdown": 4,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
}

# ------------------------------------------------------------------------------------------- reference
autosummary_generate = True
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = [
    ("Equation", "notes_style"),
    ("Cost", "notes_style"),
    ("Distributed", "notes_style"),
    ("Differs from the paper", "notes_style"),
    ("Source", "notes_style"),
]


def write_package_pages() -> None:
    """One page per package with the public names that have no page of their own yet.

    A name that is also a name of ``taskloom`` itself is documented there, once.
    """
    folder = Path(__file__).parent / "api" / "generated"
    folder.mkdir(parents=True, exist_ok=True)
    seen = {id(getattr(taskloom, name)) for name in taskloom.__all__}
    for package in write_stubs.lazy_packages():
        if package == "taskloom":
            continue
        module = importlib.import_module(package)
        names = []
        for name in module.__all__:
            found = getattr(module, name)
            if not inspect.ismodule(found) and id(found) not in seen:
                seen.add(id(found))
                names.append(name)
        title = package.removeprefix("taskloom.")
        lines = [title, "=" * len(title), "", f".. automodule:: {package}", "   :no-members:", "   :no-index:", ""]
        if names:
            lines += [f".. currentmodule:: {package}", "", ".. autosummary::", "   :toctree: .", ""]
            lines += [f"   {name}" for name in names]
        page = folder / f"package.{package}.rst"
        text = "\n".join(lines) + "\n"
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


write_package_pages()


def show_formulas(_app: object, _what: str, _name: str, _found: object, _options: object, lines: list[str]) -> None:
    """Show formulas as they are written.

    An indented paragraph of the prose (before the sections) is a formula: it becomes a literal block. Elsewhere a bar
    is an absolute value, which reStructuredText would read as a substitution.
    """
    shown: list[str] = []
    before, literal_indent, is_example = "", None, False
    for position, line in enumerate(lines):
        text, indent = line.strip(), len(line) - len(line.lstrip())
        if not text:
            is_example = False
            shown.append(line)
            continue
        if literal_indent is not None and indent < literal_indent:
            literal_indent = None
        is_example = is_example or text.startswith(">>>")
        if literal_indent is None and not is_example:
            is_prose_before = before and before == before.lstrip() and not before.startswith(("- ", "* "))
            if before.endswith("::"):
                literal_indent = indent
            elif indent and is_prose_before and not lines[position - 1].strip():
                shown += ["::", ""]
                literal_indent = indent
        if literal_indent is None and not is_example:
            parts = re.split(r"(``.*?``)", line)
            line = "".join(part if part.startswith("``") else part.replace("|", r"\|") for part in parts)
        shown.append(line)
        before = line
    lines[:] = shown


def leave_out_requests(
    _app: object, _what: str, name: str, _found: object, _skip: bool, _options: object
) -> bool | None:
    """Leave out what scikit-learn gives every estimator (``set_fit_request``, ...): its documentation has them."""
    return True if re.fullmatch(r"set_\w+_request", name) else None


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-skip-member", leave_out_requests)
    app.connect("autodoc-process-docstring", show_formulas, priority=400)  # before napoleon makes fields of sections


# --------------------------------------------------------------------------------------------- gallery
warnings.filterwarnings("ignore", category=UserWarning, module=r"lightning|pytorch_lightning|torch")
sphinx_gallery_conf = {
    "examples_dirs": str(ROOT / "examples"),
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "ignore_pattern": r"(^|/)_|/data/",
    "download_all_examples": False,
    "abort_on_example_error": True,
    "only_warn_on_example_error": False,
    "remove_config_comments": True,
    "min_reported_time": 1,
    "show_memory": False,
    "write_computation_times": False,
}
