"""What a write sends: the assignments of an update, the document of an insert."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import bson
from bson.codec_options import CodecOptions

from ..encoding import ENCODING_ERRORS, Naive, encode, settle_datetimes
from ..errors import FieldError, MissingId, QueryError, nearest
from .loaded import Loaded
from .paths import MISSING, is_ancestor, lookup, split, without_descendants
from .plans import Reference

__all__ = ["Snapshot", "check_fields", "document_to_insert", "id_or_error", "update_of"]


def id_or_error(frame: Any, operation: str) -> Any:
    """Return the `_id` that an operation on a stored frame needs.

    Raises:
        MissingId: the frame has none.
    """
    document = frame._document
    if "_id" not in document:
        name = type(frame).__name__
        raise MissingId(
            f"{name}.{operation}: expected a frame with _id, got one without; "
            "insert it first, or load it with its _id"
        )
    return document["_id"]


def check_fields(cls: Any, fields: Iterable[Any], operation: str) -> None:
    """Check that paths begin with declared fields.

    Raises:
        FieldError: one does not.
        QueryError: one is no path, or the `_id`.
    """
    definition = cls._definition
    place = f"{cls.__name__}.{operation}"
    for field in fields:
        if not isinstance(field, str):
            raise FieldError(
                f"{place}: expected names of fields, got {field!r} of type {type(field).__name__}"
            )
        root = split(field)[0]
        if root == "_id":
            raise QueryError(f"{place}: expected fields that can change, got '_id'")
        if root not in definition.names and not definition.is_open:
            raise FieldError(
                f"{place}: expected a declared field, got {root!r}{nearest(root, definition.names)}"
            )


def document_to_insert(frame: Any, naive: Naive) -> dict[str, Any]:
    """Return the document to send for a new frame: a copy, `_id` first.

    The frame's own datetimes are cut to milliseconds: what it holds is what is stored.
    """
    document = frame._document
    settle_datetimes(document, naive, type(frame).__name__)
    state: Loaded | None = getattr(frame, "_state", None)
    keyed = {} if state is None else state.keyed()
    copied = {"_id": document.get("_id") if "_id" in document else bson.ObjectId(), **document}
    for field in copied if keyed else ():
        copied[field] = _with_keys(field, copied[field], keyed)
    return copied


class Snapshot:
    """A document before listeners ran, to find out what they changed.

    Assigned values are seen by identity, edits in place by comparing BSON.
    """

    __slots__ = ("before", "options")

    def __init__(self, document: Mapping[str, Any], options: CodecOptions[Any]) -> None:
        self.options = options
        self.before = {name: (value, self._bytes(value)) for name, value in document.items()}

    def _bytes(self, value: Any) -> bytes | None:
        if not isinstance(value, (dict, list, set, tuple)) and not _is_subframe(value):
            return None
        try:
            return encode({"": value}, self.options)
        except ENCODING_ERRORS:
            return None  # the write itself says what is wrong with it

    def changed(self, document: Mapping[str, Any]) -> set[str]:
        """Return the paths that differ; those that are gone too."""
        paths: set[str] = set()
        for name, value in document.items():
            if name not in self.before:
                paths.add(name)
                continue
            old, old_bytes = self.before[name]
            if value is not old:
                if type(value) is not type(old) or value != old:
                    paths.add(name)
            elif old_bytes is not None:
                new_bytes = self._bytes(value)
                if new_bytes is None:
                    paths.add(name)
                elif new_bytes != old_bytes:
                    before, after = bson.decode(old_bytes)[""], bson.decode(new_bytes)[""]
                    paths |= _differences(name, before, after)
        paths |= self.before.keys() - document.keys()
        return paths - {"_id"}


def _is_subframe(value: Any) -> bool:
    return getattr(type(value), "_is_subframe", False)


def _differences(path: str, before: Any, after: Any) -> set[str]:
    if not isinstance(before, dict) or not isinstance(after, dict):
        return set() if type(before) is type(after) and before == after else {path}
    if any(not key or "." in key or key.startswith("$") for key in (*before, *after)):
        return {path}  # a path could not name them
    paths: set[str] = set()
    for key in {**before, **after}:
        if key in before and key in after:
            paths |= _differences(f"{path}.{key}", before[key], after[key])
        else:
            paths.add(f"{path}.{key}")
    return paths


def update_of(
    frame: Any, fields: tuple[str, ...], snapshot: Snapshot | None, naive: Naive, operation: str
) -> dict[str, Any]:
    """Return the update document for a frame.

    Args:
        frame: as it is now, after the before-listeners.
        fields: the paths named by the caller; none means what the frame holds.
        snapshot: of the frame before the listeners, None when there were none.
        naive: what a datetime without zone means.
        operation: for errors.

    Raises:
        QueryError: a named path is not in the frame, or there is nothing to write.
        ProjectionError: a list that was fetched only in part would be written.
    """
    document = frame._document
    state: Loaded | None = getattr(frame, "_state", None)
    if snapshot is None and state is None and fields and document.keys() >= set(fields):
        # The everyday case: top-level names, nothing to compare, nothing loaded in part.
        part = {name: document[name] for name in fields}
        _settle(document, part, naive, type(frame).__name__)
        return {"$set": part}
    place = f"{type(frame).__name__}.{operation}"
    joined = set() if snapshot is None else snapshot.changed(document)

    hidden = frozenset[str]() if state is None or fields else state.hidden
    paths = list(fields) or [n for n in document if n != "_id" and n not in hidden]
    paths = without_descendants([*paths, *sorted(joined)])
    roots = {path.partition(".")[0] for path in paths}
    part = {name: document[name] for name in roots if name in document}
    _settle(document, part, naive, type(frame).__name__)

    assigned: dict[str, Any] = {}
    removed: dict[str, Any] = {}
    for path in paths:
        value = lookup(document, path)
        if value is MISSING:
            if path not in joined and not any(is_ancestor(j, path) for j in joined):
                raise QueryError(
                    f"{place}: expected fields that the frame holds, got {path!r}, which is "
                    f"absent; use unset({path!r}) to remove it from the stored document"
                )
            removed[path] = True
        elif state is None:
            assigned[path] = value
        else:
            assigned.update(_as_stored(path, value, state, place))
    update: dict[str, Any] = {}
    if assigned:
        update["$set"] = assigned
    if removed:
        update["$unset"] = removed
    if not update:
        raise QueryError(
            f"{place}: expected something to write, got a frame that holds only its _id"
        )
    return update


def _settle(document: dict[str, Any], part: dict[str, Any], naive: Naive, place: str) -> None:
    """Settle the datetimes of a part of a document, there and in the document."""
    settle_datetimes(part, naive, place)
    document.update(part)


def _as_stored(path: str, value: Any, state: Loaded, place: str) -> Iterable[tuple[str, Any]]:
    keyed = state.keyed()
    pairs: Iterable[tuple[str, Any]] = [(path, value)]
    if state.is_partial(path, value):
        pairs = state.parts(path, value, place)
    return [(p, _with_keys(p, v, keyed)) for p, v in pairs] if keyed else pairs


# References by another key than _id are written back as that key


def _with_keys(path: str, value: Any, keyed: Mapping[str, Reference]) -> Any:
    for reference_path, reference in keyed.items():
        if path == reference_path or is_ancestor(reference_path, path):
            value = _key_of(value, reference)
        elif is_ancestor(path, reference_path):
            value = _inside(value, reference_path[len(path) + 1 :].split("."), reference)
    return value


def _inside(value: Any, keys: list[str], reference: Reference) -> Any:
    if not keys:
        return _key_of(value, reference)
    value = value._document if _is_subframe(value) else value
    if isinstance(value, (list, tuple)):
        return [_inside(member, keys, reference) for member in value]
    if not isinstance(value, Mapping):
        return value
    if keys[0] in value:
        return {**value, keys[0]: _inside(value[keys[0]], keys[1:], reference)}
    # a map of embedded documents: the path goes on inside each of its values
    return {k: _inside(v, keys, reference) if _is_embedded(v) else v for k, v in value.items()}


def _is_embedded(value: Any) -> bool:
    return isinstance(value, (dict, list)) or _is_subframe(value)


def _key_of(value: Any, reference: Reference) -> Any:
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
