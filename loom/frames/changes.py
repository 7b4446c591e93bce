"""What a write sends: the assignments of an update, the document of an insert."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar
from weakref import WeakValueDictionary

import bson
from bson.codec_options import CodecOptions, DatetimeConversion

from ..encoding import ENCODING_ERRORS, Naive, encode, settle_datetimes
from ..errors import FieldError, ProjectionError, QueryError, nearest
from .forms import mark, own_fields, refuse_change
from .keyed import as_stored, by_node, keyed_node
from .loaded import Loaded, is_nameable
from .paths import MISSING, is_ancestor, lookup, split, without_descendants
from .tracking import is_fixed, loaded_of, tracked_of
from .values import is_placed

__all__ = [
    "COMPARED",
    "Foreseen",
    "Removed",
    "Snapshot",
    "check_fields",
    "document_to_insert",
    "unsaved",
    "update_of",
]


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
        try:
            root = split(field)[0]
        except QueryError as error:
            raise QueryError(f"{place}: {error}") from None
        if root.startswith("$"):
            raise QueryError(
                f"{place}: expected a path of names, got {field!r}; operators go through "
                "get_collection()"
            )
        if root == "_id":
            raise QueryError(f"{place}: expected fields that can change, got '_id'")
        if root == cls._version:
            raise QueryError(
                f"{place}: expected fields that are written, got {root!r}, which counts the "
                "versions by itself; leave it out"
            )
        refuse_change(cls, root, place)
        if root not in definition.names and not definition.is_open:
            if cls._kinds is not None and cls._kinds.declares(cls, root):
                continue
            raise FieldError(
                f"{place}: expected a declared field, got {root!r}{nearest(root, definition.names)}"
            )


def document_to_insert(frame: Any, naive: Naive) -> dict[str, Any]:
    """Return the document to send for a new frame: a copy, `_id` first, made when it is None.

    The frame's own datetimes are cut to milliseconds: what it holds is what is stored.
    """
    document = frame._document
    settle_datetimes(document, naive, type(frame).__name__)
    state: Loaded | None = loaded_of(frame)
    version = type(frame)._version
    if version is not None:
        document.setdefault(version, 1)
    mark(frame)
    id = document.get("_id")
    copied = {**document, "_id": bson.ObjectId()} if id is None else {"_id": id, **document}
    for name in [name for name, value in copied.items() if is_placed(name, value)]:
        del copied[name]
    node = keyed_node(state)
    return copied if node is None else by_node(copied, node)


class Removed(tuple[str, ...]):
    """The paths of an update that removes them, in the order in which they were named."""

    __slots__ = ()


#: What no field holds.
_FORCED: Any = object()


class Snapshot:
    """A frame before listeners ran, to find out what they changed.

    Assigned values are seen by their names, also when equal ones stood there; others by identity,
    edits in place by comparing BSON.
    """

    __slots__ = ("__weakref__", "before", "frame", "options")
    #: those in use, by the identity of their frames
    _taken: ClassVar[WeakValueDictionary[int, Snapshot]] = WeakValueDictionary()

    def __init__(self, frame: Any, options: CodecOptions[Any]) -> None:
        self._taken[id(frame)] = self
        self.frame = frame
        self.options = options
        document = frame._document
        self.before = {name: (value, self._bytes(value)) for name, value in document.items()}
        tracked = tracked_of(frame)
        if tracked is not None:
            tracked.mark()

    @classmethod
    def before_listeners(cls, frame: Any) -> Snapshot | None:
        """Return the snapshot of the update that is about to be sent for a frame, if any."""
        return cls._taken.get(id(frame))

    def retake(self, name: str) -> None:
        """Take what a field holds now for what it held before."""
        if name in self.frame._document:
            value = self.frame._document[name]
            self.before[name] = value, self._bytes(value)

    def force(self, name: str) -> None:
        """Have a field count as changed, whatever it held."""
        self.before[name] = _FORCED, None

    def _bytes(self, value: Any) -> bytes | None:
        return None if is_fixed(value) else _encoded(value, self.options)

    def changed(self) -> set[str]:
        """Return the paths that differ; those that are gone too."""
        paths: set[str] = set()
        document = self.frame._document
        tracked = tracked_of(self.frame)
        if tracked is not None:
            paths |= tracked.since_mark() & document.keys()
        for name, value in document.items():
            if name in paths:
                continue
            if name not in self.before:
                paths.add(name)
                continue
            old, old_bytes = self.before[name]
            if value is old and old_bytes is None:
                continue
            new_bytes = self._bytes(value)
            if new_bytes is None or old_bytes is None:
                if value is old or type(value) is not type(old) or value != old:
                    paths.add(name)
            elif value is not old and type(value) is not type(old):
                paths.add(name)
            elif new_bytes != old_bytes:
                paths |= {name} if value is not old else _differences(name, old_bytes, new_bytes)
        paths |= self.before.keys() - document.keys()
        return {path for path in paths - {"_id"} if not self._is_placed(path)}

    def _is_placed(self, path: str) -> bool:
        name = path.partition(".")[0]
        value = self.frame._document.get(name, MISSING)
        if value is MISSING and name in self.before:
            value = self.before[name][0]
        return is_placed(name, value)


class Foreseen(Snapshot):
    """A snapshot of the only fields that listeners can assign to."""

    __slots__ = ("held",)

    def __init__(self, frame: Any, names: Iterable[str]) -> None:
        self._taken[id(frame)] = self
        self.frame = frame
        self.held = {name: frame._document.get(name, MISSING) for name in names}

    def retake(self, name: str) -> None:
        """Do nothing: other fields are not compared."""

    def force(self, name: str) -> None:
        """Have a field count as changed, whatever it held."""
        self.held[name] = _FORCED

    def changed(self) -> set[str]:
        """Return the fields that were assigned."""
        document = self.frame._document
        return {name for name, old in self.held.items() if document.get(name, MISSING) is not old}


def _encoded(value: Any, options: CodecOptions[Any]) -> bytes | None:
    try:
        return encode({"": value}, options)
    except ENCODING_ERRORS:
        return None  # the write itself says what is wrong with it


def unsaved(frame: Any, options: CodecOptions[Any]) -> set[str]:
    """Return the paths that `save` sends: what was assigned, and what was edited in place.

    A container that was read is compared with what it held then. One that came into the frame
    without notice may have been edited by who put it there.
    """
    document = frame._document
    tracked = tracked_of(frame)
    paths = set() if tracked is None else tracked.keys() & document.keys()
    read = {} if tracked is None else tracked.read
    kinds = type(frame)._definition.kinds
    for name, value in document.items():
        if is_placed(name, value):
            paths.discard(name)
            continue
        if name in paths or name == "_id" or is_fixed(value):
            continue
        kept = read.get(name)
        if kept is None:
            # Fields of plain values are not watched: one that holds a container is taken as edited.
            if kinds.get(name) in ("plain", "counter"):
                paths.add(name)
        elif kept.value is not value:
            paths.add(name)
        else:
            before, after = _encoded(kept.copy, options), _encoded(value, options)
            if before is None or after is None:
                paths.add(name)
            elif before != after:
                paths |= _differences(name, before, after)
    return paths


def _is_subframe(value: Any) -> bool:
    return getattr(type(value), "_is_subframe", False)


#: Reads back what is compared; a date beyond Python's years is no error.
COMPARED: CodecOptions[Any] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)


def _differences(path: str, before: bytes, after: bytes) -> set[str]:
    """Return the deepest paths that differ between two values, each in a BSON document."""
    old = bson.decode(before, COMPARED)[""]
    new = bson.decode(after, COMPARED)[""]
    return _different(path, old, new)


def _different(path: str, before: Any, after: Any) -> set[str]:
    if not isinstance(before, dict) or not isinstance(after, dict):
        # Equal in Python is not enough: True is no 1 to MongoDB, nor 1 a 1.0.
        return set() if bson.encode({"": before}) == bson.encode({"": after}) else {path}
    if not all(map(is_nameable, (*before, *after))):
        return set() if bson.encode(before) == bson.encode(after) else {path}
    paths: set[str] = set()
    for key in {**before, **after}:
        if key in before and key in after:
            paths |= _different(f"{path}.{key}", before[key], after[key])
        else:
            paths.add(f"{path}.{key}")
    return paths


def update_of(
    frame: Any,
    fields: tuple[str, ...],
    joined: set[str],
    naive: Naive,
    operation: str,
    *,
    whole: bool = True,
) -> dict[str, Any]:
    """Return the update document for a frame.

    Args:
        frame: as it is now, after the before-listeners.
        fields: the paths named by the caller; none means what the frame holds.
        joined: paths that were changed, and are written beside the named ones.
        naive: what a datetime without zone means.
        operation: for errors.
        whole: whether no named fields mean all that the frame holds.

    Raises:
        QueryError: a named path is not in the frame, or there is nothing to write.
        ProjectionError: a list that was fetched only in part would be written.
    """
    cls = type(frame)
    document = frame._document
    state: Loaded | None = loaded_of(frame)
    place = f"{cls.__name__}.{operation}"
    is_whole = whole and not fields

    for name in document:
        if not is_nameable(name) and (is_whole or name in joined):
            raise QueryError(
                f"{place}: expected keys that a path can name, got {name!r}; name the fields to "
                "write"
            )
    paths = _held(document) if is_whole else list(fields)
    for path in fields:
        root = path.partition(".")[0]
        if is_placed(root, document.get(root)):
            raise QueryError(
                f"{place}: expected fields that are stored, got {path!r}, which the projection "
                "put there with $from; write the frames in it"
            )
    paths = without_descendants([*paths, *sorted(joined)])
    own = own_fields(cls, document, operation)
    if own:
        paths = [path for path in paths if path.partition(".")[0] not in own]
    roots = {path.partition(".")[0] for path in paths}
    part = {name: document[name] for name in roots if name in document}
    _settle(document, part, naive, cls.__name__)

    assigned: dict[str, Any] = {}
    removed: dict[str, Any] = {}
    added: dict[str, Any] = {}
    counters = cls._definition.counters
    for path in paths:
        value = lookup(document, path)
        if "." in path:
            _check_way(document, path, state, place)
        if value is MISSING:
            if path not in joined and not any(is_ancestor(j, path) for j in joined):
                raise QueryError(
                    f"{place}: expected fields that the frame holds, got {path!r}, which is "
                    f"absent; use unset({path!r}) to remove it from the stored document"
                )
            removed[path] = True
        elif path in counters:
            amount = _counted(frame, path, value)
            if amount or path in fields:
                added[path] = amount
        elif state is None:
            assigned[path] = value
        else:
            _check_hidden(document, path, joined - {*fields}, state, place)
            for deeper, inner in state.written(document, path, place, seen=path in fields):
                if inner is MISSING:
                    removed[deeper] = True
                else:
                    assigned[deeper] = as_stored(document, deeper, inner, state)
    parts = {"$set": assigned, "$unset": removed, "$inc": added}
    update = {operator: part for operator, part in parts.items() if part}
    if not update and whole:
        raise QueryError(
            f"{place}: expected something to write, got a frame that holds only its _id"
            + ("" if state is None else " and what its projection hides; name the fields to write")
        )
    return update


def _held(document: dict[str, Any]) -> list[str]:
    """Return the names of all that is written when nothing is named."""
    return [
        name for name, value in document.items() if name != "_id" and not is_placed(name, value)
    ]


def _counted(frame: Any, name: str, value: Any) -> Any:
    """Return what was added to a counter since it was last stored."""
    tracked = tracked_of(frame)
    before = value if tracked is None else tracked.counters.get(name, value)
    return value - before


def _settle(document: dict[str, Any], part: dict[str, Any], naive: Naive, place: str) -> None:
    """Settle the datetimes of a part of a document, there and in the document."""
    settle_datetimes(part, naive, place)
    document.update(part)


def _check_way(document: Any, path: str, state: Loaded | None, place: str) -> None:
    """Refuse a path that leads out of the document, or to another value than the one stored."""
    value, above = document, ""
    for key in path.split("."):
        if above and _is_reference(value):
            raise QueryError(
                f"{place}: expected a path inside the document, got {path!r}, but {above!r} "
                f"refers to a {type(value).__name__}; update that frame"
            )
        inner = lookup(value, key)
        if above and state is not None and state.is_shifted(document, above, value, inner):
            raise ProjectionError(
                f"{place}.{path}: expected a way through values that were fetched whole, got "
                f"only a part of {above!r}; reload it whole first"
            )
        value, above = inner, f"{above}.{key}" if above else key


def _is_reference(value: Any) -> bool:
    kind = type(value)
    return getattr(kind, "_is_frame", False) or getattr(kind, "_is_missing", False)


def _check_hidden(
    document: dict[str, Any], path: str, joined: set[str], state: Loaded, place: str
) -> None:
    """Refuse what a listener edited in place where ids are hidden, and nobody named."""
    for edited in joined:
        if edited == path or is_ancestor(path, edited):
            hidden = state.covered(document, edited)
            if hidden is not None:
                raise ProjectionError(
                    f"{place}.{edited}: expected a value that shows all its ids, got one edited "
                    f"by a listener while $missing hides an id in {hidden!r}; name it to write "
                    "what is seen, or load it with '$missing': 'keep'"
                )
