"""The everyday blocking calls, each in one step.

One document, plain values, no listener, nothing switched: `one`, `by_id` and `update` of such
calls send what the operations of `reading` and `writing` would send, without the steps that find
nothing to do. Whether a class has such calls is found out once per epoch. What is not everyday
is not begun here: the functions say so, and the operations do all of it.
"""

from __future__ import annotations

from typing import Any

from bson import ObjectId
from pymongo.errors import DuplicateKeyError

from ... import epoch, switches
from ...connection import class_options, connection_of, find_collection, overrides
from ...encoding import ENCODING_ERRORS, PLAIN, clearer
from ...errors import Duplicate
from ..collations import is_collated
from ..document import wrap_one
from ..events import are_updates_heard, running_event
from ..marked import marked
from ..paths import MISSING
from ..projections import plan_for
from ..tracking import tracked_of
from ..values import SCALARS
from . import is_wrapped
from .reading import gone

__all__ = ["NOT_EVERYDAY", "by_id", "one", "update"]

#: Returned by what was not begun.
NOT_EVERYDAY: Any = object()

#: No declared field, or one that is written in another way.
_NOT_PLAIN = (None, "counter")
_NOTHING: dict[Any, Any] = {}


def one(cls: Any, filter: Any) -> Any:
    """Return the first frame that matches or None, or NOT_EVERYDAY."""
    if type(filter) is not dict:
        return NOT_EVERYDAY
    for name, value in filter.items():
        if type(name) is not str or name[:1] == "$" or type(value) not in SCALARS:
            return NOT_EVERYDAY
    return by_id(cls, filter)


def by_id(cls: Any, filter: dict[str, Any]) -> Any:
    """Return the frame that a checked filter finds or None, or NOT_EVERYDAY."""
    number, collection, projection, _ = cls._definition.everyday
    if number != epoch.current:
        collection, projection, _ = _found_out(cls)
    if (
        projection is None
        or overrides.get() is not None
        or running_event.get() is not None
        or class_options.get(_NOTHING) is not _NOTHING
    ):
        return NOT_EVERYDAY
    try:
        document = next(collection.find(filter, projection, limit=-1), None)
    except ENCODING_ERRORS as error:
        raise clearer(f"{cls.__name__} filter", filter, collection.codec_options, error) from error
    return None if document is None else wrap_one(cls, document)


def update(frame: Any, fields: tuple[Any, ...]) -> bool:
    """Write declared fields with plain values; return False when nothing was begun.

    Raises:
        Gone: the document is not there.
    """
    cls = type(frame)
    number, collection, _, is_unheard = cls._definition.everyday
    if number != epoch.current:
        collection, _, is_unheard = _found_out(cls)
    document = frame._document
    id = document.get("_id")
    if (
        not is_unheard
        or not fields
        or type(id) is not ObjectId
        or overrides.get() is not None
        or running_event.get() is not None
        or class_options.get(_NOTHING) is not _NOTHING
    ):
        return False
    state = getattr(frame, "_state", None)
    if state is not None and (type(state) is not list or state[0].loaded is not None):
        return False
    kinds = cls._definition.kinds
    part = {}
    for field in fields:
        if type(field) is not str or field == "_id" or kinds.get(field) in _NOT_PLAIN:
            return False
        value = part[field] = document.get(field, MISSING)
        if type(value) not in PLAIN:
            return False
    try:
        sent = collection.update_one({"_id": id}, {"$set": part}).raw_result
    except DuplicateKeyError as error:
        raise Duplicate(cls.__name__, str(error), error.code, error.details, part) from error
    except ENCODING_ERRORS as error:
        raise clearer(cls.__name__, part, collection.codec_options, error) from error
    if sent and not sent["n"]:
        raise gone(cls, id, "update")
    if state is not None:
        tracked = tracked_of(frame)
        for field in fields:
            tracked.forget(field)  # type: ignore[union-attr]  # as its state is a list
    return True


def _found_out(cls: Any) -> tuple[Any, Any, bool]:
    """Return a class's collection, the projection of a plain load, and whether updates are unheard.

    The projection is None when loads are not everyday, and the collection when nothing is.
    """
    number = epoch.current
    definition = cls._definition
    collection = projection = None
    is_unheard = False
    connection = connection_of(cls)
    is_here = overrides.get() is None and class_options.get(_NOTHING) is _NOTHING
    is_plain = connection is None or (connection.naive == "utc" and connection.comment is None)
    is_plain = is_plain and not is_wrapped()
    if is_here and definition.is_watched and is_plain:
        collection = find_collection(cls, aio=False)
        is_writable = not (switches.read_only_blocks or (connection and connection.read_only))
        is_unheard = is_writable and cls._version is None and not are_updates_heard(cls)
        is_alone = cls._kinds is None and cls._schema_version is None
        is_unheard = is_unheard and is_alone and not cls._append_only
        is_unheard = is_unheard and cls._timeseries is None
        # A dict that is a class's setting can be changed without notice.
        plan = plan_for(cls) if cls._default_projection is None else None
        if not is_alone or is_collated(cls) or marked(cls).texts:
            plan = None  # a filter may carry a collation or a kind, or need another case
        if plan is not None and plan.is_plain:
            projection = plan.driver
    found = collection, projection, is_unheard
    if is_here:
        definition.everyday = number, *found
    return found
