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

import bson
from pymongo import IndexModel
from pymongo.errors import OperationFailure

from ..encoding import ENCODING_ERRORS, encode, settle_datetimes, unencodable
from ..errors import (
    DefinitionError,
    Duplicate,
    IndexConflict,
    QueryError,
    TransactionError,
    nearest,
)
from .declared_indexes import check_paths, declared_indexes
from .events import add_note
from .index import CASE_INSENSITIVE, Index, Key, Kind
from .index_diffs import Changed, Declared, Diff, Done, Found, compared
from .index_specs import Difference
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

_OF_DIFF = ("comment", "session")
_OF_ENSURE = (*_OF_DIFF, "maxTimeMS", "commitQuorum")
#: Of these, what dropIndexes and collMod take as well.
_OF_DROP = (*_OF_DIFF, "maxTimeMS")
_INDEX_NOT_FOUND = 27
_NAMESPACE_NOT_FOUND = 26
_INDEX_BUILD_ABORTED = 276
#: How often a build is begun anew that another process has ended.
_ATTEMPTS = 5


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


class _Target:
    """One collection, and what classes declare for it."""

    def __init__(self, port: Port, cls: Any, collection: Any) -> None:
        self.port = port
        self.cls = cls
        self.collection = collection
        self.namespace = str(collection.full_name)
        self.declared: dict[str, Declared] = {}
        self.stored: dict[str, dict[str, Any]] = {}
        self.diff = Diff()

    def declare(self, cls: Any, *, checked: bool = True) -> None:
        for index in declared_indexes(cls):
            if checked:
                check_paths(cls, index)
            other = self.declared.get(index.name)
            if other is None:
                self.declared[index.name] = index, self._sent(index)
            elif other[0] != index and checked:
                raise DefinitionError(
                    f"{cls.__name__}._indexes: expected one index named {index.name!r} in "
                    f"{self.namespace}, got {index!r}, but {self.cls.__name__} declares {other[0]!r}"
                )

    def _sent(self, index: Index) -> dict[str, Any]:
        """Return what is sent of an index, its values as BSON keeps them."""
        place = f"{self.cls.__name__}._indexes.{index.name}"
        codecs = self.collection.codec_options
        spec = index.to_dict()
        try:
            settle_datetimes(spec, self.port.naive(self.cls), place)
            return bson.decode(encode(spec, codecs))
        except ENCODING_ERRORS as error:
            raise unencodable(place, spec, codecs, error) from error

    async def look(self, options: Mapping[str, Any]) -> None:
        """Compare with what is stored now."""
        given = self.port.options(self.cls, _only(options, _OF_DIFF))
        session = given.get("session")
        if session is not None and session.in_transaction:
            raise TransactionError(
                f"{self.cls.__name__}: expected indexes to be looked at outside of a transaction, "
                "got a call in one, where servers do not list them; call it before"
            )
        cursor = await self.port.call(self.collection.list_indexes, **given)
        specs = await self.port.call(cursor.to_list)
        self.stored = {spec["name"]: dict(spec) for spec in specs}
        self.diff = compared(self.namespace, [*self.declared.values()], specs, self._elsewhere())

    def _elsewhere(self) -> list[Declared]:
        """Return what further classes of the collection declare, as far as they are imported."""
        others = _Target(self.port, self.cls, self.collection)
        for cls in _all_classes(self.cls):
            if cls._collection == self.collection.name and self._is_of(cls):
                others.declare(cls, checked=False)
        return [d for name, d in others.declared.items() if name not in self.declared]

    def _is_of(self, cls: Any) -> bool:
        return cls._indexes and _key(self.port.collection(cls)) == _key(self.collection)

    # Changing

    async def create(self, specs: Iterable[Mapping[str, Any]], options: Mapping[str, Any]) -> None:
        """Build indexes with one command."""
        models = [_model(spec) for spec in specs]
        for attempt in range(_ATTEMPTS):
            try:
                await self.port.write(
                    self.cls, "create_indexes", [], models, **_only(options, _OF_ENSURE)
                )
                return
            except Duplicate as error:
                raise Duplicate(
                    f"{self.cls.__name__}._indexes",
                    str(error.__cause__),
                    error.code,
                    error.details,
                    advice="several documents hold it; change them, then ensure the index again",
                ) from error
            except OperationFailure as error:
                # Another process has dropped it meanwhile, in order to build the same.
                if error.code != _INDEX_BUILD_ABORTED or attempt == _ATTEMPTS - 1:
                    raise

    async def drop(self, name: str, options: Mapping[str, Any]) -> None:
        """Drop an index; one that is gone is as good."""
        try:
            await self.port.write(self.cls, "drop_index", [], name, **_only(options, _OF_DROP))
        except OperationFailure as error:
            if error.code not in (_INDEX_NOT_FOUND, _NAMESPACE_NOT_FOUND):
                raise

    async def modify(self, changed: Changed, options: Mapping[str, Any]) -> None:
        """Set what can be set without building the index anew."""
        self.port.check_writable(self.cls, "ensure")
        given = self.port.options(self.cls, _only(options, _OF_DROP))
        spec = self.declared[changed.index.name][1]
        names = {difference.option for difference in changed.differences}
        index: dict[str, Any] = {"name": changed.stored.name}
        if "ttl" in names:
            index["expireAfterSeconds"] = spec["expireAfterSeconds"]
        if "hidden" in names:
            index["hidden"] = spec.get("hidden", False)
        command = self.collection.database.command
        await self.port.call(command, "collMod", self.collection.name, index=index, **given)

    async def rebuild(self, changed: Changed, options: Mapping[str, Any]) -> None:
        """Drop an index and build it as declared; if that fails, have the old one back."""
        name = changed.stored.name
        await self.drop(name, options)
        try:
            await self.create([self.declared[changed.index.name][1]], options)
        except Exception as error:
            try:
                await self.create([self.stored[name]], options)
            except Exception as second:
                add_note(error, f"{name} was dropped and could not be built again: {second!r}")
            else:
                add_note(error, f"{name} is as it was")
            raise


def _model(spec: Mapping[str, Any]) -> IndexModel:
    options = {k: v for k, v in spec.items() if k not in ("key", "v", "ns", "background")}
    return IndexModel([*spec["key"].items()], **options)


def _only(options: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: options[name] for name in names if options.get(name) is not None}


def _key(collection: Any) -> tuple[int, str]:
    return id(collection.database.client), collection.full_name


def _all_classes(cls: Any) -> Iterable[Any]:
    """Return all Frame classes, wherever they were made."""
    found: dict[Any, None] = {}
    waiting = [parent for parent in cls.__mro__ if getattr(parent, "_is_frame", False)][-1:]
    while waiting:
        known = waiting.pop()
        if known not in found:
            found[known] = None
            waiting += known.__subclasses__()
    return found


def _can_be_set(changed: Changed) -> bool:
    """Tell a change that needs no building: between lengths of time, or of what is hidden."""
    return all(
        difference.option == "hidden"
        or (difference.option == "ttl" and None not in (difference.stored, difference.declared))
        for difference in changed.differences
    )


async def _targets(
    port: Port, operation: str, classes: tuple[Any, ...], options: Mapping[str, Any], known: Any
) -> list[_Target]:
    """Return the collections of classes, compared."""
    place = f"indexes.{operation}"
    if not classes or not all(getattr(cls, "_is_frame", False) is True for cls in classes):
        raise QueryError(f"{place}: expected Frame classes, got {classes!r}; write {place}(Dragon)")
    for name in options:
        if name not in known:
            raise QueryError(
                f"{place}: expected the options {', '.join(known)}, got {name!r}"
                f"{nearest(name, known)}"
            )
    targets: dict[tuple[int, str], _Target] = {}
    for cls in classes:
        collection = port.collection(cls)
        target = targets.setdefault(_key(collection), _Target(port, cls, collection))
        target.declare(cls)
    ordered = port.session(classes[0], options) is not None
    await port.all([target.look(options) for target in targets.values()], ordered=ordered)
    return [*targets.values()]


def _together(targets: Iterable[_Target]) -> Diff:
    diffs = [target.diff for target in targets]
    return Diff(
        tuple(found for diff in diffs for found in diff.missing),
        tuple(found for diff in diffs for found in diff.changed),
        tuple(found for diff in diffs for found in diff.extra),
    )


async def _diff(port: Port, classes: tuple[Any, ...], options: Mapping[str, Any]) -> Diff:
    return _together(await _targets(port, "diff", classes, options, _OF_DIFF))


async def _ensure(
    port: Port, classes: tuple[Any, ...], drop: bool, options: Mapping[str, Any]
) -> Done:
    targets = await _targets(port, "ensure", classes, options, _OF_ENSURE)
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
