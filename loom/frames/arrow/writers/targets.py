"""Where columns go: the path of each in the documents, and the cell that makes its values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
from bson import ObjectId
from bson.codec_options import CodecOptions

from ....encoding import unencodable
from ....errors import FieldError, SchemaError, nearest
from ...annotations import resolved_annotations
from ...conditions import Field
from ...forms import SCHEMA_VERSION
from ..columns import Schema
from ..presence import PRESENT
from ..schema import as_type, by_name, type_at
from ..types import is_object_id
from .cells import Cell, Unfit, Unstorable
from .containers import ABSENT, documents_of
from .embedded_fields import check_embedded
from .fitting import Rules, cell_for, is_hex
from .objects import Things
from .pieces import Input, Part

__all__ = ["Target", "assembled", "check", "targets_for", "values_of"]


class Target(NamedTuple):
    """Where a column goes.

    Attributes:
        name: of the column.
        path: in the documents.
        position: of the column in the input.
        cell: makes its values.
        presence: the position of the column that tells whether a document has the field; None
            when all have it.
    """

    name: str
    path: str
    position: int
    cell: Cell
    presence: int | None = None


def targets_for(
    cls: Any, operation: str, given: Input, columns: Any, schema: Any, rules: Rules
) -> list[Target]:
    """Return where the columns go, `_id` first.

    Args:
        cls: the class.
        operation: for errors.
        given: the input.
        columns: by name, the path of a column: True for its name, None to leave it out; columns
            that are not there keep their names.
        schema: what fields are, instead of their annotations: by column or path.
        rules: of the call.

    Raises:
        FieldError: a path begins with no field of the class, or a struct has a field that its
            SubFrame does not have.
        SchemaError: a column has a type whose values are not stored, or are none of its field;
            or two columns go to one place.
    """
    place = cls.__name__
    paths = _paths(f"{place}.{operation}", given.names, columns)
    types = _types(place, schema, paths)
    presence = _presence(cls, given, paths)
    found = []
    for position, name in enumerate(given.names):
        path = paths[name]
        if path is None:
            continue
        _check_path(cls, name, path)
        if name not in types and path not in types:
            check_embedded(cls, name, path, given.types[position])
        cell = _cell(cls, name, path, given, types, rules)
        found.append(Target(name, path, position, cell, presence.get(name)))
    _check_apart(place, found)
    if not found:
        raise SchemaError(f"{place}.{operation}: expected columns to write, got none")
    return sorted(found, key=lambda target: target.path != "_id")


def _paths(place: str, names: Sequence[str], columns: Any) -> dict[str, str | None]:
    found: dict[str, str | None] = {name: name for name in names}
    if columns is None:
        return found
    if not isinstance(columns, Mapping):
        raise SchemaError(
            f"{place}: expected columns as a dict, {{'gold': 'lair.gold'}}, got {columns!r}"
        )
    for name, path in columns.items():
        if name not in found:
            raise SchemaError(
                f"{place}: expected names of columns, got {name!r}{nearest(str(name), names)}"
            )
        if path is True:
            path = name
        elif path is None or path is False:
            found[name] = None
            continue
        path = str(path) if isinstance(path, Field) else path
        if not isinstance(path, str):
            raise SchemaError(
                f"{place}: expected columns as {{name: 'path'}}, got {name!r}: {path!r}; None "
                "leaves a column out"
            )
        found[name] = path
    return found


def _presence(cls: Any, given: Input, paths: dict[str, str | None]) -> dict[str, int]:
    """Return the columns that tell of others whether documents have the field, as readers do."""
    found = {}
    for position, (name, type) in enumerate(zip(given.names, given.types, strict=True)):
        of = name.removesuffix(PRESENT)
        if of != name and of in paths and type == pa.bool_() and paths[name] == name:
            if name in cls._definition.names:
                continue
            found[of] = position
            paths[name] = None
    return found


def _types(place: str, schema: Any, paths: Mapping[str, Any]) -> dict[str, Any]:
    """Return what fields are said to be, by name and by path."""
    if schema is None:
        return {}
    schema = by_name(place, schema)
    if isinstance(schema, Schema):
        schema = {column.path: column.type for column in schema}
        schema = {path: type for path, type in schema.items() if path in paths.values()}
    if not isinstance(schema, Mapping):
        raise SchemaError(f"{place}: expected schema as a dict of types by column, got {schema!r}")
    known = {*paths, *paths.values()}
    for name in schema:
        if name not in known:
            raise SchemaError(
                f"{place}: expected names of columns in the schema, got {name!r}"
                f"{nearest(str(name), [*paths])}"
            )
    return {name: as_type(f"{place}.{name}", type) for name, type in schema.items()}


def _check_path(cls: Any, name: str, path: str) -> None:
    parts = path.split(".")
    if not all(parts) or any(part.startswith("$") or "\0" in part for part in parts):
        raise SchemaError(
            f"{cls.__name__}.{name}: expected a path such as 'lair.gold', got {path!r}; rename the "
            f"column: columns={{{name!r}: ...}}",
            name,
        )
    root, definition = parts[0], cls._definition
    if root in ("_id", *definition.names) or definition.is_open:
        return
    if cls._kinds is not None and (
        root == cls._kinds.field or any(root in c._definition.names for c in cls._kinds.below(cls))
    ):
        return
    if cls._schema_version is not None and root == SCHEMA_VERSION:
        return
    if root == cls._version:
        return
    raise FieldError(
        f"{cls.__name__}: expected a field, got the column {name!r}"
        f"{nearest(root, ('_id', *definition.names))}; columns={{{name!r}: 'path'}} says where it "
        "goes, None leaves it out"
    )


def _check_apart(place: str, found: Iterable[Target]) -> None:
    """Refuse two columns of which one would be written over the other."""
    names: dict[str, str] = {}
    for target in found:
        if target.path in names:
            raise SchemaError(
                f"{place}: expected a place for each column, got {target.path!r} for both "
                f"{names[target.path]!r} and {target.name!r}"
            )
        names[target.path] = target.name
    for target in found:
        above = target.path
        while "." in above:
            above = above.rpartition(".")[0]
            if above in names:
                raise SchemaError(
                    f"{place}: expected a place for each column, got {target.name!r} at "
                    f"{target.path!r}, inside of {names[above]!r}; leave one of them out"
                )


def _cell(
    cls: Any, name: str, path: str, given: Input, types: Mapping[str, Any], rules: Rules
) -> Cell:
    place = f"{cls.__name__}.{name}"
    type = given.types[given.names.index(name)]
    is_said = name in types or path in types
    wanted = types.get(name, types.get(path)) if is_said else None
    is_loose = False
    if not is_said:
        is_loose = path == "_id" and resolved_annotations(cls._definition).get("_id", Any) is Any
        wanted = None if is_loose else type_at(cls, path)
    found = Things(place, wanted, rules) if type is None else cell_for(place, type, wanted, rules)
    return LooseIds(found) if is_loose and not is_object_id(type) else found


class LooseIds(Cell):
    """The `_id`s of a class that does not say what they are.

    As in `by_id`, 24 hexadecimal digits are an ObjectId, and so are 12 bytes, which readers give.
    A column that holds other text, or bytes, as well, does not tell which is meant.
    """

    def __init__(self, inner: Cell) -> None:
        self.inner = inner
        self.are_ids: bool | None = None

    def check(self, array: Any) -> None:
        self.inner.check(array)
        values = self.inner.values(array)
        if not {str, bytes} & {*map(type, values)}:
            return
        for at, value in enumerate(values):
            kind = type(value)
            if kind is str or kind is bytes:
                is_id = is_hex(value) if kind is str else len(value) == 12
                if self.are_ids is None:
                    self.are_ids = is_id
                elif self.are_ids != is_id:
                    expected = "ObjectIds, or no ObjectIds, in a column"
                    raise Unfit(at, expected, value, "annotate _id with the type that it has")

    def values(self, array: Any) -> list[Any]:
        made = self.inner.values(array)
        if not self.are_ids:
            return made
        return [ObjectId(v) if type(v) is str or type(v) is bytes else v for v in made]


# Values


def check(
    cls: Any, targets: Iterable[Target], part: Part, start: int, codecs: CodecOptions[Any]
) -> None:
    """Look for values that cannot be stored.

    Args:
        cls: the class.
        targets: where the columns go.
        part: the rows.
        start: the number of the first row.
        codecs: of the collection.

    Raises:
        SchemaError: there is one; it names column and row.
    """
    for target in targets:
        try:
            target.cell.check(part.columns[target.position])
        except Unstorable as refused:
            place, row = f"{cls.__name__}.{target.name}", start + refused.at
            said = str(unencodable(place, refused.got, codecs, refused.reason))
            said = said.replace(": expected", f" in row {row}: expected", 1)
            raise SchemaError(said, target.name, None, refused.expected, refused.got) from None
        except Unfit as unfit:
            row = start + unfit.at
            got = repr(unfit.got)
            got = got if len(got) <= 80 else f"{got[:77]}..."
            raise SchemaError(
                f"{cls.__name__}.{target.name}: expected {unfit.expected}, got {got} in row {row}; "
                f"{unfit.advice}",
                target.name,
                None,
                unfit.expected,
                unfit.got,
            ) from None


def values_of(targets: Iterable[Target], part: Part) -> list[list[Any]]:
    """Return the values of some rows, that were checked, for each target."""
    found = []
    for target in targets:
        made = target.cell.values(part.columns[target.position])
        if target.presence is not None:
            there = part.columns[target.presence].to_pylist()
            made = [
                # A value that somebody has put there since is none that is absent.
                ABSENT if value is None and not is_there else value
                for value, is_there in zip(made, there, strict=True)
            ]
        found.append(made)
    return found


def assembled(
    paths: Sequence[str], columns: Sequence[list[Any]], rows: int, leaves_out: frozenset[type]
) -> list[dict[str, Any]]:
    """Return documents with values at paths.

    A document inside of them of which all is left out is left out, too.

    >>> from loom.frames.arrow.writers.containers import OMITS
    >>> assembled(["_id", "lair.gold"], [[1, 2], [7, None]], 2, OMITS)
    [{'_id': 1, 'lair': {'gold': 7}}, {'_id': 2}]
    """
    if not any("." in path for path in paths):
        return documents_of(paths, columns, rows, leaves_out)
    groups: dict[str, list[int]] = {}
    for position, path in enumerate(paths):
        groups.setdefault(path.partition(".")[0], []).append(position)
    made: list[list[Any]] = []
    for positions in groups.values():
        rests = [paths[position].partition(".")[2] for position in positions]
        inner: list[Any] = [columns[position] for position in positions]
        if rests == [""]:
            made.append(inner[0])
            continue
        documents: list[Any] = assembled(rests, inner, rows, leaves_out)
        made.append([one or ABSENT for one in documents] if leaves_out else documents)
    return documents_of([*groups], made, rows, leaves_out)
