"""Embedded documents: how they are reached, and wrapped as sub-frames."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import ProjectionError
from .document import wrap
from .nodes import node_of
from .plans import Child, Node

__all__ = ["embedded_in", "inside", "wrap_children"]

_DICTS = frozenset({dict})


def embedded_in(documents: Iterable[Any], key: str, is_map: bool) -> Iterable[Any]:
    """Yield the embedded documents under a key, through lists and the values of a map."""
    for document in documents:
        yield from _members(inside(document).get(key), is_map)


def inside(document: Any) -> Any:
    return document if isinstance(document, dict) else document._document


def _members(value: Any, is_map: bool) -> Iterable[Any]:
    if isinstance(value, list):
        for member in value:
            yield from _members(member, False)
    elif isinstance(value, dict) or getattr(type(value), "_is_subframe", False):
        if is_map:
            for member in inside(value).values():
                yield from _members(member, False)
        else:
            yield inside(value)


def wrap_children(parent: Node, documents: list[dict[str, Any]], place: str) -> None:
    for key, child in parent.children.items():
        where = f"{place}.{key}"
        for node, is_map in ((child.named, False), (node_of(child), child.is_map)):
            if node is not None and not node.is_empty:
                inner = list(embedded_in(documents, key, is_map))
                if inner:
                    wrap_children(node, inner, where)
        if child.frame_class is not None:
            _wrap_child(key, child, documents, where)


def _wrap_child(key: str, child: Child, documents: list[dict[str, Any]], place: str) -> None:
    """Replace the embedded documents under a key by sub-frames."""
    frame_class = child.frame_class
    singles: list[Any] = []
    for document in documents:
        value = document.get(key)
        if value is None:
            continue
        if type(value) is list and _DICTS.issuperset(map(type, value)):
            document[key] = wrap(frame_class, value)
        elif type(value) is dict and not child.is_map:
            singles.append(document)
        else:
            document[key] = _wrapped(value, child, place)
    if singles:
        made = wrap(frame_class, [document[key] for document in singles])
        for document, frame in zip(singles, made, strict=True):
            document[key] = frame


def _wrapped(value: Any, child: Child, place: str) -> Any:
    frame_class = child.frame_class
    if isinstance(value, dict):
        if not child.is_map:
            return frame_class(value)
        return {k: _member(v, child, f"{place}.{k}") for k, v in value.items()}
    if isinstance(value, list):
        return [_member(v, child, place) if isinstance(v, (dict, list)) else v for v in value]
    if child.is_declared:
        return value
    hint = "use '$ref' for an id" if not child.is_map else "use '$sub' for a single sub-frame"
    raise ProjectionError(
        f"{place}: expected a dict or a list, got {type(value).__name__} ({value!r}); {hint}"
    )


def _member(value: Any, child: Child, place: str) -> Any:
    if isinstance(value, dict):
        return child.frame_class(value)
    if isinstance(value, list):
        return [_member(v, child, place) if isinstance(v, (dict, list)) else v for v in value]
    if value is None or child.is_declared:
        return value
    raise ProjectionError(
        f"{place}: expected a dict, got {type(value).__name__} ({value!r}); "
        "use '$sub' for a single sub-frame"
    )
