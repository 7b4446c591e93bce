"""How the documentation is built: `sphinx-build -W -n -b html docs docs/_build/html`."""

from __future__ import annotations

import builtins
import importlib
import pydoc
import sys
from pathlib import Path
from typing import Any, TypeVar

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

import pictures

import loom

project = "Loom"
author = "the Loom authors"
copyright = f"2026, {author}"
release = version = loom.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
default_role = "code"

html_theme = "furo"
html_title = f"Loom {release}"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = ["Shape", "Units", "Source"]
python_use_unqualified_type_names = True

# Modules whose public names must all be in the reference.
PUBLIC = (
    "loom",
    "loom.aio",
    "loom.errors",
    "loom.frames",
    "loom.frames.arrow",
    "loom.frames.time",
)

# What signatures show that has no entry of its own, and the entry that tells about it.
ENTRIES = {
    "Self": "typing.Self",
    "Filter": "loom.frames.conditions.Filter",
    "Projection": "loom.frames.projections.Projection",
    "Changes": "loom.frames.updates.Changes",
    "operations.Progress": "loom.frames.operations.matching.Progress",
    "Aio": "loom.frames.aio.AwaitedClass",
    "AwaitedBulk": "loom.frames.bulk.AwaitedBulk",
    "Datetimes": "loom.Frame.to_json_type",
    "Document": "loom.Frame",
    "F": "loom.frames.aio.F",
    "loom.frames.port.Port": "loom.Frame",
    "AnyClient": "loom.Connection",
    "ReadConcern": "pymongo.read_concern.ReadConcern",
    "ReadPreference": "pymongo.read_preferences.ReadPreference",
    "WriteConcern": "pymongo.write_concern.WriteConcern",
    "T": "loom.transactions.T",
    "_T": "loom.aio._T",
    "loom.frames.aio.Aio": "loom.frames.aio.AwaitedClass",
    "loom.frames.conditions.Field": "loom.frames.queries.Path",
    "Field": "loom.frames.queries.Path",
    "Normalization": "loom.AggregationStages.score_fusion",
    "Sort": "loom.frames.sorts.Sort",
    "Stages": "loom.frames.pipelines.Stages",
    "loom.frames.pipelines.Pipeline": "loom.AggregationStages",
    "loom.frames.steps.Step": "loom.frames.directives.Directive",
    "Columns": "loom.frames.arrow.batches",
    "Ids": "loom.frames.arrow.batches",
    "OnMismatch": "loom.frames.arrow.batches",
    "OnError": "loom.frames.arrow.insert_table",
    "Nulls": "loom.frames.arrow.insert_table",
    "Finer": "loom.frames.arrow.insert_table",
    "Pipeline": "loom.frames.arrow.batches",
    "ReadOptions": "loom.frames.arrow.batches",
    "Source": "loom.frames.arrow.batches",
    "Types": "loom.frames.arrow.batches",
    "Zone": "loom.frames.arrow.batches",
    "loom.frames.arrow.reading.Reading": "loom.frames.arrow.batches",
    "Size": "loom.frames.time.windows.spans.Size",
    "Versions": "loom.frames.time.windows.versions.Versions",
    "V": "loom.frames.time.windows.views.V",
    "Of": "loom.frames.time.known.Of",
}
nitpick_ignore = [
    ("py:class", "Bar"),  # made by each() itself
    ("py:class", "loom.frames.document.Document"),  # the private base of Frame and SubFrame
    ("py:class", "Operation"),  # words, told in the text of BulkResult
    ("py:class", "State"),
    ("py:class", "np.ndarray"),  # by the names under which everybody knows them
    ("py:class", "pd.DataFrame"),
    ("py:class", "pl.DataFrame"),
]

PYMONGO = "https://pymongo.readthedocs.io/en/stable/api"
PYTHON = "https://docs.python.org/3/library"
BLINKER = "https://blinker.readthedocs.io/en/stable"


def find_elsewhere(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.Element | None:
    """Link what is documented under another name, or by Python, PyMongo or Blinker.

    The rules of their addresses stand in for inventories, so that a build needs no network. A name
    that cannot be imported is left to Sphinx, which warns.
    """
    name = ENTRIES.get(node["reftarget"], node["reftarget"])
    value = pydoc.locate(name)
    if node.get("refdomain") != "py" or (value is None and name != "typing.Self"):
        return None  # Python 3.10 has no Self, but its documentation does
    if isinstance(value, TypeVar):
        return content
    root = name.partition(".")[0]
    if root == "loom":
        return link_to(documented(env, value) or name, app, env, node, content)
    if root in {"pymongo", "bson", "gridfs"}:
        address = f"{PYMONGO}/{module_of(name).replace('.', '/')}.html#{name}"
    elif root == "blinker":
        address = f"{BLINKER}/#{name}"
    elif root in sys.stdlib_module_names:
        address = f"{PYTHON}/{module_of(name)}.html#{name}"
    elif hasattr(builtins, name):
        address = f"{PYTHON}/{builtin_page(value)}.html#{name}"
    else:
        return None
    return nodes.reference("", "", content, internal=False, refuri=address)


def link_to(
    name: str, app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.Element | None:
    domain = env.domains.python_domain
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", name, node, content)


def documented(env: BuildEnvironment, value: object) -> str | None:
    """Return the name under which the reference shows an object."""
    return next((n for n in env.domains.python_domain.objects if pydoc.locate(n) is value), None)


def module_of(name: str) -> str:
    """Return the longest part of a dotted name that is a module."""
    module = name
    while "." in module and not isinstance(pydoc.locate(module), type(sys)):
        module = module.rpartition(".")[0]
    return module


def builtin_page(value: object) -> str:
    if isinstance(value, type):
        return "exceptions" if issubclass(value, BaseException) else "stdtypes"
    return "functions" if callable(value) else "constants"


def check_complete(app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of each public name that no page of the reference shows."""
    shown = {id(pydoc.locate(name)) for name in env.domains.python_domain.objects}
    for module in PUBLIC:
        public: Any = importlib.import_module(module)
        for name in public.__all__:
            value = getattr(public, name)
            is_shown = id(value) in shown or f"{module}.{name}" in env.domains.python_domain.objects
            if not is_shown and not is_foreign(value):
                logging.getLogger(__name__).warning("%s.%s is not in the reference", module, name)


def is_foreign(value: object) -> bool:
    """True for PyMongo's classes and constants, and for modules, which have pages."""
    return isinstance(value, (int, str, type(sys))) or not (
        getattr(value, "__module__", None) or type(value).__module__
    ).startswith("loom")


def make_pictures(app: Sphinx) -> None:
    """Run the pages that draw, before anything is read."""
    for page in pictures.PAGES:
        pictures.make(page)


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", make_pictures)
    app.connect("missing-reference", find_elsewhere)
    app.connect("env-check-consistency", check_complete)
