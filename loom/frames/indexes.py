"""Declared indexes: compare what classes declare with what the server has, and build it.

Nothing is built by itself: a class declares indexes in `_indexes`, `diff` shows what differs and
`ensure` makes it so. Both are awaited as `await indexes.aio.diff(...)`.

>>> from loom import Frame
>>> class Dragon(Frame):
...     _indexes = [Index("name", unique=True), Index("-created")]
...     name: str
...     created: str
>>> declared(Dragon)
(Index('name', unique=True), Index('-created'))
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import IndexConflict, QueryError, nearest
from .declared_indexes import declared_indexes
from .index import CASE_INSENSITIVE, Index, Key, Kind
from .index_diffs import Changed, Diff, Done, Found
from .index_specs import Difference
from .index_targets import OF_DIFF, OF_ENSURE, Target, key_of
from .port import Port, awaited, blocking, complete

if TYPE_CHECKING:
    from .frame import Frame

__all__ = [
    "CASE_INSENSITIVE",
    "Changed",
    "Diff",
    "Difference",
    "Done",
    "Found",
    "Index",
    "Key",
    "Kind",
    "aio",
    "declared",
    "diff",
    "ensure",
]


def declared(cls: type[Frame]) -> tuple[Index, ...]:
    """Return the indexes of a class: those of parents that share its collection, and its own.

    Raises:
        DefinitionError: two of them have one name, or are the same under two names.
    """
    return declared_indexes(cls)


def diff(*classes: type[Frame], **options: Any) -> Diff:
    """Return in what the indexes on the server differ from those that classes declare.

    One command per collection. A collection that is not there has no index, which is no error.
    An index that another process is still building counts as there.

    Args:
        classes: whose collections are looked at; an index that any imported class of the same
            collection declares is not extra.
        options: `session` and `comment`.

    Raises:
        DefinitionError: a path leads to no field, or two classes contradict each other.
        TransactionError: the call is made in a transaction, where no server lists indexes.
    """
    return complete(_diff(blocking(), classes, options))


def ensure(*classes: type[Frame], drop: bool = False, **options: Any) -> Done:
    """Build the indexes that classes declare and the server lacks, and return what was done.

    Several processes may do so at once. Building reads the whole collection; on a large one it
    takes its time, and the call waits for it.

    Args:
        classes: as for `diff`.
        drop: also make changed indexes anew and drop those that no class declares; `_id_` stays.
            An index whose `ttl` or `hidden` alone has changed is not built anew.
        options: `session`, `comment`, `maxTimeMS` and `commitQuorum`.

    Raises:
        IndexConflict: an index is there, but otherwise, and `drop` is false; nothing was done.
        Duplicate: an index cannot be unique, because documents have the same values.
        DefinitionError: as for `diff`.
        ReadOnly: writing is switched off.
        TransactionError: as for `diff`.
    """
    return complete(_ensure(blocking(), classes, drop, options))


class Awaited:
    """The same functions, awaited: `await indexes.aio.ensure(Dragon)`."""

    async def diff(self, *classes: type[Frame], **options: Any) -> Diff:
        """Return in what the indexes on the server differ from those declared; see `diff`."""
        return await _diff(awaited(), classes, options)

    async def ensure(self, *classes: type[Frame], drop: bool = False, **options: Any) -> Done:
        """Build the indexes that the server lacks; see `ensure`."""
        return await _ensure(awaited(), classes, drop, options)


aio = Awaited()


def _can_be_set(changed: Changed) -> bool:
    """Tell a change that needs no building: between lengths of time, or of what is hidden."""
    return all(
        difference.option == "hidden"
        or (difference.option == "ttl" and None not in (difference.stored, difference.declared))
        for difference in changed.differences
    )


async def _targets(
    port: Port, operation: str, classes: tuple[Any, ...], options: Mapping[str, Any], known: Any
) -> list[Target]:
    """Return the collections of classes, compared."""
    place = f"indexes.{operation}"
    if not classes or not all(map(_is_frame_class, classes)):
        raise QueryError(f"{place}: expected Frame classes, got {classes!r}; write {place}(Dragon)")
    for name in options:
        if name not in known:
            raise QueryError(
                f"{place}: expected the options {', '.join(known)}, got {name!r}"
                f"{nearest(name, known)}"
            )
    targets: dict[tuple[int, str], Target] = {}
    for cls in classes:
        collection = port.collection(cls)
        target = targets.setdefault(key_of(collection), Target(port, cls, collection))
        target.declare(cls)
    ordered = port.session(classes[0], options) is not None
    await port.all([target.look(options) for target in targets.values()], ordered=ordered)
    return [*targets.values()]


def _is_frame_class(cls: Any) -> bool:
    return isinstance(cls, type) and getattr(cls, "_is_frame", False) is True


def _together(targets: Iterable[Target]) -> Diff:
    diffs = [target.diff for target in targets]
    return Diff(
        tuple(found for diff in diffs for found in diff.missing),
        tuple(found for diff in diffs for found in diff.changed),
        tuple(found for diff in diffs for found in diff.extra),
    )


async def _diff(port: Port, classes: tuple[Any, ...], options: Mapping[str, Any]) -> Diff:
    return _together(await _targets(port, "diff", classes, options, OF_DIFF))


async def _ensure(
    port: Port, classes: tuple[Any, ...], drop: bool, options: Mapping[str, Any]
) -> Done:
    targets = await _targets(port, "ensure", classes, options, OF_ENSURE)
    together = _together(targets)
    if together.changed and not drop:
        shown = "; ".join(map(str, together.changed))
        raise IndexConflict(
            f"indexes.ensure: expected indexes as declared or none, got {shown}; pass drop=True to "
            "make them anew, or declare them as they are",
            together,
        )
    done = Done()
    for target in targets:
        found = target.diff
        # First what is missing: if it cannot be built, all that is there stays.
        if found.missing:
            specs = [target.declared[each.index.name][1] for each in found.missing]
            await target.create(specs, options)
            done = done._replace(created=done.created + found.missing)
        for changed in found.changed:
            if _can_be_set(changed):
                await target.modify(changed, options)
                done = done._replace(modified=(*done.modified, changed))
            else:
                await target.rebuild(changed, options)
                done = done._replace(rebuilt=(*done.rebuilt, changed))
        if drop:
            for each in found.extra:
                await target.drop(each.index.name, options)
            done = done._replace(dropped=done.dropped + found.extra)
    return done
