"""Derived fields: values that a class makes of its other fields, for searching and sorting.

A class names them in `_derived`: by field, the path of its source, or a tuple of several, and the
function that makes it. It is called with the value of each source, as it is stored (None for one
that is absent), and not at all when all of them are absent; then the field is absent, too, and also
when it returns None.

>>> from loom import Frame
>>> class User(Frame):
...     _derived = {
...         "email_rev": ("email", lambda email: email[::-1]),
...         "full": (("name.first", "name.last"), lambda *names: " ".join(filter(None, names))),
...     }
...     email: str
...     email_rev: str
...     name: dict
...     full: str
>>> derived(User)
{'email_rev': ('email',), 'full': ('name.first', 'name.last')}

Every write of Loom's keeps them in step: ordinary listeners do it, called after all others. What
was stored before, or is written by others, `rebuild_derived` sets right.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from bson.codec_options import CodecOptions
from pymongo import UpdateOne

from ..encoding import ENCODING_ERRORS, encode, unencodable
from ..errors import FieldError, QueryError, nearest
from .chunks import found_by_id
from .collations import add_collation
from .derivations import Derivation, derivations
from .deriving import made, source_of
from .events import add_note
from .id_ranges import behind, holds_text
from .operations.reading import compiled_filter, shared_options
from .paths import MISSING
from .port import Port, awaited, blocking, complete
from .primaries import on_primary
from .values import plain

if TYPE_CHECKING:
    from .frame import Frame
    from .queries import Filter

__all__ = ["Rebuilt", "aio", "derived", "rebuild_derived"]

#: Called with how many documents were looked at, and how many there were at the start.
Progress: TypeAlias = Callable[[int, int], object]

#: How often a document is looked at that goes on changing.
_LOOKS = 5


class Rebuilt(NamedTuple):
    """What a rebuild has found.

    Attributes:
        checked: how many documents were looked at.
        changed: how many of them held another value, and were corrected.
        unsettled: how many were left alone, because they changed with every look.
        last: the `_id` of the last one, None when there was none.
    """

    checked: int
    changed: int
    unsettled: int
    last: Any


def derived(cls: type[Frame]) -> dict[str, tuple[str, ...]]:
    """Return the derived fields of a class, each with the paths that it is made of."""
    return {derivation.field: derivation.sources for derivation in derivations(cls)}


def rebuild_derived(
    cls: type[Frame],
    *fields: str,
    filter: Filter = None,
    after: Any = None,
    batch_size: int = 1_000,
    dry_run: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Rebuilt:
    """Make derived fields of stored documents anew, and correct those that differ.

    Documents are read in the order of their `_id`, and only what differs is written, without events
    and time stamps. Others may write meanwhile: a document is corrected only while its sources are
    what they were when they were read, else it is looked at again. When it fails in the middle, a
    note on the error says behind which `_id` to go on.

    Awaited, it is `await derived.aio.rebuild_derived(...)`.

    Args:
        cls: the class.
        fields: the derived fields that are made anew; none means all.
        filter: which documents are looked at; None for all.
        after: only documents behind this `_id`, to go on where an earlier call has ended.
        batch_size: how many documents are read at a time.
        dry_run: write nothing, and count what differs.
        progress: called after each batch with how many documents were looked at, and how many there
            were at the start, which costs a count.
        options: `session` and `comment`.

    Raises:
        DeriveError: the function of a field raised; what came before is corrected.
        FieldError: a name is not that of a derived field.
        ReadOnly: writing is switched off.
    """
    way = _Way(batch_size, dry_run, progress)
    return complete(_rebuild(blocking(), cls, fields, filter, after, way, options))


class Awaited:
    """The same function, awaited: `await derived.aio.rebuild_derived(User)`."""

    async def rebuild_derived(
        self,
        cls: type[Frame],
        *fields: str,
        filter: Filter = None,
        after: Any = None,
        batch_size: int = 1_000,
        dry_run: bool = False,
        progress: Progress | None = None,
        **options: Any,
    ) -> Rebuilt:
        """Make derived fields of stored documents anew; see `rebuild_derived`."""
        way = _Way(batch_size, dry_run, progress)
        return await _rebuild(awaited(), cls, fields, filter, after, way, options)


aio = Awaited()


class _Way(NamedTuple):
    batch_size: int
    dry_run: bool
    progress: Progress | None


async def _rebuild(
    port: Port,
    cls: Any,
    fields: tuple[str, ...],
    filter: Filter,
    after: Any,
    way: _Way,
    options: dict[str, Any],
) -> Rebuilt:
    wanted = _wanted(cls, fields)
    _check(cls, way, options)
    if not way.dry_run:
        port.check_writable(cls, "rebuild_derived")
    shared = shared_options(options)
    finding = dict(shared)
    query = compiled_filter(port, cls, filter)
    add_collation(cls, query, finding)
    if after is not None:
        query = _behind(port, cls, query, after, finding)
    total = 0 if way.progress is None else await port.count(cls, query, finding)
    found = Rebuilt(0, 0, 0, None)
    batches = _batches(port, cls, wanted, query, way.batch_size, finding)
    try:
        async for documents in batches:
            with on_primary(port, cls):
                changed, unsettled = await _correct(
                    port, cls, wanted, documents, way.dry_run, shared
                )
            found = Rebuilt(
                found.checked + len(documents),
                found.changed + changed,
                found.unsettled + unsettled,
                documents[-1]["_id"],
            )
            if way.progress is not None:
                way.progress(found.checked, total)
    except BaseException as error:
        place = f"{cls.__name__}: rebuild_derived"
        if found.last is not None:
            add_note(
                error,
                f"{place}: {found.checked} documents are done; go on with after={found.last!r}",
            )
        raise
    finally:
        await batches.aclose()
    return found


def _wanted(cls: Any, fields: tuple[str, ...]) -> tuple[Derivation, ...]:
    """Return the derived fields that are to be made, each after those that it is made of."""
    known = derivations(cls)
    names = [derivation.field for derivation in known]
    for field in fields:
        if field not in names:
            raise FieldError(
                f"{cls.__name__}: rebuild_derived: expected derived fields, got {field!r}"
                f"{nearest(field, names) if isinstance(field, str) else ''}"
            )
    if not known:
        raise FieldError(
            f"{cls.__name__}: rebuild_derived: expected a class with derived fields, got one "
            "without; write _derived = {'email_rev': ('email', reverse)}"
        )
    return tuple(one for one in known if not fields or one.field in fields)


def _check(cls: Any, way: _Way, options: Mapping[str, Any]) -> None:
    place = f"{cls.__name__}: rebuild_derived"
    size, progress = way.batch_size, way.progress
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise QueryError(f"{place}: expected batch_size of at least 1, got {size!r}")
    if progress is not None and (not callable(progress) or inspect.iscoroutinefunction(progress)):
        raise QueryError(
            f"{place}: expected a plain function for progress, got {progress!r}; it is called with "
            "two numbers and not awaited"
        )
    known = ("comment", "session")
    for name in options:
        if name not in known:
            raise FieldError(
                f"{place}: expected options {', '.join(known)}, got {name!r}{nearest(name, known)}"
            )


async def _batches(
    port: Port,
    cls: Any,
    wanted: tuple[Derivation, ...],
    query: dict[str, Any],
    size: int,
    options: dict[str, Any],
) -> AsyncGenerator[list[dict[str, Any]], None]:
    """Yield stored documents in the order of their ids."""
    codecs = port.collection(cls).codec_options
    finding = {"sort": [("_id", 1)], "batch_size": size, **options}
    with on_primary(port, cls):
        cursor = port.cursor(cls, query, _projection(wanted), finding)
    stream = port.batches(cursor, size)
    try:
        async for documents in stream:
            yield documents
    except ENCODING_ERRORS as error:
        raise unencodable(f"{cls.__name__} filter", query, codecs, error) from error
    finally:
        await stream.aclose()


def _behind(
    port: Port, cls: Any, query: dict[str, Any], after: Any, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a filter for what comes behind an `_id`."""
    after = cls._to_id(after)
    if options.get("collation") is not None and holds_text(after):
        raise QueryError(
            f"{cls.__name__}: rebuild_derived: expected no text as after= beside a filter that "
            f"ignores case, got {after!r}, whose place depends on case; leave the filter out"
        )
    rest = behind(after, 1, port.collection(cls).codec_options)
    return {"$and": [query, rest]} if query else rest


def _projection(wanted: tuple[Derivation, ...]) -> dict[str, Any]:
    roots = {root for derivation in wanted for root in (derivation.field, *derivation.roots)}
    return dict.fromkeys(sorted(roots), True)


async def _correct(
    port: Port,
    cls: Any,
    wanted: tuple[Derivation, ...],
    documents: list[dict[str, Any]],
    dry_run: bool,
    options: dict[str, Any],
) -> tuple[int, int]:
    """Correct some documents; return how many were wrong, and how many went on changing."""
    codecs = port.collection(cls).codec_options
    corrected = 0
    for _ in range(_LOOKS):
        pairs = [(d["_id"], _request(cls, wanted, d, codecs)) for d in documents]
        wrong = [(id, request) for id, request in pairs if request is not None]
        if not wrong or dry_run:
            return corrected + len(wrong), 0
        requests = [request for _, request in wrong]
        done = await port.write(cls, "bulk_write", [], requests, ordered=False, **options)
        number = int(done.matched_count) if done.acknowledged else len(requests)
        corrected += number
        if number == len(requests):
            return corrected, 0
        ids = [id for id, _ in wrong]
        documents = await found_by_id(port, cls, ids, _projection(wanted), options)
    left = [d for d in documents if _request(cls, wanted, d, codecs) is not None]
    return corrected, len(left)


def _request(
    cls: Any,
    wanted: tuple[Derivation, ...],
    document: dict[str, Any],
    codecs: CodecOptions[Any],
) -> UpdateOne | None:
    """Return what corrects a document while its sources are what they are; None when it is right."""
    now = dict(document)
    assigned: dict[str, Any] = {}
    removed: dict[str, Any] = {}
    for derivation in wanted:
        field = derivation.field
        value = made(cls, derivation, [source_of(now, source) for source in derivation.sources])
        value = plain(value, field)
        held = document.get(field, MISSING)
        if value is None:
            now.pop(field, None)
            if held is not MISSING:
                removed[field] = True
            continue
        now[field] = value
        if held is MISSING or encode({"": value}, codecs) != encode({"": held}, codecs):
            assigned[field] = value
    changes = {"$set": assigned, "$unset": removed}
    changes = {operator: part for operator, part in changes.items() if part}
    if not changes:
        return None
    fields = {derivation.field for derivation in wanted}
    roots = {root for one in wanted for root in one.roots} - fields
    seen = [
        {root: {"$eq": document[root]} if root in document else {"$exists": False}}
        for root in sorted(roots)
    ]
    return UpdateOne({"$and": [{"_id": {"$eq": document["_id"]}}, *seen]}, changes)
