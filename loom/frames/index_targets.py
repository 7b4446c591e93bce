"""One collection whose indexes are compared with what classes declare, and changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import bson
from pymongo import IndexModel
from pymongo.errors import OperationFailure, PyMongoError

from ..encoding import ENCODING_ERRORS, clearer, encode, settle_datetimes
from ..errors import DefinitionError, Duplicate, NotConnected, TransactionError
from .declared_indexes import check_paths, declared_indexes, indexes_from
from .events import add_note
from .index import Index
from .index_diffs import Changed, Declared, Diff, compared
from .normalising import normalise_filter
from .port import Port

__all__ = ["OF_DIFF", "OF_ENSURE", "Target", "key_of"]

#: Options of a comparison and of building.
OF_DIFF = ("comment", "session")
OF_ENSURE = (*OF_DIFF, "maxTimeMS", "commitQuorum")
#: Of these, what dropIndexes and collMod take as well.
_OF_DROP = (*OF_DIFF, "maxTimeMS")
_INDEX_NOT_FOUND = 27
_NAMESPACE_NOT_FOUND = 26
_INDEX_BUILD_ABORTED = 276
#: How often a build is begun anew that another process has ended.
_ATTEMPTS = 5


class Target:
    """One collection, and what classes declare for it."""

    def __init__(self, port: Port, cls: Any, collection: Any) -> None:
        self.port = port
        self.cls = cls
        self.collection = collection
        self.namespace = str(collection.full_name)
        self.classes: list[Any] = []
        self.declared: dict[str, Declared] = {}
        self.stored: dict[str, dict[str, Any]] = {}
        self.diff = Diff()

    def declare(self, cls: Any) -> None:
        """Add what a class declares.

        Raises:
            DefinitionError: a path leads to no field, or another class says otherwise.
        """
        self.classes.append(cls)
        for index in declared_indexes(cls):
            check_paths(cls, index)
            other = self.declared.get(index.name)
            if other is None:
                self.declared[index.name] = index, self._sent(index)
            elif other[0] != index:
                raise DefinitionError(
                    f"{cls.__name__}._indexes: expected one index named {index.name!r} in "
                    f"{self.namespace}, got {index!r}, but {self.cls.__name__} declares {other[0]!r}"
                )

    def _sent(self, index: Index) -> dict[str, Any]:
        """Return what is sent of an index, its values as BSON keeps them."""
        place = f"{self.cls.__name__}._indexes.{index.name}"
        codecs = self.collection.codec_options
        spec = index.to_dict()
        if "partialFilterExpression" in spec:
            partial = normalise_filter(self.cls, spec["partialFilterExpression"])
            spec["partialFilterExpression"] = partial
        try:
            settle_datetimes(spec, self.port.naive(self.cls), place)
            return bson.decode(encode(spec, codecs))
        except ENCODING_ERRORS as error:
            raise clearer(place, spec, codecs, error) from error

    async def look(self, options: Mapping[str, Any]) -> None:
        """Compare with what is stored now."""
        given = self.port.options(self.cls, _only(options, OF_DIFF))
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
        """Return what further classes of the collection declare, as far as they are imported.

        And what MongoDB 6.3 and newer builds for a time series by itself.
        """
        found = {
            index.name: index
            for cls in _all_classes(self.classes)
            if cls._collection == self.collection.name and self._is_of(cls)
            for index in indexes_from(cls, cls.__mro__)
        }
        for series in (cls._timeseries for cls in self.classes if cls._timeseries is not None):
            if "metaField" in series:
                built = Index(series["metaField"], series["timeField"])
                found.setdefault(built.name, built)
        return [
            (index, self._sent(index)) for name, index in found.items() if name not in self.declared
        ]

    def _is_of(self, cls: Any) -> bool:
        try:
            return key_of(self.port.collection(cls)) == key_of(self.collection)
        except NotConnected:
            return False

    # Changing

    async def create(self, specs: Iterable[Mapping[str, Any]], options: Mapping[str, Any]) -> None:
        """Build indexes with one command."""
        models = [_model(spec) for spec in specs]
        for attempt in range(_ATTEMPTS):
            try:
                await self.port.write(
                    self.cls, "create_indexes", [], models, **_only(options, OF_ENSURE)
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
        except OperationFailure as error:
            try:
                await self.create([self.stored[name]], options)
            except PyMongoError as second:
                add_note(error, f"{name} was dropped and could not be built again: {second!r}")
            else:
                add_note(error, f"{name} is as it was")
            raise
        except PyMongoError as error:
            # The server may still be building it, so that the old one must not come back.
            add_note(error, f"{name} was dropped, and may be missing; ensure it again")
            raise


def _model(spec: Mapping[str, Any]) -> IndexModel:
    options = {k: v for k, v in spec.items() if k not in ("key", "v", "ns", "background")}
    return IndexModel([*spec["key"].items()], **options)


def _only(options: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: options[name] for name in names if options.get(name) is not None}


def key_of(collection: Any) -> tuple[int, str]:
    """Return what tells collections apart, also those of different clients."""
    return id(collection.database.client), collection.full_name


def _all_classes(classes: Iterable[Any]) -> Iterable[Any]:
    """Return all Frame classes, wherever they were made; of one made again, the newest.

    Those given stand for what they replace, as in a notebook.
    """
    given = [*classes]
    found: dict[tuple[str, str], Any] = {}
    waiting = [parent for parent in given[0].__mro__ if getattr(parent, "_is_frame", False)][-1:]
    while waiting:
        cls = waiting.pop(0)
        found[cls.__module__, cls.__qualname__] = cls
        waiting += cls.__subclasses__()
    found |= {(cls.__module__, cls.__qualname__): cls for cls in given}
    return found.values()
