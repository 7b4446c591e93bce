"""Every operation on frames, written once as a coroutine over a port.

They are imported when they are first used: a program that writes little starts sooner.
"""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ... import epoch

if TYPE_CHECKING:
    from . import everyday
    from .aggregating import explain, load_count, load_exists, load_many, load_one
    from .batches import (
        bulk_error,
        delete_many,
        frames_of,
        insert_many,
        reasons_of,
        unset_many,
        update_many,
    )
    from .by_filter import delete_where, update_where
    from .changing import change, inc, take
    from .creating import create_collection
    from .distinct import distinct
    from .matching import Progress, Way
    from .paging import count_items, numbered, page
    from .reading import by_id, by_ids, count, exists, id_filter, ids, many, one, reload
    from .rows import rows
    from .streaming import Steps, each, stream
    from .versions import as_of
    from .watching import Watching
    from .writing import delete, insert, joined_changes, save, unset, update, upsert

__all__ = [
    "BATCH",
    "Progress",
    "Steps",
    "Watching",
    "Way",
    "as_of",
    "bulk_error",
    "by_id",
    "by_ids",
    "change",
    "count",
    "count_items",
    "create_collection",
    "delete",
    "delete_many",
    "delete_where",
    "distinct",
    "each",
    "everyday",
    "exists",
    "explain",
    "frames_of",
    "id_filter",
    "ids",
    "inc",
    "insert",
    "insert_many",
    "joined_changes",
    "load_count",
    "load_exists",
    "load_many",
    "load_one",
    "many",
    "numbered",
    "one",
    "page",
    "reasons_of",
    "reload",
    "rows",
    "save",
    "stream",
    "take",
    "unset",
    "unset_many",
    "update",
    "update_many",
    "update_where",
    "upsert",
]

#: How many documents are read, or written, in one step of what works on many.
BATCH = 1_000

#: Where they are.
_LATER = {
    "aggregating": ("explain", "load_count", "load_exists", "load_many", "load_one"),
    "batches": (
        "bulk_error",
        "delete_many",
        "frames_of",
        "insert_many",
        "reasons_of",
        "unset_many",
        "update_many",
    ),
    "by_filter": ("delete_where", "update_where"),
    "changing": ("change", "inc", "take"),
    "creating": ("create_collection",),
    "distinct": ("distinct",),
    "matching": ("Progress", "Way"),
    "paging": ("count_items", "numbered", "page"),
    "reading": (
        "by_id",
        "by_ids",
        "count",
        "exists",
        "id_filter",
        "ids",
        "many",
        "one",
        "reload",
    ),
    "rows": ("rows",),
    "streaming": ("Steps", "each", "stream"),
    "versions": ("as_of",),
    "watching": ("Watching",),
    "writing": ("delete", "insert", "joined_changes", "save", "unset", "update", "upsert"),
}
_MODULES = {name: module for module, names in _LATER.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "everyday":
        return import_module(f"{__name__}.everyday")
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{module}"), name)
    if _around is not None:
        value = _around(name, value)
    globals()[name] = value
    return value


#: What is put around each operation, None for nothing.
_around: Callable[[str, Any], Any] | None = None


def put_around(wrapper: Callable[[str, Any], Any] | None) -> None:
    """Have a function return, by name and itself, what is called for each operation from now on.

    This table is where all of them are looked up; what is called every day goes by it then, too.
    """
    global _around
    _around = wrapper
    for name in _MODULES:
        globals().pop(name, None)
    epoch.advance()


def wrapped(name: str, function: Any) -> Any:
    """Return what is called for an operation that is kept elsewhere, as those on columns are."""
    return function if _around is None else _around(name, function)


def is_wrapped() -> bool:
    """Tell whether anything is put around operations."""
    return _around is not None
