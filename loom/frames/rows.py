"""Rows: the values of some fields of each document, without a frame around them."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import starmap
from operator import itemgetter
from typing import Any

from ..errors import FieldError, ProjectionError, QueryError, nearest
from .conditions import Field
from .document import wrap
from .nodes import node_of
from .plans import Child
from .projections import plan_for
from .subframes import wrap_children

__all__ = ["driver_of", "field_names", "made", "maker_of"]

Documents = list[dict[str, Any]]
Maker = Callable[[Documents], list[Any]]

#: Of how many documents rows are made in one go.
_STEP = 500


def field_names(cls: Any, fields: Sequence[Any]) -> tuple[str, ...]:
    """Return the paths that rows of a class hold.

    Raises:
        ProjectionError: there are none, or one that cannot be fetched beside the others.
    """
    place = f"{cls.__name__}.rows"
    names = tuple(str(field) if isinstance(field, Field) else field for field in fields)
    if not names:
        raise ProjectionError(
            f"{place}: expected the names of fields after the filter, got none; write "
            f"{place}(None, 'name', 'lair.gold')"
        )
    for name in names:
        if not isinstance(name, str):
            raise ProjectionError(
                f"{place}: expected the name of a field, got {name!r} of type "
                f"{type(name).__name__}; name the fields one by one, as in "
                f"{place}(None, 'name', 'lair.gold')"
            )
        if any(part[:1] == "$" for part in name.split(".")):
            raise ProjectionError(
                f"{place}: expected a field path such as 'name' or 'lair.gold', got {name!r}"
            )
        if names.count(name) > 1:
            raise ProjectionError(f"{place}: expected each path once, got {name!r} twice")
    plan_for(cls, dict.fromkeys(names, True))  # says what is wrong with them
    return names


def driver_of(names: Sequence[str]) -> dict[str, bool]:
    """Return the projection that fetches nothing but these paths.

    >>> driver_of(["name", "lair.gold"])
    {'name': True, 'lair.gold': True, '_id': False}
    """
    driver = dict.fromkeys(names, True)
    driver.setdefault("_id", False)
    return driver


def made(make: Maker, documents: Documents) -> list[Any]:
    """Return a row for every document.

    Args:
        make: what makes rows of some documents.
        documents: changed: rows take their places.
    """
    rows: list[Any] = documents
    for start in range(0, len(rows), _STEP):
        # The next rows are made in the memory of these documents, which the processor has at hand.
        rows[start : start + _STEP] = make(rows[start : start + _STEP])
    return rows


def maker_of(cls: Any, names: tuple[str, ...], row: Any) -> Maker:
    """Return what makes rows of documents.

    Args:
        cls: whose documents they are.
        names: the paths that the documents were fetched with.
        row: `tuple`, `dict`, `list`, `namedtuple`, a SubFrame class, or any callable.

    Raises:
        QueryError: `row` cannot make rows of so many values.
        FieldError: the SubFrame class lacks one of the fields.
    """
    place = f"{cls.__name__}.rows"
    if row is tuple:
        return lambda documents: _tuples(names, documents)
    if row is list:
        return lambda documents: list(map(list, _tuples(names, documents)))
    if row is dict:
        return lambda documents: [
            dict(zip(names, values, strict=True)) for values in _tuples(names, documents)
        ]
    if row is namedtuple:
        row = _named_tuple(place, names)
    elif isinstance(row, type) and getattr(row, "_is_frame", False):
        raise QueryError(
            f"{place}: expected tuple, dict, namedtuple, a SubFrame class or a callable as row, "
            f"got the Frame class {row.__name__}; frames come from {cls.__name__}.many(projection="
            "...)"
        )
    elif isinstance(row, type) and getattr(row, "_is_subframe", False):
        return _sub_frames(place, names, row)
    elif isinstance(row, type) and issubclass(row, tuple) and hasattr(row, "_field_defaults"):
        _check_length(place, names, row)
    elif not callable(row):
        raise QueryError(
            f"{place}: expected tuple, dict, namedtuple, a SubFrame class or a callable as row, "
            f"got {row!r} of type {type(row).__name__}"
        )
    make = row
    return lambda documents: list(starmap(make, _tuples(names, documents)))


# Values


def _tuples(names: tuple[str, ...], documents: Documents) -> list[tuple[Any, ...]]:
    """Return the values of every document, in the order of the names."""
    if not any("." in name for name in names):
        found = map(itemgetter(*names), documents)
        try:
            # In C from end to end, which holds as long as no document lacks a field.
            return list(zip(found)) if len(names) == 1 else list(found)
        except KeyError:
            pass
    columns = [_column(name.split("."), documents) for name in names]
    return list(zip(*columns, strict=True))


def _column(path: list[str], documents: Documents) -> list[Any]:
    values: list[Any] = documents
    try:
        for name in path:
            values = list(map(itemgetter(name), values))
    except (KeyError, TypeError):
        return [_value(document, path) for document in documents]
    return values


def _value(value: Any, path: list[str]) -> Any:
    """Return what a projection fetched by a path: through a list, what each document in it has."""
    for position, name in enumerate(path):
        if isinstance(value, Mapping):
            value = value.get(name)
        elif isinstance(value, list):
            rest = path[position:]
            # Other items are not fetched, only on some servers.
            return [_value(item, rest) for item in value if isinstance(item, (Mapping, list))]
        else:
            return None
    return value


# What holds them


@lru_cache(maxsize=256)
def _named_tuple(place: str, names: tuple[str, ...]) -> Any:
    attributes = [name.lstrip("_").replace(".", "_") for name in names]
    try:
        return namedtuple("Row", attributes)
    except ValueError as error:
        raise QueryError(
            f"{place}: expected fields whose names can be attributes of a namedtuple, got "
            f"{', '.join(names)} ({error}); pass a namedtuple of your own, or row=tuple"
        ) from None


def _check_length(place: str, names: tuple[str, ...], row: Any) -> None:
    rest = row._fields[len(names) :]
    if len(names) > len(row._fields) or not row._field_defaults.keys() >= {*rest}:
        raise QueryError(
            f"{place}: expected as many fields as {row.__name__} has "
            f"({', '.join(row._fields)}), got {len(names)} ({', '.join(names)})"
        )


def _sub_frames(place: str, names: tuple[str, ...], row: Any) -> Maker:
    definition = row._definition
    for name in names:
        root = name.partition(".")[0]
        if root not in definition.names and not definition.is_open:
            known = nearest(root, definition.names)
            raise FieldError(
                f"{place}: expected fields of {row.__name__}, got {name!r}"
                + (known or f"; known are {', '.join(definition.ordered)}")
            )
    child = Child(row, False, None, True)

    def make(documents: Documents) -> list[Any]:
        wrap_children(node_of(child), documents, row.__name__)
        return wrap(row, documents)

    return make
