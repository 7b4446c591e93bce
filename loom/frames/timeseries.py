"""The setting `_timeseries` of a class, and what time-series collections do not allow.

What no version of MongoDB allows is refused here, before anything is sent: a server would refuse
it too, but after listeners were told, or only some of a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from types import MappingProxyType
from typing import Any, NoReturn

from ..errors import (
    DefinitionError,
    EncodeError,
    QueryError,
    ReadOnly,
    TransactionError,
    nearest,
)
from .annotations import resolved_annotations
from .conditions import GROUPS
from .declared_indexes import declared_indexes, refuse_for_timeseries
from .marks import marks_in

__all__ = [
    "GRANULARITIES",
    "check_times",
    "check_update",
    "check_write",
    "checked_timeseries",
    "may_hold_a_time",
    "refuse_watch",
]

#: How long a bucket of each granularity is at most, in seconds; the finest first.
GRANULARITIES = {"seconds": 3_600, "minutes": 86_400, "hours": 2_592_000}
_BUCKETS = ("bucketMaxSpanSeconds", "bucketRoundingSeconds")
_KNOWN = ("timeField", "metaField", "granularity", *_BUCKETS, "expireAfterSeconds")
_LONGEST = 31_536_000
#: What MongoDB takes for expireAfterSeconds at most.
_LARGEST = 2**31 - 1
#: What would change documents one by one, by what Loom calls it.
_CHANGING = frozenset(
    ("change", "inc", "migrate", "nullify", "pull", "rebuild_derived", "take")
    + ("unset", "unset_many", "update", "update_many", "upsert", "upsert_dataframe")
    + ("replace", "upsert_table")
)
#: The same, by what the driver calls it.
_METHODS = frozenset(("find_one_and_replace", "find_one_and_update", "replace_one", "update_one"))
#: What is stored as no date.
_NO_TIMES = (str, int, float, bytes, Mapping, list, tuple)


# Declaring


def checked_timeseries(cls: Any, value: Any) -> Mapping[str, Any]:
    """Return the settings of a class's time-series collection, in MongoDB's names.

    Raises:
        DefinitionError: MongoDB would refuse them, or they do not go with the class.
    """
    place = f"{cls.__name__}._timeseries"
    if not isinstance(value, Mapping):
        raise DefinitionError(
            f"{place}: expected a dict as of MongoDB's create, got {value!r}; write "
            "_timeseries = {'timeField': 'time', 'metaField': 'symbol'}"
        )
    if not cls._is_frame:
        raise DefinitionError(f"{place}: expected it on a Frame, got it on a SubFrame")
    for name in value:
        if name not in _KNOWN:
            raise DefinitionError(
                f"{place}: expected {', '.join(_KNOWN)}, got {name!r}{nearest(str(name), _KNOWN)}"
            )
    found = {name: value[name] for name in _KNOWN if value.get(name) is not None}
    for option, setting in (("timeField", "_time_field"), ("metaField", "_symbol_field")):
        named = getattr(cls, setting, None)
        if named is not None:
            found.setdefault(option, named)
    _check_fields(cls, place, found)
    _check_buckets(place, found)
    if "expireAfterSeconds" in found:
        found["expireAfterSeconds"] = _seconds(place, found["expireAfterSeconds"])
    refuse_for_timeseries(cls, declared_indexes(cls))
    return MappingProxyType({name: found[name] for name in _KNOWN if name in found})


def _check_fields(cls: Any, place: str, found: Mapping[str, Any]) -> None:
    definition = cls._definition
    time, meta = found.get("timeField"), found.get("metaField")
    if time is None:
        raise DefinitionError(
            f"{place}: expected timeField, the name of the field that holds the time, got none"
        )
    for option, name in (("timeField", time), ("metaField", meta)):
        if name is None:
            continue
        if not isinstance(name, str) or not name or name[:1] == "$" or "." in name:
            raise DefinitionError(
                f"{place}.{option}: expected the name of a field of the document itself, got "
                f"{name!r}"
            )
        if name == "_id":
            raise DefinitionError(f"{place}.{option}: expected another field than _id, got it")
        if not definition.is_open and name not in definition.names:
            raise DefinitionError(
                f"{place}.{option}: expected a declared field, got {name!r}"
                f"{nearest(name, definition.names)}"
            )
    if meta == time:
        raise DefinitionError(
            f"{place}.metaField: expected another field than timeField, got {meta!r} for both"
        )
    if not may_hold_a_time(cls, time, date):  # which is stored as its midnight
        raise DefinitionError(
            f"{place}.timeField: expected a field of datetimes, got {time!r} of another type; "
            "MongoDB takes dates alone"
        )


def may_hold_a_time(cls: Any, field: str, kind: type = datetime) -> bool:
    """Tell whether the annotation of a field, if it has one, allows a kind of time."""
    found = marks_in(resolved_annotations(cls._definition).get(field, Any))
    target = found.target
    is_other = isinstance(target, type) and target is not Any and not issubclass(target, kind)
    return found.shape == "one" and not is_other


def _check_buckets(place: str, found: Mapping[str, Any]) -> None:
    granularity = found.get("granularity")
    given = {name: found[name] for name in _BUCKETS if name in found}
    if granularity is not None and given:
        raise DefinitionError(
            f"{place}: expected granularity or {' and '.join(_BUCKETS)}, got both; leave one out"
        )
    if granularity is not None and granularity not in GRANULARITIES:
        raise DefinitionError(
            f"{place}.granularity: expected one of {', '.join(map(repr, GRANULARITIES))}, got "
            f"{granularity!r}{nearest(str(granularity), GRANULARITIES)}"
        )
    for name, seconds in given.items():
        if type(seconds) is not int or not 1 <= seconds <= _LONGEST:
            raise DefinitionError(
                f"{place}.{name}: expected a whole number of seconds from 1 to {_LONGEST}, got "
                f"{seconds!r}"
            )
    if given and (len(given) < len(_BUCKETS) or len({*given.values()}) > 1):
        raise DefinitionError(
            f"{place}: expected {' and '.join(_BUCKETS)} of the same number, got {given!r}; "
            "MongoDB takes no other"
        )


def _seconds(place: str, value: Any) -> int:
    """Return whole seconds after which measurements expire."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not is_number or not 0 < seconds <= _LARGEST or seconds != int(seconds):
        raise DefinitionError(
            f"{place}.expireAfterSeconds: expected whole seconds, more than 0, or a timedelta of "
            f"some, got {value!r}; leave it out to keep everything"
        )
    return int(seconds)


# Writing


def check_times(sender: type, frames: list[Any]) -> None:
    """Refuse frames that no time-series collection takes; a listener for `insert`.

    Args:
        sender: the class.
        frames: each is to have a time.

    Raises:
        EncodeError: one has none, or something else in its place.
    """
    for frame in frames:
        cls = type(frame)
        if cls._timeseries is None:
            continue
        name = cls._timeseries["timeField"]
        value = frame._document.get(name)
        if value is None or isinstance(value, _NO_TIMES):
            shown = "none" if value is None else f"{value!r} of type {type(value).__name__}"
            raise EncodeError(
                f"{cls.__name__}.{name}: expected a datetime, got {shown}; a time-series "
                "collection takes no document without its time"
            )


def check_write(cls: Any, operation: str, session: Any, is_method: bool) -> None:
    """Refuse a write that no time-series collection takes.

    Args:
        cls: a class with `_timeseries`.
        operation: its name.
        session: that it uses, if any.
        is_method: whether the name is that of a method of the driver.

    Raises:
        TransactionError: it is in a transaction.
        ReadOnly: it would change one document.
    """
    place = f"{cls.__name__}.{operation}"
    if session is not None and session.in_transaction:
        raise TransactionError(
            f"{place}: expected it outside of a transaction, got it inside; MongoDB writes to "
            "time-series collections in no transaction, it only reads them"
        )
    if operation in (_METHODS if is_method else _CHANGING):
        raise ReadOnly(
            f"{place}: expected insert() of a class with _timeseries, got a change of single "
            f"documents, which no time-series collection takes; {_way_out(cls)}"
        )


def check_update(
    cls: Any, query: Mapping[str, Any], changes: Any, paths: Iterable[str], is_heard: bool
) -> None:
    """Refuse an update by filter that goes beyond the metaField.

    Args:
        cls: a class with `_timeseries`.
        query: the compiled filter.
        changes: an update document.
        paths: what it writes.
        is_heard: whether listeners want to be told of each batch.

    Raises:
        ReadOnly: MongoDB would refuse it.
    """
    meta = cls._timeseries.get("metaField")
    asked = [path for path in _asked(query) if not _is_in(path, meta)]
    written = [path for path in paths if not _is_in(path, meta)]
    if is_heard:
        _refuse_update(cls, "got one that listeners are told of, which goes by the _id of each")
    if not isinstance(changes, Mapping):
        _refuse_update(cls, "got a pipeline")
    if asked:
        _refuse_update(cls, f"got a filter by {asked[0]!r}")
    if written:
        _refuse_update(cls, f"got a change of {written[0]!r}")


def _refuse_update(cls: Any, got: str) -> NoReturn:
    meta = cls._timeseries.get("metaField")
    wanted = "no update, as there is no metaField" if meta is None else f"{meta!r} alone"
    raise ReadOnly(
        f"{cls.__name__}.update_where: expected what a time-series collection takes, a filter on "
        f"and a change of {wanted}, {got}; {_way_out(cls)}"
    )


def _asked(query: Any) -> Iterable[str]:
    """Yield the paths that a filter looks at; an operator for one it says nothing of."""
    for name, test in query.items() if isinstance(query, Mapping) else ():
        if name in GROUPS:
            for part in test:
                yield from _asked(part)
        elif name != "$comment":
            yield name


def _is_in(path: str, meta: str | None) -> bool:
    return meta is not None and (path == meta or path.startswith(f"{meta}."))


def _way_out(cls: Any) -> str:
    if getattr(cls, "_known_at_field", None) is not None:
        return "insert what is right now as another moment of the same time, which as_of() finds"
    return "insert what is right now as another document"


def refuse_watch(cls: Any) -> NoReturn:
    """Refuse a change stream of a time-series collection.

    Raises:
        QueryError: always.
    """
    raise QueryError(
        f"{cls.__name__}.watch: expected an ordinary collection, got a class with _timeseries, "
        "whose changes MongoDB streams to nobody; ask for what is new by time, or listen to "
        "'inserted' where it is written"
    )
