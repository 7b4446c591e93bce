"""References in columns: what a projection with `$ref` and `$sub` loads, and of which types.

A projection of columns names what is loaded, on every level. Where it names nothing, as in
`{"$ref": Plane}`, all is loaded that has an annotation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from ....errors import FieldError, ProjectionError, SchemaError
from ...annotations import embedded, resolved_annotations
from ...plans import Plan
from ...pointers import reference_of, reverse_of
from ...projections import plan_for
from ...reverse import TO
from ..checks import check_one_form
from ..columns import Column, Schema
from ..given_types import GivenTypes
from ..schema import by_name, columns_for, field_type, path_type, paths_of, schema_of, struct_of
from ..types import AnyId, leaf_of, with_leaf
from .any_ids import is_known
from .layouts import Inner, Layout, Place, Reference, Referring, Target

__all__ = ["columns_of", "names_path"]

_REFS = ("$ref", "$ref.")
_SUBS = ("$sub", "$sub.")
_BESIDE_REF = ("$ref_key", "$missing", "$path")


def columns_of(cls: Any, projection: Any, schema: Any) -> Schema:
    """Return the columns of a call, a `Layout` where its projection has dicts in it.

    Args:
        cls: the class.
        projection: as for `columns_for`; a column can also be a dict with `$ref` or `$sub`.
        schema: as for `columns_for`; a struct for a column with `$ref` gives the types of what
            is put there, another type is that of the ids.

    Raises:
        ProjectionError: the dict of a column cannot be understood.
        SchemaError: a column has no type, or a type is that of no column.
        FieldError: a path begins with no field of its class.
    """
    if not isinstance(projection, Mapping) or not any(
        isinstance(value, Mapping) for value in projection.values()
    ):
        return columns_for(cls, projection, schema)
    schema = by_name(cls.__name__, schema)
    if schema is not None and not isinstance(schema, (Schema, Mapping)):
        return columns_for(cls, ["_id"], schema)  # which says what is wrong
    given = GivenTypes(cls.__name__, schema)
    layout = _Planner().layout(cls, projection, given, [])
    given.refuse_others()
    return layout


def names_path(projection: Any) -> bool:
    """Tell whether `$path` is anywhere in a projection."""
    if not isinstance(projection, Mapping):
        return False
    return "$path" in projection or any(map(names_path, projection.values()))


class _Planner:
    """Makes the layouts of one call; what is wanted of the same class in the same way is one."""

    def __init__(self) -> None:
        self._targets: list[Target] = []

    def layout(
        self, cls: Any, projection: Mapping[str, Any], given: GivenTypes, always: list[str]
    ) -> Layout:
        """Return the columns of a class, those that are `always` there first."""
        columns = {
            name: Column(name, given.find(name, name) or field_type(cls, name, {}), name)
            for name in always
        }
        paths = [*always]
        places: dict[str, Place] = {}
        for name, value in projection.items():
            where = f"{cls.__name__}.{name}"
            if isinstance(value, Mapping):
                ask = self._referring if "$from" in value else self._column
                column, found, more = ask(cls, where, name, value, given)
                if found is not None:
                    places[name] = found
            else:
                ((_, path),) = paths_of(cls.__name__, {name: value})
                column = Column(name, given.find(name, path) or path_type(cls, name, path), path)
                more = [path]
            if columns.get(name, column) != column:
                raise ProjectionError(
                    f"{where}: expected {name!r} as it is stored, by which references are put in "
                    f"place, got {value!r}; choose another name"
                )
            columns[name] = column
            paths += more
        paths = [*dict.fromkeys(paths)]
        return Layout(cls.__name__, columns.values(), paths, places, [*self._targets])

    def _column(
        self, cls: Any, where: str, name: str, value: Mapping[str, Any], given: GivenTypes
    ) -> tuple[Column, Place | None, list[str]]:
        """Return a column, the references in it, and what is fetched for it."""
        kind = _kind_of(where, value)
        ((_, path),) = paths_of(where.rpartition(".")[0], {name: value.get("$path", name)})
        if kind in _REFS:
            type, reference = self._reference(cls, where, Column(name, None, path), value, given)
            return Column(name, type, path), reference, [path]
        type, inner, paths = self._embedded(cls, where, name, value, given)
        return Column(name, type, path), inner, paths

    # References

    def _reference(
        self,
        cls: Any,
        where: str,
        column: Column,
        value: Mapping[str, Any],
        given: GivenTypes,
    ) -> tuple[Any, Reference]:
        """Return the type of the ids of a column, and what is put in their places."""
        directive = next(one for one in _REFS if one in value)
        said = {k: v for k, v in value.items() if k.startswith("$") and k != "$path"}
        asked = reference_of(Plan(cls, {}, None), said, directive, column.path, where, plan_for)
        target_class, key = asked.frame_class, asked.key
        declared = given.find(column.name, column.path)
        stored = None if cls is None else _type_or_none(cls, column, declared)
        shape = stored if declared is None else declared
        if key != "_id":
            leaf = _type_or_none(target_class, Column(key, None, key), None)
        elif declared is not None and not pa.types.is_struct(leaf_of(declared)):
            leaf = leaf_of(declared)
        else:
            leaf = None if stored is None else leaf_of(stored)
        leaf = AnyId() if leaf is None or not is_known(leaf) else leaf
        if asked.is_map and (shape is None or not pa.types.is_map(shape)):
            shape = pa.map_(pa.string(), pa.null() if shape is None else shape)
        below = given.below(column.name, column.path)
        target = self._target(where, target_class, key, value, below)
        type = leaf if shape is None else with_leaf(shape, leaf)
        return type, Reference(target, asked.on_missing, where)

    def _target(
        self, where: str, cls: Any, key: str, value: Mapping[str, Any], given: GivenTypes
    ) -> Target:
        check_one_form(where, cls, "upgrade what is stored first")
        layout = self._inner(where, cls, [*dict.fromkeys(["_id", key])], value, given)
        for known in self._targets:
            is_same = (known.frame_class, known.key, known.reverse) == (cls, key, None)
            if is_same and known.layout.is_same(layout):
                return known
        target = Target(cls, key, layout)
        self._targets.append(target)
        return target

    def _inner(
        self,
        where: str,
        cls: Any,
        always: list[str],
        value: Mapping[str, Any],
        given: GivenTypes,
    ) -> Layout:
        """Return the columns that stand beside a directive."""
        named = {name: inner for name, inner in value.items() if not name.startswith("$")}
        if not named:
            named = dict.fromkeys(
                given.fields or [column.name for column in schema_of(cls, given.single())], True
            )
        for name in always:
            if named.get(name, True) is False:
                raise ProjectionError(
                    f"{where}.{name}: expected {name!r} to be loaded, got False; references are "
                    "put in place by it"
                )
        return self.layout(cls, named, given, always)

    def _referring(
        self, cls: Any, where: str, name: str, value: Mapping[str, Any], given: GivenTypes
    ) -> tuple[Column, Place, list[str]]:
        """Return the column of what refers to the documents: their ids, for which it is put."""
        said = {k: v for k, v in value.items() if isinstance(k, str) and k.startswith("$")}
        asked = reverse_of(Plan(cls, {}, None), said, name, name, where, plan_for)
        check_one_form(where, asked.frame_class, "upgrade what is stored first")
        type = _type_or_none(cls, Column(name, None, asked.key), None)
        type = type if type is not None and is_known(type) else AnyId()
        layout = self._inner(where, asked.frame_class, ["_id"], value, given.below(name, name))
        # What says to whom each of them belongs is fetched, too.
        paths = [*layout.fetched(), asked.on if asked.limit is None else TO]
        layout = Layout(layout.place, layout, paths, layout.places, layout.targets)
        target = Target(asked.frame_class, "_id", layout, asked)
        self._targets.append(target)
        return Column(name, type, asked.key), Referring(target), [asked.key]

    # Embedded documents

    def _embedded(
        self, cls: Any, where: str, name: str, value: Mapping[str, Any], given: GivenTypes
    ) -> tuple[Any, Inner | None, list[str]]:
        """Return the type of embedded documents, the references in them, and what is fetched."""
        sub_class, shape = _sub_class(cls, name)
        for directive in _SUBS:
            if directive in value:
                sub_class = _checked(where, directive, value[directive])
                shape = "map" if directive == "$sub." else shape
        declared = given.find(name, name)
        if sub_class is None and declared is None:
            raise SchemaError(
                f"{where}: expected embedded documents of a SubFrame, got a field that no "
                "annotation says to hold them; name their class in $sub, or give its type"
            )
        below = given.below(name, name)
        types: dict[str, Any] = {}
        places: dict[str, Place] = {}
        paths: list[str] = []
        for field, inner in value.items():
            if field.startswith("$"):
                continue
            place = f"{where}.{field}"
            if "." in field or (inner is not True and not isinstance(inner, Mapping)):
                raise ProjectionError(
                    f"{place}: expected the name of a field with True or a dict in an embedded "
                    f"document, got {inner!r}; paths and other names are for columns"
                )
            if isinstance(inner, Mapping):
                if "$path" in inner:
                    raise ProjectionError(
                        f"{place}: expected no $path in an embedded document, got "
                        f"{inner['$path']!r}; paths are for columns"
                    )
                column, found, more = self._column(sub_class, place, field, inner, below)
                types[field] = column.type
                if found is not None:
                    places[field] = found
            else:
                given_type = below.find(field, field)
                if given_type is None and sub_class is None:
                    raise SchemaError(
                        f"{place}: expected a type that is given, or the annotation of a SubFrame, "
                        "got none; give its type by schema="
                    )
                types[field] = given_type or path_type(sub_class, field, field)
                more = [field]
            paths += [f"{name}.{path}" for path in more]
        if types:
            struct = pa.struct([*types.items()])
        else:
            struct = struct_of(where, sub_class) if declared is None else leaf_of(declared)
            paths = [name]
        if declared is not None:
            held = with_leaf(declared, struct)
        else:
            held = {"map": pa.map_(pa.string(), struct), "list": pa.list_(struct)}.get(
                shape, struct
            )
        if pa.types.is_map(held):
            paths = [name]  # its keys are not known
        return held, Inner(places) if places else None, paths


def _kind_of(where: str, value: Mapping[str, Any]) -> str | None:
    """Return the directive that a dict stands for, None when it only names fields."""
    kinds = [directive for directive in (*_REFS, *_SUBS) if directive in value]
    if len(kinds) > 1:
        raise ProjectionError(
            f"{where}: expected one of $ref, $ref., $sub and $sub., got {' and '.join(kinds)}; "
            "keep one of them"
        )
    if not value:
        raise ProjectionError(
            f"{where}: expected True, a path or a dict with content, got {{}}; write True"
        )
    known = {*kinds, *(_BESIDE_REF if kinds and kinds[0] in _REFS else ())}
    for name in value:
        if not isinstance(name, str) or not name:
            raise ProjectionError(f"{where}: expected the name of a field, got {name!r}")
        if name == "$from":
            raise ProjectionError(
                f"{where}: expected $from under the name of a column, got it in an embedded "
                "document; documents refer to frames, not to what is inside them"
            )
        if name.startswith("$") and name not in known:
            beside = f"{', '.join(_BESIDE_REF)} or fields beside $ref" if kinds else "fields"
            raise ProjectionError(
                f"{where}: expected {beside}, got {name!r}; what is computed comes from a pipeline"
            )
    return kinds[0] if kinds else None


def _checked(where: str, directive: str, sub_class: Any) -> Any:
    if not isinstance(sub_class, type) or not getattr(sub_class, "_is_subframe", False):
        raise ProjectionError(
            f"{where}: expected a SubFrame class after {directive}, got {sub_class!r}"
            + ("; use $ref for a Frame" if getattr(sub_class, "_is_frame", False) else "")
        )
    return sub_class


# What annotations say


def _type_or_none(cls: Any, column: Column, declared: Any) -> Any:
    """Return the type at the path of a column, None where it may be any.

    Raises:
        FieldError: the class has no such field, and no type is given for it.
    """
    try:
        return path_type(cls, column.name, column.path)
    except SchemaError:
        return None
    except FieldError:
        if declared is None:
            raise
        return None


def _sub_class(cls: Any, path: str) -> tuple[Any, str]:
    """Return the SubFrame class at a path, None when there is none, and how it is held."""
    shape = "one"
    for name in path.split("."):
        held = None
        if cls is not None:
            held = embedded(resolved_annotations(cls._definition).get(name))
        if held is None:
            return None, "one"
        cls, inner = held
        if inner != "one":
            shape = inner if shape == "one" else "list"
    return cls, shape
