"""Every operation on frames, written once as a coroutine over a port."""

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
from .reading import BATCH, by_id, by_ids, count, each, exists, id_filter, ids, many, one, reload
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
