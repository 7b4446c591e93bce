"""The change log: who changed what, and when.

`track(Dragon, by=...)` listens to the writes of a class and its children, and keeps an entry for
every document in a `ChangeLog`, in the same transaction when there is one.

It costs one read per batch of updates or deletes, to know what was stored before, and one insert
of the entries. Between that read and the write others can write too: only in a transaction is the
old value of an entry certainly the one that was replaced.
"""

from __future__ import annotations

import html
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, ClassVar

from ..errors import DefinitionError, FieldError, nearest
from .chunks import found_by_id
from .document import SubFrame
from .events import listen, refuse_fed, running, stop_listening
from .frame import Frame
from .ids import id_key
from .index import Index
from .jsonable import redacted
from .ledger import LedgerFrame
from .paths import MISSING, lookup, split
from .primaries import on_primary
from .values import to_refs

__all__ = ["REDACTED", "Change", "ChangeLog", "History", "of", "track"]

#: Stands for a secret value in an entry.
REDACTED = "(redacted)"


class Change(SubFrame):
    """What became of one path.

    `old` is absent for what was added, `new` for what was removed. `operator` is there when the
    new value is not known, with what it was given in `new`.
    """

    path: str
    old: Any
    new: Any
    operator: str

    def __str__(self) -> str:
        if "operator" in self:
            return f"{self.path}: {_shown(self.get('old'))} {self.operator} {_shown(self.new)}"
        if "old" not in self:
            return f"+ {self.path}: {_shown(self.new)}"
        if "new" not in self:
            return f"- {self.path}: {_shown(self.old)}"
        return f"{self.path}: {_shown(self.old)} -> {_shown(self.new)}"


class ChangeLog(LedgerFrame):
    """One write of one document; entries are never changed.

    Attributes:
        recorded: when it was written, aware UTC, by this machine's clock.
        by: who, as `track` was told.
        event: `inserted`, `updated` or `deleted`.
        frame_class: name of the class.
        document: the `_id` of the document.
        changes: the paths that differ.

    >>> entry = ChangeLog(by="Ann", event="updated", frame_class="Dragon", document=7, changes=[
    ...     Change(path="name", old="Burt", new="Puff"), Change(path="age", new=3)])
    >>> print(entry)
    ? Ann updated Dragon 7
      name: 'Burt' -> 'Puff'
      + age: 3
    """

    _collection = "change_log"
    _indexes: ClassVar[Any] = [Index("frame_class", "document", "-recorded")]

    by: Any
    event: str
    frame_class: str
    document: Any
    changes: list[Change]

    @property
    def additions(self) -> dict[str, Any]:
        """The values that were added, by path."""
        return {c.path: c.new for c in self.changes if "old" not in c and "operator" not in c}

    @property
    def updates(self) -> dict[str, tuple[Any, Any]]:
        """The old and the new value of what was changed, by path."""
        return {c.path: (c.old, c.new) for c in self.changes if "old" in c and "new" in c}

    @property
    def deletions(self) -> dict[str, Any]:
        """The values that were removed, by path."""
        return {c.path: c.old for c in self.changes if "new" not in c}

    def __str__(self) -> str:
        when = "?" if self.recorded is None else self.recorded.isoformat(" ", "seconds")
        who = "somebody" if self.by is None else self.by
        head = f"{when} {who} {self.event} {self.frame_class} {self.document}"
        return "\n  ".join([head, *map(str, self.changes or ())])

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        head, _, _ = str(self).partition("\n")
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(change.path)}</th>"
            f"<td style='text-align:left'><del>{_cell(change, 'old')}</del></td>"
            f"<td style='text-align:left'><ins>{_cell(change, 'new')}</ins></td></tr>"
            for change in self.changes or ()
        )
        return f"<table><caption>{html.escape(head)}</caption>{rows}</table>"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _cell(change: Change, name: str) -> str:
    return html.escape(_shown(change[name])) if name in change else ""


def of(frame: Frame) -> dict[str, Any]:
    """Return the filter that finds the entries of a frame: `ChangeLog.many(of(burt))`.

    >>> from loom import Frame
    >>> class Dragon(Frame):
    ...     name: str
    >>> of(Dragon(_id=7))
    {'frame_class': 'Dragon', 'document': {'$eq': 7}}
    """
    return {"frame_class": type(frame).__name__, "document": {"$eq": to_refs(frame)}}


def track(
    cls: type[Frame],
    *,
    by: Any = None,
    log: type[ChangeLog] = ChangeLog,
    redact: Iterable[str] = (),
    ignore: Iterable[str] = (),
) -> History:
    """Keep an entry of every insert, update and delete of a class and its children.

    Single writes, batches, bulk writes and writes by filter are logged; what other programs
    write, and what goes past Loom's events, is not.

    Args:
        cls: the class.
        by: who writes: a value, or a function without arguments that is asked with every write
            (of a context variable, say); it may be `async`, as a listener may.
        log: where entries go; a child of ChangeLog has a collection, and more fields, of its own.
        redact: paths whose values are secret, besides the private fields of the class: an entry
            says that they changed, not what they were.
        ignore: fields whose change makes no entry, such as time stamps. The version of a class
            is always ignored.

    Returns:
        What is tracked; its `stop()` ends it.

    Raises:
        DefinitionError: the class is a log itself, or `log` is none.
        FieldError: a path does not begin with a field of the class.

    >>> from loom import Frame
    >>> class Dragon(Frame):
    ...     name: str
    >>> history = track(Dragon, by="Ann")
    >>> history.stop()
    """
    if not isinstance(cls, type) or not issubclass(cls, Frame) or issubclass(cls, ChangeLog):
        raise DefinitionError(
            f"track: expected a Frame class whose changes are logged, got {cls!r}"
            + ("; a log is not logged" if isinstance(cls, type) else "; give the class itself")
        )
    if not isinstance(log, type) or not issubclass(log, ChangeLog):
        raise DefinitionError(f"track: expected log to be ChangeLog or a child of it, got {log!r}")
    for name, paths in (("redact", redact), ("ignore", ignore)):
        if isinstance(paths, str):
            raise FieldError(f"track: expected {name} as a list of paths, got {paths!r}")
    redact, ignore = [*redact], [*ignore]
    definition = cls._definition
    for path in (*redact, *ignore):
        root = split(path)[0]
        if root not in definition.names and not definition.is_open:
            raise FieldError(
                f"track: expected paths of {cls.__name__}, got {path!r}"
                f"{nearest(root, definition.names)}"
            )
    return History(cls, by, log, frozenset(redact), frozenset(ignore))


#: What was stored before the writes that are going on, by log, class and `_id`.
_before: ContextVar[dict[Any, Any] | None] = ContextVar("loom.history", default=None)
#: How many documents of writes that failed are kept at most.
_LEFT_OVER = 1_000


class History:
    """What `track` made: listeners that write to a log.

    Attributes:
        cls: the class whose changes are logged.
        log: the class of the entries.
    """

    def __init__(
        self,
        cls: type[Frame],
        by: Any,
        log: type[ChangeLog],
        secrets: frozenset[str],
        ignored: frozenset[str],
    ) -> None:
        self.cls = cls
        self.log = log
        self._by = by
        self._secrets = secrets
        self._ignored = ignored
        self._listeners: list[tuple[str, Callable[..., Any]]] = [
            ("update", self._look),
            ("delete", self._look),
            ("inserted", self._inserted),
            ("updated", self._updated),
            ("deleted", self._deleted),
        ]
        for event, listener in self._listeners:
            listen(event, listener, cls)

    def __repr__(self) -> str:
        return f"History({self.cls.__name__} -> {self.log.__name__})"

    def stop(self) -> None:
        """Log no more."""
        for event, listener in self._listeners:
            stop_listening(event, listener, self.cls)

    # Listeners

    async def _look(self, sender: Any, frames: list[Any]) -> None:
        """Read what is stored before an update or delete."""
        current = running()
        assert current is not None  # it is called by an event
        port = current.port
        ids = [f._document["_id"] for f in frames if f._document.get("_id") is not None]
        options = {} if current.session is None else {"session": current.session}
        with on_primary(port, sender):
            found = await found_by_id(port, sender, to_refs(ids), None, options)
        before = dict(_before.get() or {})
        before |= {self._key(sender, document): document for document in found}
        for key in [*before][: max(0, len(before) - len(ids) - _LEFT_OVER)]:
            del before[key]  # of writes that failed
        _before.set(before)

    def _key(self, sender: Any, document: Mapping[str, Any]) -> Any:
        return id(self), sender._collection, id_key(to_refs(document["_id"]))

    def _taken(self, sender: Any, frame: Any) -> Any:
        """Return what was stored of a frame before, None when that is not known."""
        before = _before.get() or {}
        return before.pop(self._key(sender, frame._document), None)

    async def _inserted(self, sender: Any, frames: list[Any], session: Any) -> None:
        refuse_fed(self)
        entries = []
        for frame in frames:
            document = self._visible(sender, to_refs(frame._document))
            added = [Change(path=p, new=v) for p, v in document.items() if p != "_id"]
            entries.append((frame, added))
        await self._write(sender, "inserted", entries, session)

    async def _updated(self, sender: Any, frames: list[Any], changes: Any, session: Any) -> None:
        refuse_fed(self)
        entries = []
        for frame, change in zip(frames, changes, strict=False):
            made = [*self._differences(sender, frame, change)]
            if made:
                entries.append((frame, made))
        await self._write(sender, "updated", entries, session)

    async def _deleted(self, sender: Any, frames: list[Any], session: Any) -> None:
        refuse_fed(self)
        entries = []
        for frame in frames:
            old = self._taken(sender, frame)
            if old is not None:  # it was there
                visible = self._visible(sender, old)
                removed = [Change(path=p, old=v) for p, v in visible.items() if p != "_id"]
                entries.append((frame, removed))
        await self._write(sender, "deleted", entries, session)

    # Entries

    def _hidden(self, sender: Any) -> frozenset[str]:
        return self._secrets | frozenset(sender._private_fields)

    def _visible(self, sender: Any, document: Mapping[str, Any]) -> dict[str, Any]:
        shown = redacted(document, self._hidden(sender), REDACTED)
        return {name: value for name, value in shown.items() if not self._is_ignored(sender, name)}

    def _is_ignored(self, sender: Any, path: str) -> bool:
        root = path.partition(".")[0]
        return path in self._ignored or root in self._ignored or root == sender._version

    def _differences(self, sender: Any, frame: Any, change: Any) -> Iterator[Change]:
        """Yield what an update changed, by what was stored before and what it was given."""
        old = self._taken(sender, frame)
        counters = sender._definition.counters
        # Of a pipeline nothing more is known than what comes back.
        pairs: list[tuple[str, str, Any]] = (
            [(operator, path, value) for operator, p in change.items() for path, value in p.items()]
            if isinstance(change, Mapping)
            else [("pipeline", name, None) for name in frame._document if name != "_id"]
        )
        seen = set()
        for operator, written, given in pairs:
            paths = [written, given] if operator == "$rename" else [written]
            for path in map(_before_lists, paths):
                if path in seen or self._is_ignored(sender, path):
                    continue
                seen.add(path)
                before = MISSING if old is None else lookup(old, path)
                after = to_refs(lookup(frame._document, path))
                if operator == "$set" and path == written:
                    after = to_refs(given)
                elif operator == "$unset":
                    after = MISSING
                elif operator == "$inc" and path in counters and isinstance(before, (int, float)):
                    after = before + given
                if after is MISSING and operator not in ("$unset", "$rename", "pipeline"):
                    yield self._change(sender, path, before, to_refs(given), operator)
                elif not _are_same(before, after):
                    yield self._change(sender, path, before, after)

    def _change(
        self, sender: Any, path: str, old: Any, new: Any, operator: str | None = None
    ) -> Change:
        made: dict[str, Any] = {"path": path}
        for name, value in (("old", old), ("new", new)):
            if value is not MISSING:
                made[name] = self._shown(sender, path, value)
        if operator is not None:
            made["operator"] = operator.lstrip("$")
        return Change(made)

    def _shown(self, sender: Any, path: str, value: Any) -> Any:
        """Return a value without what is secret in it."""
        names = path.split(".")
        nested: Any = value
        for name in reversed(names):
            nested = {name: nested}
        shown = lookup(redacted(nested, self._hidden(sender), REDACTED), path)
        return REDACTED if shown is MISSING else shown

    async def _write(
        self, sender: Any, event: str, entries: list[tuple[Any, list[Change]]], session: Any
    ) -> None:
        if not entries:
            return
        who = self._by() if callable(self._by) else self._by
        if inspect.isawaitable(who):
            who = await who
        made = [
            self.log(
                by=who,
                event=event,
                frame_class=sender.__name__,
                document=frame._document["_id"],
                changes=changes,
            )
            for frame, changes in entries
        ]
        options = {} if session is None else {"session": session}
        await self.log.aio.insert_many(made, **options)


def _before_lists(path: str) -> str:
    """Return a path up to the first place in a list that an operator chooses."""
    names = path.split(".")
    for position, name in enumerate(names):
        if position and name[:1] == "$":
            return ".".join(names[:position])
    return path


def _are_same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)
