"""What `$ref` and `$from` in a projection say: the class, the fields on both sides, the order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

from ..errors import ProjectionError, QueryError, nearest
from .paths import split
from .plans import OnMissing, Plan, Reference, Reverse
from .sorts import to_sort

__all__ = ["OF_REFERENCES", "OF_REVERSES", "reference_of", "reverse_of"]

#: Compiles the projection of another class, which fetches a field in any case.
PlanFor: TypeAlias = Callable[[Any, Any, str], Plan]

#: Stand beside `$ref` alone, and beside `$from` alone; `$ref_key` beside both.
OF_REFERENCES = ("$ref_key", "$missing")
OF_REVERSES = ("$on", "$sort", "$limit")
_ON_MISSING = ("keep", "none", "drop", "raise")


def reference_of(
    plan: Plan,
    value: Mapping[str, Any],
    directive: str,
    path: str,
    place: str,
    plan_for: PlanFor,
) -> Reference:
    """Return what `$ref` or `$ref.` says."""
    target = _target(value, directive, place)
    key = _ref_key(value, place)
    on_missing = value.get("$missing", "keep")
    if on_missing not in _ON_MISSING:
        raise ProjectionError(
            f"{place}: expected $missing to be one of {', '.join(_ON_MISSING)}, got {on_missing!r}"
        )
    inner = _inner(plan, target, value, key, place, plan_for)
    plan.has_keys |= key != "_id"
    return Reference(path, target, inner, key, directive == "$ref.", cast(OnMissing, on_missing))


def _target(value: Mapping[str, Any], directive: str, place: str) -> Any:
    target = value[directive]
    if not getattr(target, "_is_frame", False) or not isinstance(target, type):
        raise ProjectionError(
            f"{place}: expected a Frame class after {directive}, got {target!r}"
            + ("; use $sub for a SubFrame" if getattr(target, "_is_subframe", False) else "")
        )
    return target


def _ref_key(value: Mapping[str, Any], place: str) -> str:
    key = value.get("$ref_key", "_id")
    if not isinstance(key, str) or not key or key.startswith("$") or "." in key:
        raise ProjectionError(
            f"{place}: expected the name of a field after $ref_key, got {key!r}; it cannot be "
            "a path into a document"
        )
    return key


def _inner(
    plan: Plan, target: Any, value: Mapping[str, Any], key: str, place: str, plan_for: PlanFor
) -> Plan:
    """Return the plan of what stands beside the directives."""
    wanted = {k: v for k, v in value.items() if not (isinstance(k, str) and k.startswith("$"))}
    try:
        inner = plan_for(target, wanted, key)
    except ProjectionError as error:
        raise ProjectionError(f"{place}: {error}") from None
    plan.made_of |= inner.made_of
    return inner


def reverse_of(
    plan: Plan, value: Mapping[str, Any], name: str, path: str, place: str, plan_for: PlanFor
) -> Reverse:
    """Return what `$from` says."""
    if path != name or "." in name or name == "_id":
        raise ProjectionError(
            f"{place}: expected $from under a plain name of a Frame, got it under {path!r}; "
            "documents refer to frames, not to what is inside them"
        )
    target = _target(value, "$from", place)
    on = value.get("$on")
    try:
        root = split(on)[0] if isinstance(on, str) else ""
    except QueryError:
        root = ""
    if not root or root.startswith("$"):
        raise ProjectionError(
            f"{place}: expected $on to be the path in {target.__name__} that refers to a "
            f"{plan.frame_class.__name__}, got {on!r}"
        )
    fields = target._definition.names
    is_of_kind = target._kinds is not None and target._kinds.declares(target, root)
    if root not in fields and not target._definition.is_open and not is_of_kind:
        raise ProjectionError(
            f"{place}: expected $on to be a field of {target.__name__}, got {on!r}"
            f"{nearest(root, fields)}"
        )
    limit = value.get("$limit")
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise ProjectionError(
            f"{place}: expected $limit to be a number from 1 on, got {limit!r}; leave it out for all"
        )
    try:
        sort = to_sort(value.get("$sort")) or []
    except QueryError as error:
        raise ProjectionError(f"{place}.$sort: {error}") from None
    known = {"$from", "$ref_key", *OF_REVERSES}
    unknown = [k for k in value if isinstance(k, str) and k.startswith("$") and k not in known]
    if unknown:
        raise ProjectionError(
            f"{place}: expected one of {', '.join(sorted(known))} beside $from, got {unknown[0]!r}"
        )
    inner = _inner(plan, target, value, root, place, plan_for)
    computed = [p for p, v in (inner.driver or {}).items() if isinstance(v, Mapping)]
    if limit is not None and computed:
        raise ProjectionError(
            f"{place}.{computed[0]}: expected plain fields beside $limit, got an operator, which "
            "MongoDB knows in queries only; leave out one of them"
        )
    if "_id" not in dict(sort):
        sort = [*sort, ("_id", 1)]  # the same order every time
    return Reverse(name, target, inner, cast(str, on), _ref_key(value, place), sort, limit)
