"""Update documents: what a caller writes in MongoDB's operators, checked and ready to be sent.

An update document is a dict of operators (`{"$set": {"name": "Burt"}, "$inc": {"age": 1}}`) or a
list of stages (`[{"$set": {"total": {"$add": ["$gold", "$silver"]}}}]`), which can read the
document itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, TypeAlias

from ..encoding import Naive, settle_datetimes
from ..errors import QueryError, nearest
from .changes import check_fields
from .conditions import Expression, Field, element
from .forms import own_fields, refuse_change
from .paths import ancestors
from .values import at, plain

__all__ = ["Changes", "compiled_changes", "paths_in", "with_joined", "with_version"]

#: What a caller may pass: operators with fields and values, or the stages of a pipeline.
Changes: TypeAlias = Mapping[str, Mapping[Any, Any]] | Sequence[Mapping[str, Any]]

_OPERATORS = frozenset(
    ("$addToSet", "$bit", "$currentDate", "$inc", "$max", "$min", "$mul", "$pop", "$pull")
    + ("$pullAll", "$push", "$rename", "$set", "$unset")
)
_ASSIGNING = frozenset({"$set", "$addFields"})
_REPLACING = frozenset({"$project", "$replaceRoot", "$replaceWith"})
_STAGES = _ASSIGNING | _REPLACING | {"$unset"}


def compiled_changes(cls: Any, changes: Any, naive: Naive, operation: str) -> Any:
    """Return a new update document, as PyMongo takes it; what was passed is never changed.

    Paths may be written as `Q.lair.gold`; frames become their `_id`, sub-frames dicts.

    Args:
        cls: whose documents are changed; the paths begin with its fields.
        changes: operators, or a list of stages.
        naive: what a datetime without zone means.
        operation: for errors.

    Raises:
        QueryError: no update document, or one that a server would refuse.
        FieldError: a path does not begin with a declared field.
        MissingId: a frame in it has no `_id`.

    >>> from loom import Frame, Q
    >>> class Dragon(Frame):
    ...     gold: int
    >>> compiled_changes(Dragon, {"$inc": {Q.gold: 5}}, "utc", "update_where")
    {'$inc': {'gold': 5}}
    """
    place = f"{cls.__name__}.{operation}"
    if isinstance(changes, Mapping):
        compiled: Any = _operators(cls, changes, operation, place)
        settle_datetimes(compiled, naive, cls.__name__)
    elif isinstance(changes, (list, tuple)):
        compiled = [_stage(cls, stage, operation, place) for stage in changes]
        settle_datetimes({"stages": compiled}, naive, cls.__name__)
    else:
        raise QueryError(
            f"{place}: expected update operators such as {{'$set': {{...}}}}, got {changes!r} of "
            f"type {type(changes).__name__}"
        )
    if not compiled:
        raise QueryError(f"{place}: expected something to write, got {changes!r}")
    _check_version(cls, compiled, place)
    return compiled


def _operators(cls: Any, changes: Mapping[Any, Any], operation: str, place: str) -> dict[str, Any]:
    compiled: dict[str, dict[str, Any]] = {}
    for operator, assigned in changes.items():
        if not isinstance(operator, str) or operator[:1] != "$":
            name = str(operator) if isinstance(operator, Field) else operator
            raise QueryError(
                f"{place}: expected update operators, got the field {name!r}; write "
                f"{{'$set': {{{name!r}: ...}}}}"
            )
        if operator == "$setOnInsert":
            raise QueryError(
                f"{place}: expected operators that change what is there, got '$setOnInsert', "
                "which only an insert heeds"
            )
        if operator not in _OPERATORS:
            raise QueryError(
                f"{place}: expected one of MongoDB's update operators, got {operator!r}"
                f"{nearest(operator, _OPERATORS)}"
            )
        if not isinstance(assigned, Mapping):
            raise QueryError(
                f"{place}.{operator}: expected a dict of fields and values, got {assigned!r}"
            )
        part = _assigned(cls, assigned, operator, operation, place)
        if part:
            compiled[operator] = part
    _check_conflicts(paths_in(compiled), place)
    return compiled


def _assigned(
    cls: Any, assigned: Mapping[Any, Any], operator: str, operation: str, place: str
) -> dict[str, Any]:
    part: dict[str, Any] = {}
    for path, value in _by_path(assigned, f"{place}.{operator}").items():
        here = f"{cls.__name__}.{path}"
        check_fields(cls, [path], operation)
        if operator == "$rename":
            value = str(value) if isinstance(value, Field) else value
            check_fields(cls, [value], operation)
        if isinstance(value, Field):
            raise QueryError(
                f"{here}: expected a value, got the path {value!r}; to set a field from another "
                f"one write a pipeline, [{{'$set': {{{path!r}: '${value}'}}}}]"
            )
        if operator == "$pull" and isinstance(value, (Expression, Mapping)):
            part[path] = element([value], here)
        else:
            part[path] = plain(value, here)
    return part


def _by_path(assigned: Mapping[Any, Any], place: str) -> dict[str, Any]:
    """Return the same with text for paths."""
    part: dict[Any, Any] = {}
    for path, value in assigned.items():
        name = str(path) if isinstance(path, Field) else path
        if name in part:
            raise QueryError(f"{place}: expected each field once, got {name!r} twice")
        part[name] = value
    return part


def _check_conflicts(paths: Sequence[str], place: str) -> None:
    """Refuse a path beside itself or beside one that holds it, as a server would."""
    known = set(paths)
    for position, path in enumerate(paths):
        above = next((other for other in ancestors(path) if other in known), None)
        if above is not None or path in paths[:position]:
            raise QueryError(
                f"{place}: expected each field to be changed once, got {path!r} beside "
                f"{above or path!r}"
            )


def _stage(cls: Any, stage: Any, operation: str, place: str) -> dict[str, Any]:
    """Compile one stage of a pipeline."""
    if not isinstance(stage, Mapping) or len(stage) != 1 or not _STAGES.issuperset(stage):
        raise QueryError(
            f"{place}: expected stages of {', '.join(sorted(_STAGES))}, each in a dict of its own, "
            f"got {stage!r}"
        )
    ((name, content),) = stage.items()
    here = f"{place}.{name}"
    if name == "$unset":
        listed = content if isinstance(content, (list, tuple, AbstractSet)) else [content]
        paths = [str(path) if isinstance(path, Field) else path for path in listed]
        check_fields(cls, paths, operation)
        return {name: paths}
    if name not in _ASSIGNING:
        return {name: plain(_as_expression(content), here)}
    if not isinstance(content, Mapping):
        raise QueryError(f"{here}: expected a dict of fields and values, got {content!r}")
    part = _by_path(content, here)
    check_fields(cls, part, operation)
    return {name: {path: plain(_as_expression(v), at(here, path)) for path, v in part.items()}}


def _as_expression(value: Any) -> Any:
    """Return an expression in which paths are field references: `Q.a` is `'$a'`."""
    if isinstance(value, Field):
        return f"${value}"
    if isinstance(value, (list, tuple)):
        return [_as_expression(item) for item in value]
    if isinstance(value, Mapping):
        return {
            str(key) if isinstance(key, Field) else key: _as_expression(item)
            for key, item in value.items()
        }
    return value


def _check_version(cls: Any, compiled: Any, place: str) -> None:
    paths = paths_in(compiled)
    for path in paths:
        refuse_change(cls, path, place)
    own = own_fields(cls, {}, "") - {cls._version}
    if own and isinstance(compiled, list) and any(_REPLACING & stage.keys() for stage in compiled):
        raise QueryError(
            f"{place}: expected stages that keep {', '.join(map(repr, own))}, which says what the "
            "document is, got one that replaces the document; use $set and $unset"
        )
    version: str | None = getattr(cls, "_version", None)
    if version is None:
        return
    if any(path.partition(".")[0] == version for path in paths):
        raise QueryError(
            f"{place}: expected fields that are written, got {version!r}, which counts the "
            "versions by itself; leave it out"
        )
    if isinstance(compiled, list) and any(_REPLACING & stage.keys() for stage in compiled):
        raise QueryError(
            f"{place}: expected stages that keep {version!r}, got one that replaces the document; "
            "use $set and $unset"
        )


def paths_in(changes: Any) -> tuple[str, ...]:
    """Return the paths that a compiled update document names, in its order.

    Stages that replace the document name none.

    >>> paths_in({"$set": {"name": "Burt"}, "$rename": {"gold": "wealth"}})
    ('name', 'gold', 'wealth')
    """
    if isinstance(changes, list):
        return tuple(dict.fromkeys(path for stage in changes for path in _paths_in_stage(stage)))
    paths = [path for part in changes.values() for path in part]
    return (*paths, *changes.get("$rename", {}).values())


def _paths_in_stage(stage: Mapping[str, Any]) -> Iterable[str]:
    ((name, content),) = stage.items()
    return () if name in _REPLACING else content


def with_joined(changes: Any, joined: Mapping[str, Mapping[str, Any]]) -> Any:
    """Return a compiled update document with `$set`, `$unset` and `$inc` of further paths."""
    if not joined:
        return changes
    if isinstance(changes, dict):
        operators = dict.fromkeys([*changes, *joined])
        return {name: {**joined.get(name, {}), **changes.get(name, {})} for name in operators}
    # In a pipeline a dict would be joined with the one that is stored, and a text with a dollar read.
    assigned = {path: {"$literal": value} for path, value in joined.get("$set", {}).items()}
    assigned |= {path: _added(path, amount) for path, amount in joined.get("$inc", {}).items()}
    removed = [*joined.get("$unset", {})]
    stages = [{"$set": assigned}] if assigned else []
    return [*changes, *stages, *([{"$unset": removed}] if removed else [])]


def with_version(cls: Any, changes: Any) -> Any:
    """Return a compiled update document that counts the version of a class's documents, too."""
    version: str | None = getattr(cls, "_version", None)
    return changes if version is None else with_joined(changes, {"$inc": {version: 1}})


def _added(path: str, amount: Any) -> dict[str, Any]:
    return {"$add": [{"$ifNull": [f"${path}", 0]}, amount]}
