"""Filters that can be decided here, as the server would decide them.

A listener that must know whether a document matched before a write, and whether it does after it,
cannot ask the server without a read, nor without missing what others do meanwhile. So the
everyday tests are done here: equality and order of plain values, absence, and what joins them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import bson
from bson import Binary, Decimal128, ObjectId
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS

from ..encoding import encode
from ..errors import QueryError
from .paths import split

__all__ = ["COMPARED", "as_compared", "check_predicate", "matches"]

#: Reads back what is compared: one type for each kind of value, dates beyond Python's years too.
COMPARED: CodecOptions[dict[str, Any]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_MS
)
#: Values of these types are compared as they are.
_AS_THEY_ARE = frozenset({str, int, bool, type(None), ObjectId})

_JOINED: dict[str, Callable[[Any], bool]] = {
    "$and": all,
    "$or": any,
    "$nor": lambda results: not any(results),
}
_ORDERED: dict[str, Callable[[Any, Any], bool]] = {
    "$gt": lambda value, bound: value > bound,
    "$gte": lambda value, bound: value >= bound,
    "$lt": lambda value, bound: value < bound,
    "$lte": lambda value, bound: value <= bound,
}
_OPERATORS = frozenset({"$eq", "$ne", "$in", "$nin", "$exists", "$not", "$type", *_ORDERED})


def as_compared(document: Any, codecs: CodecOptions[Any]) -> dict[str, Any]:
    """Return a document as it is stored, in the types in which values are compared."""
    if _AS_THEY_ARE.issuperset(map(type, document.values())):
        return dict(document)
    return bson.decode(encode(document, codecs), COMPARED)


def check_predicate(filter: Mapping[str, Any], place: str) -> tuple[str, ...]:
    """Return the paths that a compiled filter tests.

    Raises:
        QueryError: something in it cannot be decided here.
    """
    paths: dict[str, None] = {}
    for name, test in filter.items():
        if name in _JOINED:
            for inner in test:
                paths.update(dict.fromkeys(check_predicate(inner, place)))
        elif name[:1] == "$":
            raise _undecidable(place, name)
        else:
            if any(part.isdigit() for part in split(name)):
                raise QueryError(
                    f"{place}: expected paths of names, got {name!r}; test the list as a whole"
                )
            _check_test(test, f"{place}.{name}")
            paths[name] = None
    return tuple(paths)


def _check_test(test: Any, place: str) -> None:
    if not _is_operators(test):
        _check_value(test, place)
        return
    for operator, value in test.items():
        if operator not in _OPERATORS:
            raise _undecidable(place, operator)
        if operator == "$type" and value != "null":
            raise _undecidable(place, operator)
        if operator == "$not":
            if not _is_operators(value):
                raise _undecidable(place, operator)
            _check_test(value, place)
        elif operator in ("$in", "$nin"):
            for member in value:
                _check_value(member, place)
        elif operator not in ("$exists", "$type"):
            _check_value(value, place)
            if operator in _ORDERED and _kind(_compared(value)) not in _WITH_ORDER:
                raise QueryError(
                    f"{place}: expected a number, a text or a datetime to compare with, got "
                    f"{value!r}"
                )


def _undecidable(place: str, name: str) -> QueryError:
    return QueryError(
        f"{place}: expected tests with ==, !=, <, <=, >, >=, is_in, not_in, exists, is_null, joined "
        f"by &, | and ~, got {name}; keep the answer in a field of its own and test that"
    )


def _check_value(value: Any, place: str) -> None:
    compared = _compared(value)
    if _kind(compared) is None or compared != compared:
        raise QueryError(
            f"{place}: expected a plain value to compare with, got {value!r} of type "
            f"{type(value).__name__}"
        )


def _compared(value: Any) -> Any:
    try:
        return bson.decode(encode({"": value}, _STANDARD), COMPARED)[""]
    except Exception:
        return value  # refused as what it is


_STANDARD: CodecOptions[Any] = CodecOptions(uuid_representation=UuidRepresentation.STANDARD)


def _is_operators(test: Any) -> bool:
    return isinstance(test, Mapping) and next(iter(test), "")[:1] == "$"


# Deciding


def matches(filter: Mapping[str, Any], document: Mapping[str, Any]) -> bool:
    """Tell whether a checked filter matches a document, both as they are compared.

    >>> matches({"$or": [{"a": 1}, {"b": {"$gt": 2}}]}, {"b": [1, 3]})
    True
    """
    return all(
        _JOINED[name](matches(inner, document) for inner in test)
        if name in _JOINED
        else _meets(test, *_found(document, split(name)))
        for name, test in filter.items()
    )


def _meets(test: Any, values: list[Any], is_absent: bool) -> bool:
    if not _is_operators(test):
        return _equals(values, is_absent, test)
    return all(_decided(operator, value, values, is_absent) for operator, value in test.items())


def _decided(operator: str, wanted: Any, values: list[Any], is_absent: bool) -> bool:
    if operator == "$eq":
        return _equals(values, is_absent, wanted)
    if operator == "$ne":
        return not _equals(values, is_absent, wanted)
    if operator == "$in":
        return any(_equals(values, is_absent, member) for member in wanted)
    if operator == "$nin":
        return not any(_equals(values, is_absent, member) for member in wanted)
    if operator == "$exists":
        return bool(values) is bool(wanted)
    if operator == "$type":
        return any(item is None for item in _with_members(values))
    if operator == "$not":
        return not _meets(wanted, values, is_absent)
    # Only values of one kind have an order among them.
    kind, bound = _kind(wanted), _number(wanted)
    compare = _ORDERED[operator]
    numbers = [_number(item) for item in _with_members(values) if _kind(item) == kind]
    return any(compare(number, bound) for number in numbers if number == number)


def _equals(values: list[Any], is_absent: bool, wanted: Any) -> bool:
    if wanted is None:
        return is_absent or any(item is None for item in _with_members(values))
    kind, plain = _kind(wanted), _number(wanted)
    return any(_kind(item) == kind and _number(item) == plain for item in _with_members(values))


def _with_members(values: list[Any]) -> list[Any]:
    """Return values, and the members of those that are lists."""
    return [
        item for value in values for item in ([*value, value] if type(value) is list else [value])
    ]


def _found(holder: Any, names: list[str]) -> tuple[list[Any], bool]:
    """Return the values at a path, and whether it is absent from a document on the way.

    A list on the way is read member by member; those that are no documents have no fields.
    """
    name, *rest = names
    if not isinstance(holder, Mapping) or name not in holder:
        return [], True
    value = holder[name]
    if not rest:
        return [value], False
    if type(value) is not list:
        return _found(value, rest)
    found = [_found(member, rest) for member in value if isinstance(member, Mapping)]
    return [v for values, _ in found for v in values], any(absent for _, absent in found)


_WITH_ORDER = ("number", "str", "date")


def _kind(value: Any) -> str | None:
    """Return what a value is compared as; None for what is not compared here."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float, Decimal128)):
        return "number"
    if type(value) is str:
        return "str"
    if isinstance(value, DatetimeMS):
        return "date"
    if isinstance(value, ObjectId):
        return "id"
    return "bytes" if isinstance(value, (bytes, Binary)) else None


def _number(value: Any) -> Any:
    if isinstance(value, Decimal128):
        number = value.to_decimal()
        return Decimal("nan") if number.is_snan() else number
    return value
