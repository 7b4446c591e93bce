"""Creating the collection of a class, with the options that it declares."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pymongo.errors import OperationFailure

from ...encoding import ENCODING_ERRORS, clearer
from ...errors import CollectionConflict, TransactionError
from ..collection_options import changes_of, compared, wanted_options
from ..index_specs import Difference
from ..port import Port
from .reading import Options, compiled_filter, shared_options

__all__ = ["create_collection"]

#: NamespaceExists: another process was faster.
_EXISTS = 48
#: How often it is tried, when others create and drop it meanwhile.
_ATTEMPTS = 3


async def create_collection(port: Port, cls: Any, modify: bool, options: Options) -> bool:
    """Create the collection of a class unless it is there; tell whether anything was done."""
    place = f"{cls.__name__}.create_collection"
    port.check_writable(cls, "create_collection")
    session = port.session(cls, options)
    if session is not None and session.in_transaction:
        raise TransactionError(
            f"{place}: expected it outside of a transaction, got it inside, where servers do not "
            "say which collections there are; call it before"
        )
    shared = port.options(cls, shared_options(options))
    asked = {k: v for k, v in options.items() if k not in ("comment", "session")}
    concern = asked.pop("write_concern", None)
    validator = asked.get("validator")
    if validator is not None:
        asked["validator"] = compiled_filter(port, cls, validator)
    wanted = wanted_options(cls, asked)
    collection = port.collection(cls)
    codecs = collection.codec_options
    try:
        compared(wanted, {}, codecs)  # a value that cannot be stored is told of first
    except ENCODING_ERRORS as error:
        raise clearer(place, wanted, codecs, error) from error
    for attempt in range(_ATTEMPTS):
        stored = await _look(port, collection, shared)
        if stored is not None:
            return await _settle(port, cls, wanted, stored, modify, shared)
        try:
            await port.call(
                collection.database.create_collection,
                collection.name,
                check_exists=False,
                codec_options=codecs,
                write_concern=collection.write_concern if concern is None else concern,
                **wanted,
                **shared,
            )
            return True
        except OperationFailure as error:
            if error.code != _EXISTS or attempt == _ATTEMPTS - 1:
                raise
    return False  # pragma: no cover  # the last attempt returns or raises


async def _look(port: Port, collection: Any, shared: Any) -> dict[str, Any] | None:
    """Return the options that a collection is stored with, None when it is not there."""
    cursor = await port.call(
        collection.database.list_collections, filter={"name": collection.name}, **shared
    )
    found = await port.call(cursor.to_list)
    return dict(found[0].get("options") or {}) if found else None


async def _settle(
    port: Port, cls: Any, wanted: dict[str, Any], stored: Any, modify: bool, shared: Any
) -> bool:
    """Leave a collection as it is, or change what may be changed; tell whether it was."""
    collection = port.collection(cls)
    differences = compared(wanted, stored, collection.codec_options)
    if not differences:
        return False
    changes, staying = changes_of(differences)
    if staying or not modify:
        raise CollectionConflict(_told(cls, differences, staying, modify), differences)
    await port.call(
        collection.database.command,
        "collMod",
        collection.name,
        codec_options=collection.codec_options,
        **changes,
        **shared,
    )
    return True


def _told(
    cls: Any, differences: Iterable[Difference], staying: list[Difference], modify: bool
) -> str:
    """Return what differs, what of it can be changed, and what to do."""
    shown = "; ".join(map(str, differences))
    changing = ", ".join(each.option for each in differences if each not in staying)
    stays = ", ".join(each.option for each in staying)
    if not staying:
        out = f"pass modify=True to have {changing} changed"
    else:
        out = (
            f"no server changes {stays} of a collection: declare it as it is, or move the documents "
            "to a new one"
        )
        if changing:
            out += f"; modify=True then changes {changing}"
    return (
        f"{cls.__name__}.create_collection: expected no collection {cls._collection!r}, or one as "
        f"declared, got another: {shown}; {out}"
    )
