"""Aggregation pipelines as values, and the checks that all stages share.

`expression` turns what a user writes into plain dicts and lists: a path such as `Q.lair.gold` becomes
the field reference `"$lair.gold"`, a frame the id that it stands for, as a literal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import QueryError, nearest
from .conditions import Expression, Field, check, to_filter
from .sorts import to_sort
from .values import Frozen, all_scalars, is_document, plain

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "Pipeline",
    "Stages",
    "collection_of",
    "copied",
    "expression",
    "field_names",
    "key_of",
    "named",
    "new_path",
    "one_of",
    "options",
    "path_of",
    "positive",
    "reference",
    "sort_of",
    "stage_of",
    "stages_of",
]

#: What every parameter for a pipeline takes: stages, a list of dicts, or one dict.
Stages: TypeAlias = "Pipeline | Mapping[str, Any] | Iterable[Any]"


class Pipeline(Frozen):
    """Stages of an aggregation, in their order; every method gives a new one.

    Args:
        stages: what it begins with, as dicts.
    """

    __slots__ = ("_stages",)
    _stages: tuple[dict[str, Any], ...]

    def __init__(self, stages: Stages = ()) -> None:
        object.__setattr__(self, "_stages", tuple(stages_of(stages, type(self).__name__)))

    def to_list(self) -> list[dict[str, Any]]:
        """Return the stages as new dicts, as PyMongo's `aggregate` takes them."""
        return [*self]

    def stage(self, stage: Mapping[str, Any]) -> Self:
        """Add any stage as a dict, also one that has no method here."""
        return self._with(stage_of(stage, f"{type(self).__name__}.stage"))

    def _with(self, *stages: dict[str, Any]) -> Self:
        made = object.__new__(type(self))
        object.__setattr__(made, "_stages", (*self._stages, *stages))
        return made

    def _add(self, name: str, content: Any) -> Self:
        return self._with({name: content})

    def __or__(self, other: Stages) -> Self:
        """Return the stages of both, these first."""
        return self._with(*stages_of(other, f"{type(self).__name__} |"))

    def __ror__(self, other: Stages) -> Self:
        return type(self)(other)._with(*self._stages)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        # Copies, so that nothing done to what is handed out comes back here.
        return iter([copied(stage) for stage in self._stages])

    def __len__(self) -> int:
        return len(self._stages)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Pipeline):
            return NotImplemented
        return self._stages == other._stages

    def __hash__(self) -> int:
        return hash(tuple(name for stage in self._stages for name in stage))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.to_list(),)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.to_list()!r})"


def copied(value: Any) -> Any:
    """Return a copy of plain dicts and lists."""
    if isinstance(value, dict):
        return {key: copied(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [*value] if all_scalars(value) else [*map(copied, value)]
    return value


# What users write


def stages_of(stages: Stages, place: str) -> list[dict[str, Any]]:
    """Return stages as new plain dicts.

    Raises:
        QueryError: anything that is no stage.
    """
    if isinstance(stages, Pipeline):
        return stages.to_list()
    if isinstance(stages, Mapping):
        return [stage_of(stages, place)]
    if isinstance(stages, (str, bytes, Expression)) or not isinstance(stages, Iterable):
        raise QueryError(
            f"{place}: expected stages as a list of dicts or AggregationStages, got {stages!r} of "
            f"type {type(stages).__name__}"
        )
    found: list[dict[str, Any]] = []
    for position, stage in enumerate(stages):
        if isinstance(stage, Pipeline):
            found += stage.to_list()
        else:
            found.append(stage_of(stage, f"{place}.{position}"))
    return found


def stage_of(stage: Any, place: str) -> dict[str, Any]:
    """Return one stage as a new plain dict.

    Raises:
        QueryError: not a dict with one name that starts with a dollar.
    """
    names = list(stage) if isinstance(stage, Mapping) else []
    if len(names) != 1 or not isinstance(names[0], str) or names[0][:1] != "$":
        hint = "; put each stage into a dict of its own" if len(names) > 1 else ""
        raise QueryError(
            f"{place}: expected a stage such as {{'$limit': 5}}, a dict with one name that starts "
            f"with $, got {stage!r}{hint}"
        )
    (name,) = names
    content = stage[name]
    if name == "$match":
        return {name: to_filter(content)}
    if name == "$sort" and not isinstance(content, Mapping):
        return {name: dict(sort_of([content], f"{place}.$sort"))}
    return {name: expression(content, f"{place}.{name}")}


def expression(value: Any, place: str) -> Any:
    """Return an aggregation expression in plain dicts and lists.

    Text that begins with a dollar is a field reference, as everywhere in MongoDB; a value that
    comes from users belongs into `{"$literal": value}`.

    Raises:
        QueryError: a condition, which is no expression.
        MissingId: a frame has no `_id`.

    >>> from loom import Q
    >>> expression({"$add": [Q.lair.gold, 1]}, "")
    {'$add': ['$lair.gold', 1]}
    """
    try:
        return _expression(value, place)
    except RecursionError:
        raise QueryError(f"{place}: expected an expression that does not hold itself") from None


def _expression(value: Any, place: str) -> Any:
    if isinstance(value, Field):
        return reference(value, place)
    if isinstance(value, Expression):
        raise QueryError(
            f"{place}: expected an aggregation expression, got the condition {value!r}; write "
            "{'$gt': [Q.a, 5]}, or put it into a $match"
        )
    if isinstance(value, Pipeline):
        return value.to_list()
    if isinstance(value, Mapping):
        if len(value) == 1:
            if "$literal" in value:
                return {"$literal": plain(value["$literal"], f"{place}.$literal")}
            if "$match" in value:
                return {"$match": to_filter(value["$match"])}
        return {
            str(key) if isinstance(key, Field) else key: _expression(inner, f"{place}.{key}")
            for key, inner in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_expression(inner, place) for inner in value]
    if is_document(type(value)):
        stored = plain(value, place)
        # An _id that begins with a dollar is no path, nor is a sub-frame an expression.
        return {"$literal": stored} if isinstance(stored, (str, dict, list)) else stored
    return plain(value, place)


def path_of(field: Any, place: str) -> str:
    """Return the dotted path of a field: of `Q.lair.gold`, `"lair.gold"` or `"$lair.gold"`.

    Raises:
        QueryError: no path, or a variable.
    """
    path = str(field) if isinstance(field, Field) else field
    if isinstance(path, str):
        path = path.removeprefix("$")  # as MongoDB writes it where a value is meant
    if not isinstance(path, str) or not path or path[:1] == "$":
        raise QueryError(f"{place}: expected the name of a field, got {field!r}")
    check(path)
    return path


def new_path(name: Any, place: str) -> str:
    """Return the path of a field that is made.

    Raises:
        QueryError: no path.
    """
    if isinstance(name, str) and name[:1] == "$":
        raise QueryError(f"{place}: expected the name of a new field, got {name!r}")
    return path_of(name, place)


def reference(field: Any, place: str) -> str:
    """Return the field reference of a path."""
    return f"${path_of(field, place)}"


def field_names(names: Iterable[Any], place: str) -> list[str]:
    """Return the paths of fields; at least one, each once."""
    paths = [path_of(name, place) for name in names]
    if not paths or len({*paths}) < len(paths):
        raise QueryError(f"{place}: expected names of fields, each once, got {paths}")
    return paths


def key_of(name: Any, place: str) -> str:
    """Return a name that is no path: of a facet, a pipeline, or what a group gives.

    Raises:
        QueryError: any other.
    """
    if not isinstance(name, str) or not name or name[0] == "$" or "." in name or "\0" in name:
        raise QueryError(f"{place}: expected a name without $ and dots, got {name!r}")
    return name


def named(fields: Mapping[Any, Any] | None, more: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return expressions by the field that they are for, from a dict and keywords.

    Raises:
        QueryError: none, or a name that is no path of a field.
    """
    if fields is not None and not isinstance(fields, Mapping):
        raise QueryError(f"{place}: expected a dict of expressions or keywords, got {fields!r}")
    found: dict[str, Any] = {}
    for name, value in [*(fields or {}).items(), *more.items()]:
        path = str(name) if isinstance(name, Field) else name
        if not isinstance(path, str) or path[:1] == "$" or path in found:
            raise QueryError(f"{place}: expected each field once, by its name, got {name!r}")
        check(path)
        found[path] = expression(value, f"{place}.{path}")
    if not found:
        raise QueryError(f"{place}: expected at least one field, got none")
    return found


def sort_of(by: Iterable[Any], place: str, descending: bool = False) -> list[tuple[str, Any]]:
    """Return a sort in PyMongo's form, made of all forms that Loom takes.

    Args:
        by: names, paths, pairs, or lists of them; also PyMongo's `"age", -1`.
        place: for errors.
        descending: the direction of what names none.

    Raises:
        QueryError: nothing to sort by, a name twice, or two directions for one name.
    """
    given = list(by)
    if len(given) == 2 and type(given[1]) is int:
        given = [(given[0], given[1])]
    pairs = [pair for item in given for pair in to_sort(item) or []]
    if not pairs or len(dict(pairs)) < len(pairs):
        raise QueryError(f"{place}: expected names to sort by, each once, got {given!r}")
    if not descending:
        return pairs
    if any(direction != 1 for _, direction in pairs):
        raise QueryError(
            f"{place}: expected one direction for each name, got {given!r} and descending=True; "
            "write '-name' where it descends"
        )
    return [(name, -1) for name, _ in pairs]


def positive(value: Any, place: str, *, least: int = 1) -> int:
    """Return a whole number that is not less than `least`.

    Raises:
        QueryError: anything else.
    """
    if type(value) is bool or not isinstance(value, int) or value < least:
        raise QueryError(
            f"{place}: expected a whole number from {least} on, got {value!r}"
            + (f" of type {type(value).__name__}" if not isinstance(value, int) else "")
        )
    return int(value)


def collection_of(given: Any, place: str) -> str:
    """Return the name of a collection, of text or of a Frame class."""
    if isinstance(given, type) and getattr(given, "_is_frame", False) is True:
        name = given._collection  # type: ignore[attr-defined]  # as every Frame class has
    else:
        name = given
    if not isinstance(name, str) or not name:
        raise QueryError(
            f"{place}: expected a Frame class or the name of a collection, got {given!r}"
        )
    return name


def one_of(value: Any, choices: Iterable[str], place: str) -> Any:
    """Return a word if it is one of the choices.

    Raises:
        QueryError: another one.
    """
    words = list(choices)
    if value not in words:
        shown = ", ".join(map(repr, words))
        raise QueryError(
            f"{place}: expected one of {shown}, got {value!r}{nearest(str(value), words)}"
        )
    return value


def options(**given: Any) -> dict[str, Any]:
    """Return the options of a stage under MongoDB's names, without those that are None.

    >>> options(max_depth=3, as_="staff", depth_field=None)
    {'maxDepth': 3, 'as': 'staff'}
    """
    found = {}
    for name, value in given.items():
        if value is not None:
            first, *others = name.rstrip("_").split("_")
            found[first + "".join(map(str.capitalize, others))] = value
    return found
