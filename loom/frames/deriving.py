"""Keeps derived fields in step with what they are made of, on every write.

Ordinary listeners do it, called after all others, so that they see what is stored. What they
assign joins the write.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any

from bson import ObjectId, decode

from ..encoding import ENCODING_ERRORS, encode
from ..errors import DeriveError, QueryError
from .changes import Removed, Snapshot
from .chunks import documents_by_id
from .derivations import Derivation, derivations, overlap
from .events import running
from .marked import marked
from .normalising import normalise_changes
from .paths import MISSING, is_ancestor, lookup, lookup_all, without_descendants
from .primaries import on_primary
from .signals import assigning
from .tracking import loaded_of
from .updates import paths_in
from .values import plain

__all__ = ["derive", "deriving", "made", "source_of"]

#: What is read back from a document just as it was written.
_STORED = frozenset((str, int, float, bool, type(None), ObjectId, bytes))
_REPLACING = frozenset(("$project", "$replaceRoot", "$replaceWith"))


def deriving(cls: Any) -> Iterable[tuple[str, Any]]:
    """Return the listeners that the setting `_derived` of a class asks for, each after its event."""
    if derivations(cls):
        return (("insert", derive), ("update", derive))
    return ()


def derive(
    sender: type,
    frames: list[Any],
    fields: Sequence[str] = (),
    changes: Sequence[Any] = (),
    event: str = "insert",
    session: Any = None,
) -> Awaitable[None] | None:
    """Make derived fields anew where a source is written; a listener for `insert` and `update`.

    Args:
        sender: the class.
        frames: changed in place.
        fields: the paths that are written; none means what the frames hold.
        changes: update documents that are about to be sent; changed in place.
        event: an `insert` writes all there is.
        session: of the call.

    Returns:
        None, or what is to be awaited, when a field has sources that are not written: these are
        read from the server, because those in the frame may be old.

    Raises:
        DeriveError: a function raised.
        QueryError: a change whose outcome for a derived field is known only to the server.
        ProjectionError: a source was fetched only in part.
    """
    if event == "insert":
        for frame in frames:
            _fill(frame)
        return None
    for change in changes:
        _change(sender, change)
    works = []
    for frame in frames:
        paths = _written(frame, fields, is_change=bool(changes))
        if paths:
            removed = fields if isinstance(fields, Removed) else ()
            works.append(_Work(frame, paths, removed))
    lacking = []
    for work in works:
        if work.lacking:
            lacking.append(work)
        else:
            work.finish({})
    return _with_stored(sender, lacking, session) if lacking else None


def assigned(cls: Any, fields: Sequence[str]) -> tuple[str, ...]:
    """Return the derived fields that an update of some fields writes; of none named, all."""
    found: list[str] = []
    paths = [*fields, *marked(cls).updated]
    for derivation in derivations(cls):
        if not fields or derivation.is_touched(paths) or derivation.field in paths:
            found.append(derivation.field)
            paths.append(derivation.field)
    return (*found,)


assigning.append((derive, assigned))


# Frames


def _fill(frame: Any) -> None:
    """Make the derived fields of a new frame."""
    cls = type(frame)
    document = frame._document
    for derivation in derivations(cls):
        values = [source_of(document, source) for source in derivation.sources]
        value = made(cls, derivation, values)
        if value is None:
            document.pop(derivation.field, None)
        else:
            document[derivation.field] = value


def _written(frame: Any, fields: Sequence[str], *, is_change: bool) -> set[str]:
    """Return the paths of a frame that an update writes, beside those of its update document."""
    snapshot = Snapshot.before_listeners(frame)
    changed = set() if snapshot is None else snapshot.changed()
    if is_change:
        return changed
    return changed.union(fields or frame._document.keys() - {"_id"}, marked(type(frame)).updated)


class _Work:
    """A frame about to be written, and its derived fields that are to be made anew."""

    def __init__(self, frame: Any, paths: set[str], removed: Sequence[str]) -> None:
        self.frame = frame
        self.cls = cls = type(frame)
        self.removed = removed
        self.touched: list[Derivation] = []
        known = {*paths}
        for derivation in derivations(cls):
            is_named = any(overlap(derivation.field, path) for path in known)
            if is_named or derivation.is_touched(known):
                self.touched.append(derivation)
                known.add(derivation.field)
        self.made = {derivation.field for derivation in self.touched}
        sources = {source for derivation in self.touched for source in derivation.sources}
        written = {p for p in paths if any(overlap(p, source) for source in sources)}
        #: the paths that are written in lists, member by member
        self.inside = {path for path in written if _leads_through_list(frame._document, path)}
        #: what is written, by path
        self.written = dict(self._written(written - self.inside))
        #: the sources whose values are to be read from the server
        self.lacking = {
            source for source in sources if source not in self.made and self._is_lacking(source)
        }

    def _written(self, paths: set[str]) -> Iterable[tuple[str, Any]]:
        document = self.frame._document
        loaded = loaded_of(self.frame)
        for path in without_descendants(sorted(paths)):
            value = lookup(document, path)
            if any(path == removed or is_ancestor(removed, path) for removed in self.removed):
                yield path, MISSING
            elif loaded is None or value is MISSING:
                yield path, value
            else:  # what was fetched in part is written in part
                yield from loaded.written(document, path, f"{self.cls.__name__}.update", seen=True)

    def _is_lacking(self, source: str) -> bool:
        if self._above(source) is not None or any(overlap(source, path) for path in self.inside):
            return False
        if self.cls._version is None or any(is_ancestor(source, path) for path in self.written):
            return True  # others may have changed it since the frame was loaded
        document = self.frame._document
        loaded = loaded_of(self.frame)
        if loaded is not None:
            for part in loaded.parts:
                if overlap(source, part) and loaded.is_partial(part, lookup(document, part)):
                    return True
        return source_of(document, source) is None

    def _above(self, source: str) -> str | None:
        """Return the path that is written, and that of a source or above it."""
        paths = (path for path in self.written if path == source or is_ancestor(path, source))
        return next(paths, None)

    def finish(self, stored: Mapping[str, Any]) -> None:
        """Make the derived fields.

        Args:
            stored: the document on the server, with the sources that are read from there.
        """
        for derivation in self.touched:
            values = [self._value(source, stored) for source in derivation.sources]
            value = made(self.cls, derivation, values)
            field = derivation.field
            if value is not None and any(overlap(field, path) for path in self.removed):
                raise QueryError(
                    f"{self.cls.__name__}.unset: expected other fields than {field!r}, which is "
                    f"derived of {derivation.shown}; unset these"
                )
            self._assign(field, value)

    def _value(self, source: str, stored: Mapping[str, Any]) -> Any:
        if source in self.made:
            return self.frame._document.get(source)
        above = self._above(source)
        if above is not None:
            value = self.written[above]
            rest = source[len(above) + 1 :]
            if value is MISSING:
                return None
            return source_of(value, rest) if rest else value
        if source not in self.lacking:
            return source_of(self.frame._document, source)
        value = source_of(stored, source)
        for path, inner in self.written.items():
            if is_ancestor(source, path):
                value = {} if value is None else value
                _put(value, path[len(source) + 1 :].split("."), inner)
        return value

    def _assign(self, field: str, value: Any) -> None:
        document = self.frame._document
        if value is None:
            document.pop(field, None)
        else:
            document[field] = value
        snapshot = Snapshot.before_listeners(self.frame)
        if snapshot is not None:
            snapshot.force(field)


def _leads_through_list(document: Any, path: str) -> bool:
    """Tell a path that leads into each document of a list."""
    names = path.split(".")
    value = document
    for name in names:
        value = getattr(value, "_document", value)
        if isinstance(value, (list, tuple)) and not name.isdigit():
            return True
        value = lookup(value, name)
    return False


def _put(holder: Any, names: list[str], value: Any) -> None:
    """Put a value at a path of what was read from the server, or remove what is there."""
    name, *rest = names
    if isinstance(holder, list):
        if not name.isdigit() or int(name) >= len(holder):
            return
        if not rest:
            holder[int(name)] = None if value is MISSING else value
            return
        inner = holder[int(name)]
    elif isinstance(holder, dict):
        if not rest:
            if value is MISSING:
                holder.pop(name, None)
            else:
                holder[name] = value
            return
        inner = holder.setdefault(name, {})
    else:
        return
    _put(inner, rest, value)


async def _with_stored(cls: Any, works: list[_Work], session: Any) -> None:
    """Read the sources that are not written, then make the derived fields."""
    current = running()
    assert current is not None  # it is called as a listener only
    port = current.port
    roots = {source.partition(".")[0] for work in works for source in work.lacking}
    projection = dict.fromkeys(sorted(roots), True)
    ids = [work.frame._document["_id"] for work in works]
    options = {} if session is None else {"session": session}
    with on_primary(port, cls):
        stored = await documents_by_id(port, cls, ids, projection, options)
    for work, document in zip(works, stored, strict=True):
        work.finish(document or {})  # the write itself says that one is gone


# Values


def source_of(document: Mapping[str, Any], source: str) -> Any:
    """Return the value of a source: None when it is absent, a list where a list is on the way."""
    if "." not in source and type(document) is dict:
        return document.get(source)
    value = lookup(document, source)
    if value is MISSING:
        return lookup_all(document, source) or None
    return value


def made(cls: Any, derivation: Derivation, values: Sequence[Any]) -> Any:
    """Return what a derived field is to hold; None when it is to be absent.

    Args:
        cls: the class.
        derivation: the field.
        values: of its sources; None for one that is absent.

    Raises:
        DeriveError: the function raised.
    """
    field, sources, function = derivation
    stored = [
        value if type(value) in _STORED else _as_stored(cls, value, f"{cls.__name__}.{source}")
        for value, source in zip(values, sources, strict=True)
    ]
    if stored.count(None) == len(stored):
        return None
    try:
        value = function(*stored)
    except Exception as error:
        name = getattr(function, "__name__", repr(function))
        pairs = zip(sources, stored, strict=True)
        given = ", ".join(f"{source}={_brief(value)}" for source, value in pairs)
        raise DeriveError(
            f"{cls.__name__}.{field}: expected {name}() to return a value for {given}, got "
            f"{type(error).__name__}: {error}"
        ) from error
    if value is None or field not in marked(cls).texts:
        return value
    assigned: dict[str, Any] = normalise_changes(cls, {"$set": {field: value}})["$set"]
    return assigned[field]


def _brief(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 100 else f"{shown[:100]}..."


def _as_stored(cls: Any, value: Any, place: str) -> Any:
    """Return a value as it is read back once it is stored: functions see always the same."""
    current = running()
    value = plain(value, place)
    if current is None:
        return value
    codecs = current.port.collection(cls).codec_options
    try:
        return decode(encode({"": value}, codecs), codecs)[""]
    except ENCODING_ERRORS:
        return value  # the write itself says what is wrong with it


# Update documents


def _change(cls: Any, change: Any) -> None:
    """Add derived fields to an update document that writes their sources.

    Raises:
        QueryError: only the server knows what the sources will be.
    """
    stages = _stages_of(change)
    replaces = any(name in _REPLACING for stage in stages for name in stage)
    given = paths_in(change)
    paths = [*given]
    for derivation in derivations(cls):
        field = derivation.field
        place = f"{cls.__name__}.{field}"
        if any(overlap(field, path) for path in given):
            raise QueryError(
                f"{place}: expected a change of {derivation.shown}, got one of {field!r}, which is "
                "derived of that"
            )
        if not replaces and not derivation.is_touched(paths):
            continue
        values = None if stages else [_set_to(change, source) for source in derivation.sources]
        if values is None or MISSING in [value if value is MISSING else None for value in values]:
            raise QueryError(
                f"{place}: expected a change that sets or unsets all of {derivation.shown}, of "
                f"which {field!r} is derived, got {change!r}, whose outcome only the server knows; "
                "load the frames, and update them"
            )
        value = made(cls, derivation, values)
        added = {"$unset": {field: True}} if value is None else {"$set": {field: value}}
        for operator, part in added.items():
            change[operator] = {**change.get(operator, {}), **part}
        paths.append(field)


def _stages_of(change: Any) -> list[Any]:
    """Return the stages of a pipeline; of operators none."""
    return change if isinstance(change, list) else []


def _set_to(change: Mapping[str, Any], source: str) -> Any:
    """Return what an update document makes of a source, MISSING when that is not known."""
    assigned, unset = change.get("$set", {}), change.get("$unset", {})
    names = source.split(".")
    for end in range(len(names), 0, -1):
        above = ".".join(names[:end])
        if above in unset:
            return None
        if above in assigned:
            value = assigned[above]
            return source_of({"": value}, ".".join(["", *names[end:]])) if names[end:] else value
    return MISSING
