"""Projections: what to fetch and how to wrap it, compiled once into a plan."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Union

from ..errors import LoomError, ProjectionError
from .annotations import resolved_annotations
from .conditions import Expression
from .fetching import Flat, keeps_the_rest, partial, with_key, with_version, without
from .nodes import add_declared, child_of, inner_node, mark_references, settings_of
from .plans import Node, Plan
from .pointers import OF_REFERENCES, OF_REVERSES, reference_of, reverse_of
from .values import SCALARS, plain

__all__ = ["Projection", "plan_for"]

#: What a caller may pass: a dict as for PyMongo, with `$ref` and `$sub` inside, or names.
Projection = Union[  # noqa: UP007 - an alias for 3.10
    Mapping[str, Any], list[str], tuple[str, ...], AbstractSet[str], None
]

_REFS = ("$ref", "$ref.")
_SUBS = ("$sub", "$sub.")
_DIRECTIVES = frozenset({*_REFS, *_SUBS, "$from", *OF_REFERENCES})
_NAMES = (list, tuple, AbstractSet)
_PROJECTIONS = (Mapping, *_NAMES)


def plan_for(frame_class: Any, projection: Projection = None, key: str | None = None) -> Plan:
    """Return the plan of a projection for a Frame class, from the class's cache if it is there.

    Args:
        frame_class: whose documents are fetched.
        projection: None stands for the class's default, an empty one for all declared fields.
        key: a field to fetch in any case, because references are put in place by it.

    Raises:
        ProjectionError: the projection cannot be understood; the message names the path.
    """
    if projection is None:
        projection = frame_class._default_projection
    if projection is not None and not isinstance(projection, _PROJECTIONS):
        raise _wrong_type(frame_class.__name__, projection)
    try:
        cache_key = (_frozen(projection or {}), key) if projection or key else None
    except TypeError:
        # A value that cannot be compared safely, or one that compiling will refuse.
        return _compile(frame_class, projection, key)
    except RecursionError:
        raise ProjectionError(
            f"{frame_class.__name__}: expected a projection of finite depth, got one that "
            "contains itself"
        ) from None
    plans = frame_class._definition.plans
    plan: Plan | None = plans.get(cache_key)
    if plan is None or not _is_current(plan):
        plan = _compile(frame_class, projection, key)
        if len(plans) >= 256:
            plans.clear()
        plans[cache_key] = plan
    return plan


def _is_current(plan: Plan) -> bool:
    """Tell whether fields and annotations are still those that the plan was made of."""
    for cls, (definition, resolved, settings) in plan.made_of.items():
        if cls._definition is not definition or resolved_annotations(definition) is not resolved:
            return False
        if settings_of(cls) != settings:
            return False
    return True


# Keys of the cache: equal for projections that mean the same, whatever their order


def _frozen(projection: Any) -> Any:
    """Return a hashable form of a projection; TypeError when there is none."""
    if isinstance(projection, _NAMES):
        return frozenset((_text(name), True) for name in projection)
    if not isinstance(projection, Mapping):
        return _refuse()
    items = []
    for name, value in projection.items():
        if type(name) is not str:
            return _refuse()
        if name[:1] == "$":
            if name in ("$ref_key", "$missing", "$on"):
                frozen: Any = _text(value)
            elif name in _DIRECTIVES:
                frozen = value if isinstance(value, type) else _refuse()
            else:
                frozen = _literal(value)
        elif isinstance(value, Mapping):
            frozen = _frozen(value)
        elif value is True:
            frozen = value
        elif isinstance(value, (bool, int, float)):
            frozen = bool(value) if value in (0, 1) else _refuse()
        else:
            frozen = _text(value)
        items.append((name, frozen))
    return frozenset(items)


def _literal(value: Any) -> Any:
    """Return a hashable form of an operator's value, in which 1, 1.0 and True differ."""
    if isinstance(value, Mapping):
        return (dict, *((_text(name), _literal(inner)) for name, inner in value.items()))
    if isinstance(value, (list, tuple)):
        return (list, *map(_literal, value))
    return (type(value), value) if type(value) in SCALARS else _refuse()


def _text(value: Any) -> str:
    return value if type(value) is str else _refuse()


def _refuse() -> Any:
    raise TypeError


def _copied(value: Any) -> Any:
    """Return a copy of a projection that later changes of the caller's do not reach."""
    if isinstance(value, Mapping):
        return {name: _copied(inner) for name, inner in value.items()}
    return [*map(_copied, value)] if isinstance(value, (list, tuple)) else value


# Compiling


def _compile(frame_class: Any, projection: Any, key: str | None) -> Plan:
    name = frame_class.__name__
    named = _mapping(projection, name) if projection else {}
    plan = Plan(frame_class, _copied(named), key)
    definition = frame_class._definition
    classes = _with_kinds(frame_class)
    driver = None
    if not any(one._definition.is_open for one in classes):
        names = definition.names.union(*(one._definition.names for one in classes))
        driver = dict.fromkeys(sorted(names), True)
    if named:
        flat = Flat(name)
        names_plain_fields = _compile_level(plan, plan.node, named, "", flat)
        for reverse in plan.reverses:
            flat.refuse_inside(reverse.name)
        if names_plain_fields or flat.excluded:
            driver = flat.settled()
        else:
            driver = flat.beside(driver)
    driver = with_key(driver, key, name)
    if frame_class._schema_version is not None:
        plan.upgrades = any(one._upgrade is not None for one in classes)
        if plan.upgrades and driver is not None and driver.get("_id") is False:
            # By it the whole of an older document is fetched.
            driver = {path: value for path, value in driver.items() if path != "_id"} or None
    for kept in _kept(frame_class, classes):
        driver = with_version(driver, kept)
    for reverse in plan.reverses:
        driver = without(with_key(driver, reverse.key, name), reverse.name)
    plan.driver = driver
    plan.partial, plan.computed = partial(plan.driver or {})
    add_declared(plan, plan.node, frame_class, "", plan.driver)
    mark_references(plan.node)
    plan.is_plain = plan.node.is_empty and not plan.is_remembered and not plan.reverses
    plan.is_plain &= not plan.upgrades
    for one in classes[1:]:
        inner = plan.kinds[one] = plan_for(one, plan.projection, key)
        inner.reverses = plan.reverses  # the same, and so one query for all
        plan.made_of |= inner.made_of
        plan.has_keys |= inner.has_keys
        plan.is_plain &= inner.is_plain
    return plan


def _with_kinds(frame_class: Any) -> tuple[Any, ...]:
    """Return a class, and those that its documents may be of."""
    kinds = frame_class._kinds
    return (frame_class,) if kinds is None else (frame_class, *kinds.below(frame_class))


def _kept(frame_class: Any, classes: tuple[Any, ...]) -> list[str]:
    """Return the fields by which documents are loaded and written right, whatever is asked for."""
    fields = [one._version for one in classes if one._version is not None]
    if frame_class._kinds is not None:
        fields.append(frame_class._kinds.field)
    if frame_class._schema_version is not None:
        fields.append("_schema_version")
    return fields


def _mapping(projection: Any, place: str) -> Mapping[str, Any]:
    if isinstance(projection, Mapping):
        return projection
    if isinstance(projection, _NAMES) and all(isinstance(name, str) for name in projection):
        return dict.fromkeys(projection, True)
    raise _wrong_type(place, projection)


def _wrong_type(place: str, projection: Any) -> ProjectionError:
    return ProjectionError(
        f"{place}: expected a projection as a dict or a list of names, "
        f"got {projection!r} of type {type(projection).__name__}; write {{'name': True}}"
    )


def _way_out(value: Any) -> str:
    for directive, base in (("$ref", "_is_frame"), ("$sub", "_is_subframe")):
        if getattr(value, base, False) is True:
            return f"write {{{directive!r}: {value.__name__}}}"
    return "write True to fetch it"


def _compile_level(
    plan: Plan, node: Node, projection: Mapping[str, Any], prefix: str, flat: Flat
) -> bool:
    """Compile one level; return True when it names plain fields."""
    names_plain_fields = False
    for name, value in projection.items():
        if not isinstance(name, str) or not (name.startswith("$") or all(name.split("."))):
            raise ProjectionError(
                f"{flat.place}: expected a field path such as 'name' or 'lair.gold', got {name!r}"
            )
        path = prefix + name
        place = f"{flat.place}.{path}"
        if name.startswith("$"):
            if not prefix:
                raise ProjectionError(
                    f"{place}: expected a field path, got {name!r}; write "
                    "{'field': {'" + name + "': ...}}"
                )
            # the level above has read it
        elif isinstance(value, Mapping):
            names_plain_fields |= _compile_mapping(plan, node, name, value, path, flat)
        elif isinstance(value, (bool, int, float)) and value in (0, 1):
            flat.add(path, bool(value))
            names_plain_fields = True
        elif isinstance(value, str) and value.startswith("$"):
            _check_id(path, value, place)
            flat.add(path, value)
            names_plain_fields = True
        else:
            raise ProjectionError(
                f"{place}: expected True, False or a dict, got {value!r} of type "
                f"{type(value).__name__}; {_way_out(value)}"
            )
    return names_plain_fields


def _compile_mapping(
    plan: Plan, node: Node, name: str, value: Mapping[str, Any], path: str, flat: Flat
) -> bool:
    place = f"{flat.place}.{path}"
    if "$from" in value:
        plan.reverses.append(reverse_of(plan, value, name, path, place, plan_for))
        return False
    texts = [key for key in value if isinstance(key, str)]  # others are refused on their level
    refs = [d for d in _REFS if d in value]
    subs = [d for d in _SUBS if d in value]
    if len(refs) + len(subs) > 1:
        raise ProjectionError(
            f"{place}: expected one of $ref, $ref., $sub and $sub., got "
            f"{' and '.join(refs + subs)}; keep one of them"
        )
    for directive in OF_REFERENCES:
        if directive in value and not refs:
            raise ProjectionError(
                f"{place}: expected $ref beside {directive}, got none; name the Frame class in $ref"
            )
    for directive in OF_REVERSES:
        if directive in value:
            raise ProjectionError(
                f"{place}: expected $from beside {directive}, got none; name the Frame class "
                "whose documents refer to this one in $from"
            )
    names = [key for key in texts if not key.startswith("$")]
    operators = {
        key: _operand(value[key], key, place)
        for key in texts
        if key.startswith("$") and key not in _DIRECTIVES
    }

    if subs:
        return _compile_sub(plan, node, name, value, subs[0], operators, path, flat)
    if refs:
        reference = reference_of(plan, value, refs[0], path, place, plan_for)
        *parents, last = name.split(".")
        inner_node(node, parents).references[last] = reference
    elif names and operators:
        raise ProjectionError(
            f"{place}: expected field names or operators, got {names[0]!r} and "
            f"{next(iter(operators))!r}; keep one kind"
        )
    elif not operators:
        if value:
            return _compile_level(plan, inner_node(node, name.split(".")), value, f"{path}.", flat)
        raise ProjectionError(
            f"{place}: expected True, False or a dict with content, got {{}}; write True"
        )

    if operators:
        _check_id(path, operators, place)
        flat.add(path, operators)
        return not refs and not keeps_the_rest(operators)
    flat.add_loose(path)
    return False


def _check_id(path: str, value: Any, place: str) -> None:
    if path == "_id":
        raise ProjectionError(
            f"{place}: expected True or False, got {value!r}; by another _id a frame would be "
            "written over another document"
        )


def _operand(value: Any, operator: str, place: str) -> Any:
    try:
        return value.to_dict() if isinstance(value, Expression) else plain(value, "")
    except LoomError as error:
        raise ProjectionError(f"{place}.{operator}: {error}") from None


def _compile_sub(
    plan: Plan,
    node: Node,
    name: str,
    value: Mapping[str, Any],
    directive: str,
    operators: dict[str, Any],
    path: str,
    flat: Flat,
) -> bool:
    place = f"{flat.place}.{path}"
    sub_class = value[directive]
    if not getattr(sub_class, "_is_subframe", False) or not isinstance(sub_class, type):
        raise ProjectionError(
            f"{place}: expected a SubFrame class after {directive}, got {sub_class!r}"
            + ("; use $ref for a Frame" if getattr(sub_class, "_is_frame", False) else "")
        )
    is_map = directive == "$sub."
    child = child_of(node, name.split("."))
    child.frame_class, child.is_map, child.node = sub_class, is_map, child.node or Node(path)
    inner = Flat(flat.place)
    prefix = f"{path}."
    names_plain_fields = _compile_level(plan, child.node, value, prefix, inner)
    fetched: dict[str, Any] | None = None
    if operators:
        flat.add(path, operators)
    elif is_map or not (names_plain_fields or inner.excluded):
        # A map's keys are unknown, so that its values cannot be named in a path.
        flat.add_loose(path)
    else:
        flat.add_all(inner)
        fetched = inner.settled()
        if path == name:
            flat.narrow_fields.add(name)
    add_declared(plan, child.node, sub_class, prefix, fetched)
    return False
