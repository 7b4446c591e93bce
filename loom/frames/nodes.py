"""What is done with documents: the nodes of a plan, named by a projection or by annotations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from .annotations import embedded, resolved_annotations
from .fetching import is_fetched
from .plans import Child, Node, Plan

__all__ = ["add_declared", "child_of", "inner_node", "mark_references", "node_of", "settings_of"]


def child_of(node: Node, keys: list[str]) -> Child:
    """Return the child under a dotted name, made with what is missing on the way."""
    node = inner_node(node, keys[:-1])
    child = node.children.get(keys[-1])
    if child is None:
        child = node.children[keys[-1]] = Child(None, False, None, False)
    return child


def inner_node(node: Node, keys: list[str]) -> Node:
    """Return the node of the documents under a dotted name."""
    for key in keys:
        child = child_of(node, [key])
        if child.node is None:
            child.node = Node(f"{node.path}.{key}" if node.path else key)
        node = child.node
    return node


def add_declared(
    plan: Plan, node: Node, owner: Any, prefix: str, driver: Mapping[str, Any] | None
) -> None:
    """Add the annotated sub-frames of `owner` that a projection fetches and does not map itself."""
    annotations = resolved_annotations(owner._definition)
    plan.made_of[owner] = owner._definition, annotations, settings_of(owner)
    for field, annotation in annotations.items():
        found = embedded(annotation)
        if found is None or field in node.references:
            continue
        sub_class, shape = found
        child = node.children.get(field)
        if child is None:
            if is_fetched(driver, prefix + field):
                node.children[field] = Child(sub_class, shape == "map", None, True)
        elif child.frame_class is None:
            child.frame_class, child.is_declared = sub_class, True
            if shape == "map":
                child.is_map, child.named, child.node = True, child.node, None
            elif child.node is not None:
                add_declared(plan, child.node, sub_class, f"{prefix}{field}.", driver)


def settings_of(cls: Any) -> Any:
    """Return the settings of a class that plans rest on: its version, and the kinds below it."""
    version = getattr(cls, "_version", None)
    return version if cls._kinds is None else (version, cls._kinds.below(cls))


def node_of(child: Child) -> Node:
    """Return what is done inside the embedded documents of a child."""
    return _declared_node(child.frame_class) if child.node is None else child.node


_NOTHING = Node("")


def _declared_node(sub_class: Any) -> Node:
    """Return the node of a SubFrame class by its annotations."""
    if sub_class is None:
        return _NOTHING
    definition = sub_class._definition
    annotations = resolved_annotations(definition)
    cached = definition.plans.get(None)
    if cached is not None and cached[0] is annotations:
        return cast(Node, cached[1])
    node = Node("")
    for field, annotation in annotations.items():
        found = embedded(annotation)
        if found is not None:
            node.children[field] = Child(found[0], found[1] == "map", None, True)
    definition.plans[None] = annotations, node
    return node


def mark_references(node: Node) -> bool:
    inside = [
        mark_references(deeper)
        for child in node.children.values()
        for deeper in (child.node, child.named)
        if deeper is not None
    ]
    node.has_references = bool(node.references) or any(inside)
    return node.has_references
