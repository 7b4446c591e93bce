"""Every operation on frames, written once as a coroutine over a port.

What reads is there at once; what writes is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .reading import BATCH, by_id, by_ids, count, each, exists, id_filter, ids, many, one, reload

if TYPE_CHECKING:
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
    from .matching import Progress, Way
    from .writing import delete, insert, joined_changes, save, unset, update, upsert

__all__ = [
    "BATCH",
    "Progress",
    "Way",
    "bulk_error",
    "by_id",
    "by_ids",
    "change",
    "count",
    "delete",
    "delete_many",
    "delete_where",
    "each",
    "exists",
    "frames_of",
    "id_filter",
    "ids",
    "inc",
    "insert",
    "insert_many",
    "joined_changes",
    "many",
    "one",
    "reasons_of",
    "reload",
    "save",
    "take",
    "unset",
    "unset_many",
    "update",
    "update_many",
    "update_where",
    "upsert",
]

#: Where the others are.
_LATER = {
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
    "matching": ("Progress", "Way"),
    "writing": ("delete", "insert", "joined_changes", "save", "unset", "update", "upsert"),
}
_MODULES = {name: module for module, names in _LATER.items() for name in names}


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
    return value
