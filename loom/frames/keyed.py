"""References by another key than `_id`: written back as that key."""

from __future__ import annotations

from typing import Any

from ..errors import MissingId
from .loaded import Loaded
from .paths import lookup
from .plans import Child, Node, Reference

__all__ = ["as_stored", "by_node", "keyed_node"]


def keyed_node(state: Loaded | None) -> Node | None:
    """Return what the references by other keys of a frame are, None when it has none."""
    plan = None if state is None else state.plan
    return plan.node if plan is not None and plan.has_keys else None


def as_stored(document: Any, path: str, value: Any, state: Loaded) -> Any:
    """Return the value at a path of a frame as it is stored."""
    node = keyed_node(state)
    return value if node is None else _by_path(path.split("."), document, value, node)


def _by_path(names: list[str], holder: Any, value: Any, node: Node) -> Any:
    """Return the value at a path below `holder`, the documents that `node` speaks of."""
    if not names:
        return by_node(value, node)
    holder = holder._document if _is_subframe(holder) else holder
    name, *rest = names
    inner = lookup(holder, name)
    if isinstance(holder, (list, tuple)):
        return _by_path(rest, inner, value, node)
    reference = node.references.get(name)
    if reference is not None:
        return _key_of(value, reference)
    child = node.children.get(name)
    if child is None or not rest:
        return value if child is None else _by_child(value, child)
    if child.named is not None:
        value = _by_path(rest, inner, value, child.named)
    if child.node is None:
        return value
    if child.is_map and not isinstance(inner, (list, tuple)):
        return _by_path(rest[1:], lookup(inner, rest[0]), value, child.node)
    return _by_path(rest, inner, value, child.node)


def _by_child(value: Any, child: Child) -> Any:
    if child.named is not None:
        value = by_node(value, child.named)
    return value if child.node is None else by_node(value, child.node, is_map=child.is_map)


def by_node(value: Any, node: Node, *, is_map: bool = False) -> Any:
    """Return embedded documents with keys for frames; what holds none stays as it is."""
    if not node.has_references:
        return value
    if isinstance(value, (list, tuple)):
        return [by_node(member, node) for member in value]
    document = value._document if _is_subframe(value) else value
    if not isinstance(document, dict):
        return value
    if is_map:
        return {key: by_node(member, node) for key, member in document.items()}
    stored = dict(document)
    for key, reference in node.references.items():
        if key in stored:
            stored[key] = _key_of(stored[key], reference)
    for key, child in node.children.items():
        if key in stored:
            stored[key] = _by_child(stored[key], child)
    return stored


def _key_of(value: Any, reference: Reference) -> Any:
    if reference.key == "_id":
        return value
    if isinstance(value, (list, tuple)):
        return [_key_of(member, reference) for member in value]
    if isinstance(value, dict):
        return {k: _key_of(v, reference) for k, v in value.items()}
    if getattr(type(value), "_is_frame", False):
        if reference.key not in value._document:
            raise MissingId(
                f"{reference.path}: expected a {type(value).__name__} with {reference.key!r}, "
                "which stands for it here, got one without"
            )
        return value._document[reference.key]
    return value


def _is_subframe(value: Any) -> bool:
    return getattr(type(value), "_is_subframe", False)
