"""The options of a call: what PyMongo would refuse in words of its own, or take for something else.

Every option of PyMongo's method passes through. `None` is as good as none given, also where PyMongo
takes no None.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache
from typing import Any

from bson import Timestamp
from pymongo.collection import Collection as Documents
from pymongo.cursor import Cursor

from ..errors import FieldError, QueryError, nearest
from ..refusals import brief

__all__ = [
    "check_count",
    "check_distinct",
    "check_find",
    "check_numbers",
    "check_watch",
    "check_write",
]

#: Options that are whole numbers, with the lowest; a negative limit asks for a single batch.
_NUMBERS: dict[str, int | None] = {"limit": None, "skip": 0, "batch_size": 0, "batchSize": 0}
#: Where a caller may let a stream of changes begin.
_BEGINNINGS = ("resume_after", "start_after", "start_at_operation_time")


def check_numbers(place: str, options: dict[str, Any]) -> None:
    """Check the numbers among the options of a read, and take out those that are None.

    Raises:
        QueryError: one of them is no whole number, or is too small.

    >>> check_numbers("Dragon", {"limit": "5"})
    Traceback (most recent call last):
    loom.errors.QueryError: Dragon: expected limit= to be a whole number, got '5' of type str
    """
    for name in _NUMBERS.keys() & options.keys():
        if options[name] is None:
            del options[name]
        else:
            _check_number(place, name, options[name])


def _check_number(place: str, name: str, value: Any) -> None:
    lowest = _NUMBERS[name]
    if isinstance(value, bool) or not isinstance(value, int):
        raise QueryError(
            f"{place}: expected {name}= to be a whole number, got {brief(value)} of type "
            f"{type(value).__name__}"
        )
    if lowest is not None and value < lowest:
        raise QueryError(
            f"{place}: expected {name}= to be a whole number from {lowest} on, got {value}"
        )


def check_find(place: str, options: dict[str, Any]) -> None:
    """Check the names and numbers of the options of a find, and take out those that are None.

    A collation that is None stays: it says that the class's own is not wanted.

    Raises:
        QueryError: PyMongo's find has no such option, or a number is none.

    >>> check_find("Dragon", {"limits": 5})
    Traceback (most recent call last):
    loom.errors.QueryError: Dragon: expected an option, got 'limits'; did you mean 'limit'?
    """
    known = _find_names()
    if not options.keys() <= known:
        raise _unknown(place, options, known, "a filter is Q.name == 'Burt' or {'name': 'Burt'}")
    nothing = []
    for name, value in options.items():
        if value is None:
            if name != "collation":
                nothing.append(name)
        elif name in _NUMBERS:
            _check_number(place, name, value)
    for name in nothing:
        del options[name]


@cache
def _find_names() -> frozenset[str]:
    given_by_loom = ("self", "collection", "filter", "projection")
    return frozenset(inspect.signature(Cursor.__init__).parameters).difference(given_by_loom)


def _unknown(
    place: str, options: Iterable[str], known: Collection[str], else_: str = ""
) -> QueryError:
    name = next(name for name in options if name not in known)
    hint = nearest(name, known)
    if not hint:
        hint = f"; {else_}; options" if else_ else "; known"
        hint += f" are {', '.join(sorted(known))}"
    return QueryError(f"{place}: expected an option, got {name!r}{hint}")


#: What a count can be told, beside the names of PyMongo's `count_documents`.
_OF_COUNT = frozenset(
    ("allowDiskUse", "batchSize", "collation", "hint", "let", "limit", "maxTimeMS", "skip")
    + ("comment", "session")
)


def check_count(place: str, options: dict[str, Any]) -> None:
    """Check the options of a count, and take out those that are None; `max_time_ms` is renamed.

    Raises:
        QueryError: there is no such option, or a number is none.

    >>> check_count("Dragon", {"sort": "name"})
    Traceback (most recent call last):
    loom.errors.QueryError: Dragon: expected an option, got 'sort'; known are allowDiskUse, ...
    """
    _check_command(place, options, _OF_COUNT)
    check_numbers(place, options)


#: What PyMongo's `distinct` takes, most of it unnamed.
_OF_DISTINCT = frozenset(("collation", "comment", "hint", "maxTimeMS", "session"))


def check_distinct(place: str, options: dict[str, Any]) -> None:
    """Check the options of a call for distinct values; `max_time_ms` is renamed.

    Raises:
        QueryError: there is no such option.

    >>> check_distinct("Dragon.distinct", {"limit": 5})
    Traceback (most recent call last):
    loom.errors.QueryError: Dragon.distinct: expected an option, got 'limit'; known are ...
    """
    _check_command(place, options, _OF_DISTINCT)


def _check_command(place: str, options: dict[str, Any], known: frozenset[str]) -> None:
    """Check the options of what PyMongo takes under the names of the server's command."""
    if "max_time_ms" in options:
        options["maxTimeMS"] = options.pop("max_time_ms")
    if not options.keys() <= known:
        raise _unknown(place, options, known)


def check_write(place: str, options: Mapping[str, Any], *methods: str) -> None:
    """Check the names of a write's options, before listeners are told, who may write themselves.

    Args:
        place: the operation, for messages.
        options: of the call.
        methods: of PyMongo's Collection, of which one takes each of the options.

    Raises:
        FieldError: none of them does.

    >>> check_write("Dragon.delete", {"sesion": None}, "delete_one")
    Traceback (most recent call last):
    loom.errors.FieldError: Dragon.delete: expected an option, got 'sesion'; did you mean 'session'?
    """
    known = frozenset().union(*map(_names_of, methods))
    if not options.keys() <= known:
        raise FieldError(str(_unknown(place, options, known)))


@cache
def _names_of(method: str) -> frozenset[str]:
    given_by_loom = ("self", "filter", "update", "document", "documents", "requests")
    names = inspect.signature(getattr(Documents, method)).parameters
    return frozenset(names).difference(given_by_loom)


def check_watch(place: str, options: dict[str, Any], method: Callable[..., Any]) -> None:
    """Check the options of a stream of changes.

    Args:
        place: for messages.
        options: of the call; numbers that are None are taken out.
        method: PyMongo's, that opens the stream.

    Raises:
        QueryError: a name that the method does not have, a number that is none, or a beginning
            that is none; or several beginnings.
    """
    known = inspect.signature(method).parameters
    if not options.keys() <= known.keys():
        raise _unknown(place, options, known)
    check_numbers(place, options)
    wait = options.get("max_await_time_ms")
    if wait is not None and (not isinstance(wait, int) or isinstance(wait, bool) or wait < 0):
        raise QueryError(
            f"{place}: expected max_await_time_ms= to be a whole number from 0 on, got "
            f"{brief(wait)}"
        )
    given = {name: options[name] for name in _BEGINNINGS if options.get(name) is not None}
    if len(given) > 1:
        raise QueryError(
            f"{place}: expected one place to begin at, got {' and '.join(f'{n}=' for n in given)}"
        )
    for name, value in given.items():
        if name == "start_at_operation_time":
            if not isinstance(value, Timestamp):
                raise QueryError(
                    f"{place}: expected {name}= to be a bson.Timestamp, got {brief(value)} of type "
                    f"{type(value).__name__}; write Timestamp(when, 0) for an aware datetime"
                )
        elif not isinstance(value, Mapping):
            raise QueryError(
                f"{place}: expected {name}= to be a token, as a change or a stream gives it, got "
                f"{brief(value)} of type {type(value).__name__}"
            )
    for name in ("full_document", "full_document_before_change"):
        value = options.get(name)
        if value is not None and not isinstance(value, str):
            raise QueryError(
                f"{place}: expected {name}= to be text such as 'updateLookup' or 'whenAvailable', "
                f"got {brief(value)} of type {type(value).__name__}"
            )
