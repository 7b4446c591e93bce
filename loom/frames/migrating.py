"""Migrations: all stored documents of an older form, upgraded in batches.

Documents are upgraded one by one when they are written; `migrate` does the same to all that are
left, so that filters can rely on the form of today and `_upgrade` can be taken out of the class.
"""

from __future__ import annotations

import html
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from ..errors import DefinitionError, FieldError, QueryError, SchemaVersionError, nearest
from .events import add_note
from .forms import SCHEMA_VERSION, version_of
from .id_ranges import behind
from .operations.reading import compiled_filter
from .paths import is_ancestor
from .port import Documents, Port, awaited, blocking, complete
from .primaries import on_primary
from .stored_upgrades import Change, Upgraded, change_of, upgrade_stored

if TYPE_CHECKING:
    from .frame import Frame
    from .queries import Filter

__all__ = ["Example", "Failure", "Migration", "aio", "migrate"]

#: Called with how many documents were looked at, and how many there were at the start.
Progress: TypeAlias = Callable[[int, int], object]

#: How many examples a dry run shows.
_EXAMPLES = 5
_PRIVATE = "<private>"
_ABSENT: Any = object()


class Failure(NamedTuple):
    """A document that could not be upgraded."""

    id: Any
    reason: str


class Example(NamedTuple):
    """What an upgrade makes of one document.

    Attributes:
        id: its `_id`.
        version: the number of its form; 0 when it has none.
        changes: by field, the old and the new value as text: `None` for one that is absent,
            private values hidden.
    """

    id: Any
    version: int
    changes: dict[str, tuple[str | None, str | None]]

    def __str__(self) -> str:
        lines = [f"_id={self.id!r}, {SCHEMA_VERSION}={self.version}"]
        for field, (old, new) in self.changes.items():
            if old is None:
                lines.append(f"  + {field}: {new}")
            elif new is None:
                lines.append(f"  - {field}: {old}")
            else:
                lines.append(f"  {field}: {old} -> {new}")
        return "\n".join(lines)


class Migration(NamedTuple):
    """What a migration has done, or would do.

    Attributes:
        seen: how many documents of an older form were looked at.
        upgraded: how many of them were changed.
        unchanged: how many had nothing to change but their number.
        elsewhere: how many others have upgraded or deleted meanwhile.
        failed: which could not be upgraded, and why; they are as they were.
        newer: how many documents have a newer form than the class.
        last: the `_id` of the last one, None when there was none.
        examples: of a dry run, what would be changed in a few documents.
        dry_run: whether nothing was written.
    """

    seen: int
    upgraded: int
    unchanged: int
    elsewhere: int
    failed: tuple[Failure, ...]
    newer: int
    last: Any
    examples: tuple[Example, ...]
    dry_run: bool

    def _counts(self) -> list[tuple[str, int]]:
        return [
            ("seen", self.seen),
            ("to be upgraded" if self.dry_run else "upgraded", self.upgraded),
            ("unchanged", self.unchanged),
            ("upgraded or deleted by others", self.elsewhere),
            ("failed", len(self.failed)),
            ("of a newer form", self.newer),
        ]

    def __str__(self) -> str:
        head = ", ".join(f"{number} {name}" for name, number in self._counts() if number)
        failed = [f"failed _id={one.id!r}: {one.reason}" for one in self.failed[:_EXAMPLES]]
        if len(self.failed) > _EXAMPLES:
            failed.append(f"and {len(self.failed) - _EXAMPLES} more")
        return "\n".join([head or "nothing to upgrade", *failed, *map(str, self.examples)])

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        rows = [(name, str(number)) for name, number in self._counts()]
        rows += [(f"failed: {one.id!r}", one.reason) for one in self.failed[:_EXAMPLES]]
        rows += [(f"example: {one.id!r}", str(one)) for one in self.examples]
        cells = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left;white-space:pre'>{html.escape(text)}</td></tr>"
            for name, text in rows
        )
        return f"<table><caption>Migration</caption>{cells}</table>"


def migrate(
    cls: type[Frame],
    filter: Filter = None,
    *,
    after: Any = None,
    batch_size: int = 1_000,
    dry_run: bool = False,
    progress: Progress | None = None,
    on_error: Literal["continue", "raise"] = "continue",
    **options: Any,
) -> Migration:
    """Upgrade all stored documents of an older form, and return what was done.

    Documents are read in the order of their `_id`, and each is written only while it is as it was
    read: one that others change meanwhile is read again, never overwritten. Several processes may
    migrate at once. A call that was broken off is simply made again: what is upgraded is not looked
    at any more. Listeners hear nothing of it, and derived fields are not made anew.

    Awaited, it is `await migrating.aio.migrate(...)`.

    Args:
        cls: the class, with a `_schema_version`. Without an `_upgrade` documents are only numbered.
        filter: which documents are looked at, in the form they have now; None for all.
        after: only documents whose `_id` comes behind this one.
        batch_size: how many documents are read and written at a time.
        dry_run: write nothing; count, and show a few examples.
        progress: called after each batch with how many documents were looked at, and how many there
            were at the start, which costs a count.
        on_error: `"continue"` leaves a document that cannot be upgraded as it is and reports it;
            `"raise"` raises at the first one.
        options: `session` and `comment`.

    Raises:
        DefinitionError: the class has no `_schema_version`.
        SchemaVersionError: a document cannot be upgraded, and `on_error` is `"raise"`; or what
            `_upgrade` raised.
        ReadOnly: writing is switched off.
    """
    way = _Way(after, batch_size, dry_run, progress, on_error)
    return complete(_migrate(blocking(), cls, filter, way, options))


class Awaited:
    """The same function, awaited: `await migrating.aio.migrate(Dragon)`."""

    async def migrate(
        self,
        cls: type[Frame],
        filter: Filter = None,
        *,
        after: Any = None,
        batch_size: int = 1_000,
        dry_run: bool = False,
        progress: Progress | None = None,
        on_error: Literal["continue", "raise"] = "continue",
        **options: Any,
    ) -> Migration:
        """Upgrade all stored documents of an older form; see `migrate`."""
        way = _Way(after, batch_size, dry_run, progress, on_error)
        return await _migrate(awaited(), cls, filter, way, options)


aio = Awaited()


class _Way(NamedTuple):
    """How a migration goes."""

    after: Any
    batch_size: int
    dry_run: bool
    progress: Progress | None
    on_error: Literal["continue", "raise"]

    def check(self, cls: Any, options: Mapping[str, Any]) -> None:
        place = "migrate"
        if not isinstance(cls, type) or not getattr(cls, "_is_frame", False):
            raise QueryError(f"{place}: expected a Frame class, got {cls!r}")
        if cls._schema_version is None:  # type: ignore[attr-defined]  # as every Frame class has
            raise DefinitionError(
                f"{place}: expected a class with a _schema_version, got {cls.__name__}; write "
                "_schema_version = 1 in its body"
            )
        size, progress = self.batch_size, self.progress
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise QueryError(f"{place}: expected batch_size of at least 1, got {size!r}")
        if progress is not None and (
            not callable(progress) or inspect.iscoroutinefunction(progress)
        ):
            raise QueryError(f"{place}: expected a plain function for progress, got {progress!r}")
        if self.on_error not in ("continue", "raise"):
            raise QueryError(
                f"{place}: expected on_error='continue' or 'raise', got {self.on_error!r}"
            )
        for name in options:
            if name not in ("session", "comment"):
                raise FieldError(
                    f"{place}: expected the options session and comment, got {name!r}"
                    f"{nearest(name, ('session', 'comment'))}"
                )


async def _migrate(
    port: Port, cls: Any, filter: Any, way: _Way, options: dict[str, Any]
) -> Migration:
    way.check(cls, options)
    if not way.dry_run:
        port.check_writable(cls, "migrate")
    options = {name: value for name, value in options.items() if value is not None}
    asked = compiled_filter(port, cls, filter)
    number = cls._schema_version
    conditions: list[Mapping[str, Any]] = [{SCHEMA_VERSION: {"$not": {"$gte": number}}}]
    if way.after is not None:
        conditions.append(behind(cls._to_id(way.after), 1, port.collection(cls).codec_options))
    if asked:
        conditions.append(asked)
    query = {"$and": conditions} if len(conditions) > 1 else conditions[0]
    done = _Done(port, cls, way)
    with on_primary(port, cls):
        total = 0 if way.progress is None else await port.count(cls, query, options)
        finding = {"sort": [("_id", 1)], "batch_size": way.batch_size, **options}
        batches = port.batches(port.cursor(cls, query, None, finding), way.batch_size)
        try:
            async for documents in batches:
                await done.take(documents, options)
                if way.progress is not None:
                    way.progress(done.seen, max(total, done.seen))
        except BaseException as error:
            add_note(error, f"{cls.__name__}: migrate came so far: {done.report(0)}")
            raise
        finally:
            await batches.aclose()
        newer = {SCHEMA_VERSION: {"$gt": number}}
        newer_query = {"$and": [asked, newer]} if asked else newer
        return done.report(await port.count(cls, newer_query, options))


class _Done:
    """What was done so far."""

    def __init__(self, port: Port, cls: Any, way: _Way) -> None:
        self.port = port
        self.cls = cls
        self.way = way
        self.seen = self.upgraded = self.unchanged = self.elsewhere = 0
        self.failed: list[Failure] = []
        self.examples: list[Example] = []
        self.last: Any = None

    async def take(self, documents: Documents, options: Mapping[str, Any]) -> None:
        """Upgrade a batch, or look at what an upgrade would do."""
        last = documents[-1]["_id"]
        count = len(documents)
        if self.way.dry_run:
            outcome = self._tried(documents)
        else:
            outcome = await upgrade_stored(self.port, self.cls, documents, options)
        self.seen += count
        self.upgraded += sum(change.is_content for change in outcome.changes)
        self.unchanged += sum(not change.is_content for change in outcome.changes)
        self.elsewhere += outcome.elsewhere
        self.last = last
        for id, reason in outcome.failed:
            if self.way.on_error == "raise":
                if isinstance(reason, BaseException):
                    raise reason
                raise SchemaVersionError(
                    f"{self.cls.__name__}: expected the document with _id={id!r} to be upgraded, "
                    f"got {reason}"
                )
            is_error = isinstance(reason, BaseException)
            text = f"{type(reason).__name__}: {reason}" if is_error else str(reason)
            self.failed.append(Failure(id, text))

    def _tried(self, documents: Documents) -> Upgraded:
        codecs = self.port.collection(self.cls).codec_options
        changes: list[Change] = []
        failed: list[tuple[Any, BaseException | str]] = []
        for document in documents:
            id = document["_id"]
            try:
                change = change_of(self.cls, document, codecs)
            except Exception as error:
                failed.append((id, error))
                continue
            changes.append(change)
            if change.is_content and len(self.examples) < _EXAMPLES:
                self.examples.append(_example(self.cls, change))
        return Upgraded(changes, failed, 0)

    def report(self, newer: int) -> Migration:
        """Return what was done."""
        return Migration(
            self.seen,
            self.upgraded,
            self.unchanged,
            self.elsewhere,
            tuple(self.failed),
            newer,
            self.last,
            tuple(self.examples),
            self.way.dry_run,
        )


def _example(cls: Any, change: Change) -> Example:
    before = change.before
    if cls._kinds is not None:
        cls = cls._kinds.class_of(cls, before)
    private = cls._private_fields
    after = dict.fromkeys(change.update.get("$unset", ()), _ABSENT)
    after |= change.update["$set"]
    after.pop(SCHEMA_VERSION, None)
    changes = {
        name: (
            _shown(name, before.get(name, _ABSENT), private),
            _shown(name, value, private),
        )
        for name, value in sorted(after.items())
    }
    return Example(before["_id"], version_of(cls, before), changes)


def _shown(name: str, value: Any, private: Any) -> str | None:
    if value is _ABSENT:
        return None
    if any(name == path or is_ancestor(name, path) for path in private):
        return _PRIVATE
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
