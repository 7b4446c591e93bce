"""How the documentation is built: `sphinx-build -W -n -b html docs docs/_build/html`."""

from __future__ import annotations

import builtins
import pydoc
import sys
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

sys.path.insert(0, str(Path(__file__).parents[1]))

import loom

project = "Loom"
author = "the Loom authors"
copyright = f"2026, {author}"
release = version = loom.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"Loom {release}"
html_theme_options = {"source_edit_link": ""}

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "show-inheritance": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = ["Units", "Cost", "Source"]

python_use_unqualified_type_names = True

PYMONGO = "https://pymongo.readthedocs.io/en/stable/api"
PYTHON = "https://docs.python.org/3/library"
BLINKER = "https://blinker.readthedocs.io/en/stable"


def find_elsewhere(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.reference | None:
    """Link a name of Python, PyMongo or Blinker by the rule of its documentation.

    This stands in for inventories, so that a build needs no network. A name that cannot be imported
    is left to Sphinx, which warns.
    """
    name = node["reftarget"]
    if node.get("refdomain") != "py" or pydoc.locate(name) is None:
        return None
    root = name.partition(".")[0]
    if root in {"pymongo", "bson", "gridfs"}:
        address = f"{PYMONGO}/{module_of(name).replace('.', '/')}.html#{name}"
    elif root == "blinker":
        address = f"{BLINKER}/#{name}"
    elif root in sys.stdlib_module_names:
        address = f"{PYTHON}/{module_of(name)}.html#{name}"
    elif hasattr(builtins, name):
        address = f"{PYTHON}/{builtin_page(getattr(builtins, name))}.html#{name}"
    else:
        return None
    return nodes.reference("", "", content, internal=False, refuri=address)


def module_of(name: str) -> str:
    """Return the longest part of a dotted name that is a module."""
    module = name
    while "." in module and not isinstance(pydoc.locate(module), type(sys)):
        module = module.rpartition(".")[0]
    return module


def builtin_page(value: object) -> str:
    if isinstance(value, type):
        return "exceptions" if issubclass(value, BaseException) else "stdtypes"
    return "constants" if value in (None, True, False, NotImplemented, Ellipsis) else "functions"


def setup(app: Sphinx) -> None:
    app.connect("missing-reference", find_elsewhere)
