"""Changing a document in one step on the server: inc, change, take."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Number
from typing import Any

from bson import Decimal128
from pymongo import ReturnDocument
from pymongo.errors import PyMongoError, WriteConcernError

from ...errors import FieldError, QueryError
from ..collations import add_collation
from ..events import add_note, emit, listeners
from ..forms import SCHEMA_VERSION, in_form
from ..ids import id_or_error
from ..normalising import with_array_filters
from ..paths import MISSING, lookup
from ..port import Port
from ..projections import Projection, plan_for
from ..queries import to_sort
from ..references import build
from ..tracking import settle, uncounted
from ..updates import compiled_changes, with_joined, with_version
from .guards import LOOKS, Guard, forget, paths_of, stored_now, tell_unknown
from .reading import Options, compiled_filter, id_filter, shared_options
from .writing import after_event, joined_changes, snapshot_of

__all__ = ["change", "inc", "take"]


async def inc(port: Port, frame: Any, field: str, amount: Any, where: Any, options: Options) -> Any:
    """Add to a number of a stored document; return what it is now."""
    cls = type(frame)
    if isinstance(amount, bool) or not isinstance(amount, (Number, Decimal128)):
        raise QueryError(f"{cls.__name__}.inc: expected a number, got {amount!r}")
    await _change(port, frame, {"$inc": {field: amount}}, where, "inc", options)
    found = lookup(frame._document, field)
    return None if found is MISSING else found


async def change(port: Port, frame: Any, changes: Any, where: Any, options: Options) -> None:
    """Change a stored document in one step and take the new values into the frame."""
    await _change(port, frame, changes, where, "change", options)


def _check_options(place: str, options: Options) -> None:
    """Refuse what the operation itself tells the driver."""
    for name in ("projection", "return_document"):
        if name in options:
            raise FieldError(
                f"{place}: expected the frame to be as it is after the change, got "
                f"{name}={options[name]!r}; leave it out"
            )


async def _change(
    port: Port, frame: Any, changes: Any, where: Any, operation: str, options: Options
) -> None:
    cls = type(frame)
    port.check_writable(cls, operation)
    id_or_error(frame, operation)
    _check_options(f"{cls.__name__}.{operation}", options)
    sent = compiled_changes(cls, changes, port.naive(cls), operation)
    options = with_array_filters(cls, sent, options)
    session = port.session(cls, options)
    if listeners("update", cls):
        snapshot = snapshot_of(port, frame)
        payload = {"fields": paths_of([sent]), "changes": [sent], "session": session}
        await emit(port, "update", cls, [frame], payload)
        sent = with_joined(sent, joined_changes(port, frame, paths_of([sent]), snapshot))
    guard = Guard(port, frame, where)
    guard.version = None  # what the server adds up holds whatever the frame has seen
    concern = None
    document: Any = None
    fetched = _fetched(cls, sent)
    port.remember(cls, options, [frame], frame._document if fetched is None else fetched)
    try:
        for _ in range(LOOKS):
            document = await port.write(
                cls,
                "find_one_and_update",
                sent.get("$set", {}) if isinstance(sent, dict) else {},
                guard.filter(),
                with_version(cls, sent),
                projection=fetched,
                return_document=ReturnDocument.AFTER,
                **options,
            )
            if document is not None or not await guard.again(port, operation, options):
                break
    except WriteConcernError as error:  # the write stands; its reply does not come with it
        concern = error
        shared = shared_options(options)
        document = await stored_now(port, cls, id_filter(guard.id), fetched, shared)
    except PyMongoError as error:
        tell_unknown(error, cls, operation, guard.id)
        raise
    if document is None and concern is None:
        raise await guard.refusal(port, operation, options)
    if document is not None:
        await _take_in(port, frame, document, sent, options)
    if concern is not None or listeners("updated", cls):
        payload = {"fields": paths_of([sent]), "changes": [sent], "session": session}
        await after_event(port, "updated", cls, [frame], concern, **payload)


def _fetched(cls: Any, sent: Any) -> dict[str, Any] | None:
    """Return the projection of what a change touches; None for everything."""
    if isinstance(sent, list):
        return plan_for(cls, {}).driver
    fetched = dict.fromkeys(_outermost(map(_whole, paths_of([sent]))), True)
    if cls._version is not None:
        fetched[cls._version] = True
    return fetched


def _whole(path: str) -> str:
    """Return a path up to the first place in a list: lists come back whole."""
    names = path.split(".")
    for position, name in enumerate(names):
        if position and (name.isdigit() or name[:1] == "$"):
            return ".".join(names[:position])
    return path


def _outermost(paths: Iterable[str]) -> list[str]:
    distinct = sorted(set(paths))
    return [
        path for path in distinct if not any(path.startswith(f"{other}.") for other in distinct)
    ]


async def _take_in(port: Port, frame: Any, document: Any, sent: Any, options: Options) -> None:
    """Put what a change has stored into the frame."""
    cls = type(frame)
    version = cls._version
    if version is not None:
        number = document.pop(version, None)
        seen = frame._document.get(version)
        # Another number than the next one: others changed what this frame has not read.
        if number == (seen or 0) + 1:
            frame._document[version] = number
    document.pop("_id", None)
    fetched = _fetched(cls, sent)
    paths = [*document] if fetched is None or isinstance(sent, list) else [*fetched]
    paths = [path for path in paths if path not in ("_id", version)]
    # Embedded documents that the annotations declare become sub-frames.
    roots = {path.partition(".")[0] for path in paths}
    plan = plan_for(cls, dict.fromkeys(sorted(roots), True)) if roots else None
    if plan is not None:
        if plan.upgrades:
            document[SCHEMA_VERSION] = cls._schema_version  # it was written in that form
        made = (await build(port, plan, [document], shared_options(options)))[0]
        document = made._document
    pending = uncounted(frame, paths)
    for path in paths:
        value = lookup(document, path)
        if value is MISSING:
            forget(frame, [path])
        else:
            _put(frame._document, path.split("."), value, document)
    settle(frame, paths)
    for name, amount in pending.items():
        setattr(frame, name, getattr(frame, name) + amount)


def _put(holder: Any, names: list[str], value: Any, fresh: Any) -> None:
    """Put a value at a path; what is missing on the way is taken from the fresh document."""
    name, *rest = names
    if not rest:
        current = holder.get(name)
        if getattr(type(current), "_is_frame", False) and current._document.get("_id") == value:
            return  # still the frame that stands for this id
        holder[name] = value
        return
    inner = getattr(holder.get(name), "_document", holder.get(name))
    if not isinstance(inner, dict):
        holder[name] = fresh[name]
        return
    deeper = fresh[name]
    _put(inner, rest, value, getattr(deeper, "_document", deeper))


async def take(
    port: Port,
    cls: Any,
    filter: Any,
    changes: Any,
    sort: Any,
    projection: Projection,
    options: Options,
) -> Any:
    """Change the first document that matches; return its frame as it is now, or None."""
    port.check_writable(cls, "take")
    _check_options(f"{cls.__name__}.take", options)
    query = compiled_filter(port, cls, filter)
    sent = compiled_changes(cls, changes, port.naive(cls), "take")
    options = with_array_filters(cls, sent, options)
    plan = plan_for(cls, projection)
    if sort is not None:
        options["sort"] = to_sort(sort)
    add_collation(cls, query, options)
    session = port.session(cls, options)
    found_by, wanted, counted = query, query, with_version(cls, sent)
    if cls._schema_version is not None:
        form = in_form(cls)
        query = wanted = {"$and": [query, form]} if query else form
    heard = bool(listeners("update", cls))
    while True:
        if cls._schema_version is not None:
            await _bring_up_first(port, cls, found_by, options)
        if heard:
            found = await _heard(port, cls, query, sent, options)
            if found is None:
                return None
            wanted, sent = found
            counted = with_version(cls, sent)
        try:
            document = await port.write(
                cls,
                "find_one_and_update",
                sent.get("$set", {}) if isinstance(sent, dict) else {},
                wanted,
                counted,
                projection=plan.driver,
                return_document=ReturnDocument.AFTER,
                **options,
            )
        except WriteConcernError as error:
            place = f"{cls.__name__}.take"
            add_note(error, f"{place}: the write stands; it is not known which document was taken")
            raise
        except PyMongoError as error:
            tell_unknown(error, cls, "take")
            raise
        if document is not None:
            break
        if not heard:
            return None
        sent = compiled_changes(cls, changes, port.naive(cls), "take")  # another worker was faster
    frame = (await build(port, plan, [document], shared_options(options)))[0]
    payload = {"fields": paths_of([sent]), "changes": [sent], "session": session}
    await after_event(port, "updated", cls, [frame], None, **payload)
    return frame


async def _bring_up_first(port: Port, cls: Any, query: dict[str, Any], options: Options) -> None:
    """Upgrade the document that is next, so that it is not passed over."""
    from ..stored_upgrades import bring_up_first  # when a class has older documents

    finding = {k: v for k, v in options.items() if k in _OF_FINDING}
    await bring_up_first(port, cls, query, finding, f"{cls.__name__}.take")


#: Options that the look before a write takes over.
_OF_FINDING = ("collation", "comment", "hint", "let", "session", "sort")


async def _heard(
    port: Port, cls: Any, query: dict[str, Any], sent: Any, options: Options
) -> tuple[dict[str, Any], Any] | None:
    """Tell the before-listeners of the document that is to be taken; return filter and change."""
    plan = plan_for(cls, {})
    finding = {k: v for k, v in options.items() if k in _OF_FINDING}
    document = await stored_now(port, cls, query, plan.driver, finding)
    if document is None:
        return None
    frame = (await build(port, plan, [document], shared_options(options)))[0]
    snapshot = snapshot_of(port, frame)
    paths = paths_of([sent])
    payload = {"fields": paths, "changes": [sent], "session": port.session(cls, options)}
    await emit(port, "update", cls, [frame], payload)
    sent = with_joined(sent, joined_changes(port, frame, paths, snapshot))
    wanted = id_filter(frame._document["_id"])
    return {"$and": [wanted, query]} if query else wanted, sent
