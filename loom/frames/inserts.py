"""The documents of many new frames, prepared together.

What a batch needs to know of each value is asked of all values at once, in C: most documents hold
nothing that must be looked at twice.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from contextlib import suppress
from datetime import datetime, timezone
from itertools import chain, islice
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

from bson.codec_options import CodecOptions
from bson.tz_util import utc

from ..encoding import PLAIN, Naive, settle_datetimes
from .annotations import is_timeless, resolved_annotations
from .changes import document_to_insert
from .forms import is_marked, mark
from .ids import new_ids
from .pauses import paused
from .sent import Sent, encoded
from .tracking import loaded_of
from .values import SCALARS, Placed, is_placed

__all__ = ["Inserts", "document_of", "inserts_of"]

Document = dict[str, Any]

document_of = attrgetter("_document")
_zone_of = attrgetter("tzinfo")
_microsecond_of = attrgetter("microsecond")
#: Zones whose instants have the milliseconds that the clock there shows.
_EVEN_ZONES = frozenset((None, utc, timezone.utc))
#: Values of these types hold no datetime.
_TIMELESS = SCALARS - {datetime}
#: So deep documents are looked into together; what is deeper, one by one.
_DEPTH = 3
#: So many documents stay in the processor's cache while they are looked through and encoded.
_AT_ONCE = 100


class Inserts(NamedTuple):
    """What is sent for new frames."""

    #: those with containers as `Sent`, where that was asked for
    documents: list[Any]
    ids: list[Any]
    #: the positions of frames that must keep copies of what they hold, or hold state already
    tracked: set[int]


def inserts_of(
    frames: list[Any], naive: Naive, options: CodecOptions[Any], *, encodes: bool
) -> Inserts:
    """Return the documents to send for new frames: copies, with an `_id` where they have none.

    The frames' own datetimes are cut to milliseconds: what they hold is what is stored.

    Args:
        frames: at least one, each with a document of its own.
        naive: what a datetime without zone means.
        options: of the collection.
        encodes: whether documents may be given as `Sent`; the first one never is.

    Raises:
        EncodeError: a naive datetime, and `naive` is `"refuse"`.
    """
    states = [getattr(frame, "_state", None) for frame in frames]
    kinds: set[Any] = {*map(type, frames)}
    if any(map(is_marked, kinds)):
        for frame in frames:
            mark(frame)
    documents: list[Document] = [frame._document for frame in frames]
    if (
        any(loaded_of(f) for f, state in zip(frames, states, strict=True) if state is not None)
        or any(kind._version is not None for kind in kinds)
        or {*map(type, documents)} != {dict}
    ):
        sent = [document_to_insert(frame, naive) for frame in frames]
        return Inserts(sent, [document["_id"] for document in sent], {*range(len(frames))})
    is_new = states.count(None) == len(states)
    fields = _Fields(type(frames[0]).__name__, naive, options.type_registry._encoder_map)
    made: list[Any] = []
    ids: list[Any] = []
    tracked: set[int] = set()
    with paused(len(frames)):
        for start in range(0, len(documents), _AT_ONCE):
            some = documents[start : start + _AT_ONCE]
            has_containers, unwrapped = fields.look(some)
            copies = _with_ids(some, ids)
            for name, values in unwrapped.items():
                for copy, value in zip(copies, values, strict=True):
                    if name in copy:
                        copy[name] = value
            for name in fields.placed:
                for copy in copies:
                    if is_placed(name, copy.get(name)):
                        del copy[name]
            if has_containers:
                if encodes and is_new:  # while the processor's cache holds them
                    first = copies[0]
                    copies = encoded(copies, options)
                    if not made:
                        copies[0] = first
                tracked.update(start + i for i, c in enumerate(copies) if type(c) is not Sent)
            made += copies
    return Inserts(made, ids, tracked if is_new else {*range(len(frames))})


def _with_ids(documents: list[Document], ids: list[Any]) -> list[Any]:
    """Return copies with an `_id`, which stands first, as it is stored; add the ids to a list."""
    made = new_ids(len(documents))
    copies = [{"_id": id, **document} for id, document in zip(made, documents, strict=True)]
    if any("_id" in document for document in documents):
        for copy, id in zip(copies, made, strict=True):
            if copy["_id"] is None:
                copy["_id"] = id
        made = [copy["_id"] for copy in copies]
    ids += made
    return copies


class _Fields:
    """Looks through documents, field by field.

    Args:
        place: name of the class, for errors.
        naive: what a datetime without zone means.
        encoded: types that the client's own codecs encode.
    """

    def __init__(self, place: str, naive: Naive, encoded: Container[type]) -> None:
        self.place = place
        self.naive: Naive = naive
        self.encoded = encoded
        #: the fields in which `$from` has put something
        self.placed: set[Any] = set()
        self._timeless: dict[Any, int] = {}

    def look(self, documents: list[Document], depth: int = 1) -> tuple[bool, dict[Any, list[Any]]]:
        """Cut datetimes in place.

        Returns:
            Whether values can be edited in place, and the fields of sub-frames with documents in
            their place.
        """
        has_containers = False
        unwrapped = {}
        for name, values in _columns(documents).items():
            kinds = _kinds_of(values)
            if Placed in kinds and depth == 1:
                self.placed.add(name)
            if not kinds:
                continue
            kind = kinds.pop()
            if kind is not datetime or kinds:
                has_containers = True
            elif self.naive == "utc" and _are_whole(v for v in values if type(v) is datetime):
                continue
            found = None
            if not kinds and depth < _DEPTH and self.naive == "utc":
                found = _embedded(kind, values)
            if found is None:
                self._one_by_one(documents, name, values)
                continue
            of_members, inner = found
            if inner and max(map(len, inner)) > self._timeless_fields(of_members):
                self.look(inner, depth + 1)
            is_ours = getattr(of_members, "_is_subframe", False) and of_members not in self.encoded
            if is_ours and depth == 1 and name != "_id":
                unwrapped[name] = _unwrapped(kind, values, inner)
        return has_containers, unwrapped

    def _timeless_fields(self, kind: Any) -> int:
        """Return how many fields a sub-frame class declares, 0 when one may hold a datetime."""
        found = self._timeless.get(kind)
        if found is None:
            found = 0
            if getattr(kind, "_is_subframe", False):
                types = resolved_annotations(kind._definition)
                declared = kind._definition.names - {"_id"}
                if types.keys() >= declared and all(is_timeless(types[name]) for name in declared):
                    found = len(declared)
            self._timeless[kind] = found
        return found

    def _one_by_one(self, documents: list[Document], name: Any, values: list[Any]) -> None:
        for document, value in zip(documents, values, strict=True):
            if type(value) not in _TIMELESS:
                settled = {name: value}
                settle_datetimes(settled, self.naive, self.place)
                if settled[name] is not value:
                    document[name] = settled[name]


def _columns(documents: list[Document]) -> dict[Any, list[Any]]:
    """Return the fields in which some document holds more than a plain value, all their values."""
    first = documents[0]
    names = [name for name, value in first.items() if type(value) not in PLAIN]
    if not names:
        if PLAIN.issuperset(map(type, chain.from_iterable(map(dict.values, documents)))):
            return {}
    elif {*map(len, documents)} == {len(first)} and len(names) < len(first):
        # Most often all have the same fields; then only the plain ones must be looked through.
        others = [name for name in first if name not in names]
        rows = map(itemgetter(*others, others[0]), documents)  # tuples, also of one
        with suppress(KeyError):
            if PLAIN.issuperset(map(type, chain.from_iterable(rows))):
                return {name: [*map(itemgetter(name), documents)] for name in names}
    found = {name: None for d in documents for name, value in d.items() if type(value) not in PLAIN}
    return {name: [document.get(name) for document in documents] for name in found}


def _kinds_of(values: Iterable[Any]) -> set[type]:
    """Return the types of values that can hold a datetime; frames are stored apart."""
    return {
        kind
        for kind in {*map(type, values)} - _TIMELESS
        if not getattr(kind, "_is_frame", False) and not getattr(kind, "_is_missing", False)
    }


def _are_whole(values: Iterable[datetime]) -> bool:
    """Tell whether datetimes are in UTC and have no microseconds that would be cut."""
    values = [*values]
    if any(microsecond % 1000 for microsecond in {*map(_microsecond_of, values)}):
        return False
    return _EVEN_ZONES.issuperset(map(_zone_of, values))


def _embedded(kind: Any, values: list[Any]) -> tuple[Any, list[Document]] | None:
    """Return the documents that a field's values are or hold, and the type that they have there.

    None when they are, or hold, something else, too.
    """
    held = values if {*map(type, values)} == {kind} else [v for v in values if type(v) is kind]
    if kind is list:
        held = [*chain.from_iterable(held)]
        members: set[Any] = {*map(type, held)}
        if len(members) != 1:
            return None if _kinds_of(held) else (None, [])
        kind = members.pop()
    if kind is dict:
        return kind, held
    if getattr(kind, "_is_subframe", False):
        return kind, [frame._document for frame in held]
    return None if _kinds_of(held) else (None, [])


def _unwrapped(kind: type, values: list[Any], documents: list[Document]) -> list[Any]:
    """Return a field's values with documents for sub-frames: the encoder would ask for each."""
    inner = iter(documents)
    if kind is list:
        return [[*islice(inner, len(v))] if type(v) is list else v for v in values]
    return [next(inner) if type(value) is kind else value for value in values]
