"""Projections: what to fetch and how to wrap it, compiled once into a plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Union, cast

from ..errors import ProjectionError
from .annotations import embedded, resolved_annotations
from .plans import Child, Node, OnMissing, PartialTree, Plan, Reference

__all__ = ["Projection", "plan_for"]

#: What a caller may pass: a dict as for PyMongo, with `$ref` and `$sub` inside, or names.
Projection = Union[Mapping[str, Any], Iterable[str], None]  # noqa: UP007 - an alias for 3.10

_REFS = ("$ref", "$ref.")
_SUBS = ("$sub", "$sub.")
_DIRECTIVES = frozenset({*_REFS, *_SUBS, "$ref_key", "$missing"})
_ON_MISSING = ("keep", "none", "drop", "raise")


def plan_for(frame_class: Any, projection: Projection = None) -> Plan:
    """Return the plan of a projection for a Frame class, from the class's cache if it is there.

    Raises:
        ProjectionError: the projection cannot be understood; the message names the path.
    """
    if projection is None:
        projection = frame_class._default_projection
    definition = frame_class._definition
    if not projection and not isinstance(
        projection, (Mapping, type(None), list, tuple, set, frozenset)
    ):
        raise _wrong_type(frame_class.__name__, projection)
    key = _frozen(projection) if projection else None
    # Until all annotations are resolved another class can still change the plan.
    annotations = resolved_annotations(definition)
    plans = definition.plans
    cached = plans.get(key)
    if cached is not None and cached[0] is annotations:
        return cast(Plan, cached[1])
    plan = _compile(frame_class, projection or None)
    plan.is_plain = plan.node.is_empty and not plan.is_remembered
    if key is not _UNHASHABLE:
        if len(plans) >= 256:
            plans.clear()
        plans[key] = (annotations, plan)
    return plan


_UNHASHABLE = object()


def _frozen(value: Any) -> Any:
    """Return a hashable form of a projection; equal forms mean equal projections."""
    if isinstance(value, Mapping):
        items = []
        for key, inner in value.items():
            frozen = inner if isinstance(inner, (bool, type)) else _frozen(inner)
            if frozen is _UNHASHABLE:
                return _UNHASHABLE
            items.append((key, frozen))
        return (Mapping, *items)
    if isinstance(value, (list, tuple, set, frozenset)):
        parts = [_frozen(inner) for inner in value]
        return _UNHASHABLE if any(p is _UNHASHABLE for p in parts) else (list, *parts)
    try:
        hash(value)
    except TypeError:
        return _UNHASHABLE
    return (type(value), value)


class _Flat:
    """The driver projection while it is put together."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.paths: dict[str, Any] = {}
        self.included: str | None = None
        self.excluded: str | None = None
        #: an inclusion inside a sub-frame, which narrows it but leaves the rest as it is
        self.narrowed: str | None = None

    def add(self, path: str, value: Any, *, decides: bool = True) -> None:
        """Add a path; it `decides` whether the projection includes or excludes.

        A reference is fetched in either kind and decides nothing.
        """
        for other in self.paths:
            if other == path or other.startswith(f"{path}.") or path.startswith(f"{other}."):
                raise ProjectionError(
                    f"{self.place}: expected each path once, got {other!r} and {path!r}; "
                    "keep one of them"
                )
        self.paths[path] = value
        if path != "_id" and decides:
            if value is True:
                self.included = self.included or path
            elif value is False:
                self.excluded = self.excluded or path
        included = self.included or self.narrowed
        if included and self.excluded:
            raise ProjectionError(
                f"{self.place}: expected inclusions or exclusions, got {included!r} included "
                f"and {self.excluded!r} excluded; keep one kind"
            )

    def add_all(self, inner: _Flat) -> None:
        """Add what was named inside a sub-frame."""
        self.narrowed = self.narrowed or inner.included or inner.narrowed
        for path, value in inner.settled().items():
            self.add(path, value, decides=value is False)

    def settled(self) -> dict[str, Any]:
        """Return the paths as MongoDB takes them."""
        if self.excluded:
            # What an exclusion does not name is there; MongoDB refuses a mixture.
            return {p: v for p, v in self.paths.items() if v is not True or p == "_id"}
        return self.paths


def _compile(frame_class: Any, projection: Any) -> Plan:
    plan = Plan(frame_class)
    name = frame_class.__name__
    definition = frame_class._definition
    whole = None if definition.is_open else dict.fromkeys(sorted(definition.names), True)
    if projection is None:
        plan.driver = whole
        _add_declared(plan.node, frame_class, "", whole)
        return plan

    named = _mapping(projection, name)
    flat = _Flat(name)
    computed: set[str] = set()
    plain = _compile_level(plan, plan.node, frame_class, named, "", flat, computed)
    paths = flat.settled()
    if plain or flat.excluded:
        plan.driver = paths
    elif whole is not None:
        # Only references and sub-frames were named: everything else comes too.
        asked = {path.partition(".")[0] for path in paths}
        plan.driver = {f: True for f in whole if f not in asked} | paths
    else:
        plan.driver = {p: v for p, v in paths.items() if v is not True} or None
    plan.partial = _partial_tree(plan.driver or {})
    plan.computed = frozenset(computed)
    _add_declared(plan.node, frame_class, "", plan.driver)
    _mark_references(plan.node)
    return plan


def _mapping(projection: Any, place: str) -> Mapping[str, Any]:
    if isinstance(projection, Mapping):
        return projection
    if isinstance(projection, (list, tuple, set, frozenset)) and all(
        isinstance(name, str) for name in projection
    ):
        return dict.fromkeys(projection, True)
    raise _wrong_type(place, projection)


def _wrong_type(place: str, projection: Any) -> ProjectionError:
    return ProjectionError(
        f"{place}: expected a projection as a dict or a list of names, "
        f"got {projection!r} of type {type(projection).__name__}"
    )


def _compile_level(
    plan: Plan,
    node: Node,
    owner: Any,
    projection: Mapping[str, Any],
    prefix: str,
    flat: _Flat,
    computed: set[str],
) -> bool:
    """Compile one level; return True when it names plain fields."""
    plain = False
    for name, value in projection.items():
        place = f"{flat.place}.{prefix}{name}"
        if not isinstance(name, str) or not name or any(not key for key in name.split(".")):
            raise ProjectionError(f"{flat.place}: expected a field path, got {name!r}")
        if name.startswith("$"):
            if name in _DIRECTIVES and not prefix:
                raise ProjectionError(
                    f"{place}: expected a field path, got {name!r}; write "
                    "{'field': {'" + name + "': ...}}"
                )
            continue  # handled by the level above
        path = prefix + name
        if isinstance(value, Mapping):
            plain |= _compile_mapping(plan, node, owner, name, value, path, flat, computed)
        elif value in (True, False) and isinstance(value, (bool, int, float)):
            flat.add(path, bool(value))
            plain = True
        elif isinstance(value, str) and value.startswith("$"):
            flat.add(path, value)
            computed.add(path.partition(".")[0])
            plain = True
        else:
            raise ProjectionError(
                f"{place}: expected True, False or a dict, got {value!r} of type "
                f"{type(value).__name__}"
            )
    return plain


def _compile_mapping(
    plan: Plan,
    node: Node,
    owner: Any,
    name: str,
    value: Mapping[str, Any],
    path: str,
    flat: _Flat,
    computed: set[str],
) -> bool:
    place = f"{flat.place}.{path}"
    refs = [d for d in _REFS if d in value]
    subs = [d for d in _SUBS if d in value]
    if len(refs) + len(subs) > 1:
        raise ProjectionError(
            f"{place}: expected one of $ref, $ref., $sub and $sub., got {' and '.join(refs + subs)}"
        )
    for directive in ("$ref_key", "$missing"):
        if directive in value and not refs:
            raise ProjectionError(f"{place}: expected $ref beside {directive}, got none")
    operators = {k: v for k, v in value.items() if k.startswith("$") and k not in _DIRECTIVES}
    names = [k for k in value if not k.startswith("$")]

    if refs:
        reference = _reference(plan, value, refs[0], path, place)
        _holder(node, name).references[name.rpartition(".")[2]] = reference
        if reference.key != "_id":
            plan.keyed[path] = reference
    elif subs:
        return _compile_sub(plan, node, name, value, subs[0], operators, path, flat, computed)
    elif names and operators:
        raise ProjectionError(
            f"{place}: expected field names or operators, got {names[0]!r} and "
            f"{next(iter(operators))!r}; keep one kind"
        )
    elif names:
        inner = _child(node, name, None, False).node
        return _compile_level(plan, inner, None, value, f"{path}.", flat, computed)
    elif not operators:
        raise ProjectionError(f"{place}: expected True, False or a dict with content, got {{}}")

    if operators:
        flat.add(path, dict(operators))
        computed.add(path.partition(".")[0])
        return not refs and "$slice" not in operators
    flat.add(path, True, decides=False)
    return False


def _compile_sub(
    plan: Plan,
    node: Node,
    name: str,
    value: Mapping[str, Any],
    directive: str,
    operators: dict[str, Any],
    path: str,
    flat: _Flat,
    computed: set[str],
) -> bool:
    place = f"{flat.place}.{path}"
    sub_class = value[directive]
    if not getattr(sub_class, "_is_subframe", False) or not isinstance(sub_class, type):
        raise ProjectionError(
            f"{place}: expected a SubFrame class after {directive}, got {sub_class!r}"
        )
    is_map = directive == "$sub."
    child = _child(node, name, sub_class, is_map)
    inner = _Flat(flat.place)
    prefix = f"{path}."
    plain = _compile_level(plan, child.node, sub_class, value, prefix, inner, computed)
    if operators:
        flat.add(path, operators)
        computed.add(path.partition(".")[0])
    elif not plain or is_map:
        # A map's keys are unknown, so that its values cannot be named in a path.
        flat.add(path, True, decides=False)
    else:
        flat.add_all(inner)
    _add_declared(child.node, sub_class, prefix, inner.settled() if plain else None)
    return False


def _reference(
    plan: Plan, value: Mapping[str, Any], directive: str, path: str, place: str
) -> Reference:
    target = value[directive]
    if not getattr(target, "_is_frame", False) or not isinstance(target, type):
        raise ProjectionError(f"{place}: expected a Frame class after {directive}, got {target!r}")
    key = value.get("$ref_key", "_id")
    if not isinstance(key, str) or not key or key.startswith("$"):
        raise ProjectionError(f"{place}: expected a field name after $ref_key, got {key!r}")
    on_missing = value.get("$missing", "keep")
    if on_missing not in _ON_MISSING:
        raise ProjectionError(
            f"{place}: expected $missing to be one of {', '.join(_ON_MISSING)}, got {on_missing!r}"
        )
    wanted = {k: v for k, v in value.items() if not k.startswith("$")}
    try:
        inner = plan_for(target, wanted)
    except ProjectionError as error:
        raise ProjectionError(f"{place}: {error}") from None
    if inner.driver is not None and not _fetches(inner.driver, key):
        if inner.driver.get(key) is False or any(
            v is False for p, v in inner.driver.items() if p != "_id"
        ):
            raise ProjectionError(
                f"{place}: expected {key!r} to be fetched, got it excluded; references are "
                "put in place by it"
            )
        inner = plan_for(target, {**wanted, key: True})
    return Reference(path, target, inner, key, directive == "$ref.", cast(OnMissing, on_missing))


def _fetches(driver: Mapping[str, Any], key: str) -> bool:
    if key == "_id":
        return driver.get("_id", True) is True
    if any(value is False for path, value in driver.items() if path != "_id"):
        return driver.get(key, True) is True
    return driver.get(key, False) is True


def _child(node: Node, name: str, frame_class: Any, is_map: bool) -> Child:
    """Return the child under a dotted name, made with what is missing on the way."""
    *parents, last = name.split(".")
    for key in parents:
        node = _child(node, key, None, False).node
    child = node.children.get(last)
    if child is None:
        path = f"{node.path}.{last}" if node.path else last
        child = node.children[last] = Child(frame_class, is_map, Node(path), False)
    elif frame_class is not None:
        child.frame_class, child.is_map = frame_class, is_map
    return child


def _holder(node: Node, name: str) -> Node:
    parents = name.rpartition(".")[0]
    return _child(node, parents, None, False).node if parents else node


# Sub-frames that annotations declare


def _add_declared(node: Node, owner: Any, prefix: str, driver: Mapping[str, Any] | None) -> None:
    """Add the annotated sub-frames of `owner` that a projection fetches and does not map itself."""
    for field, annotation in resolved_annotations(owner._definition).items():
        found = embedded(annotation)
        if found is None or field in node.references:
            continue
        sub_class, shape = found
        child = node.children.get(field)
        if child is None:
            if driver is None or _is_fetched(driver, prefix + field):
                node.children[field] = Child(
                    sub_class, shape == "map", _declared_node(sub_class), True
                )
        elif child.frame_class is None and not child.is_map:
            child.frame_class, child.is_map, child.is_declared = sub_class, shape == "map", True


def _is_fetched(driver: Mapping[str, Any], path: str) -> bool:
    if any(p == path or p.startswith(f"{path}.") for p, v in driver.items() if v is not False):
        return True
    excluding = any(value is False for p, value in driver.items() if p != "_id")
    return excluding and driver.get(path, True) is not False


def _declared_node(sub_class: Any) -> Node:
    """Return the node of a SubFrame class by its annotations; it may contain itself."""
    definition = sub_class._definition
    annotations = resolved_annotations(definition)
    cached = definition.plans.get(None)
    if cached is not None and cached[0] is annotations:
        return cast(Node, cached[1])
    node = Node("")
    definition.plans[None] = (annotations, node)
    _add_declared(node, sub_class, "", None)
    return node


def _mark_references(node: Node) -> bool:
    inside = [
        _mark_references(child.node)
        for child in node.children.values()
        if not child.is_declared or child.node.path
    ]
    node.has_references = bool(node.references) or any(inside)
    return node.has_references


def _partial_tree(driver: Mapping[str, Any]) -> PartialTree:
    tree: PartialTree = {}
    for path, value in driver.items():
        *parents, _last = path.split(".")
        if not parents or value not in (True, False):
            continue
        level = tree
        for key in parents:
            level = level.setdefault(key, {})
    return tree
