"""What a directive does when it is executed: a find where that can do it, else an aggregate."""

from __future__ import annotations

from functools import partial
from typing import Any

from pymongo.errors import PyMongoError

from ...encoding import ENCODING_ERRORS, clearer, settle_datetimes
from ...errors import FieldError, NotFound, QueryError, TransactionError, nearest
from ..asked_options import check_numbers
from ..chains import Chain
from ..collations import add_collation
from ..commands import Aggregate, aggregate_of, find_of
from ..document import wrap
from ..explaining import brief
from ..nodes import node_of
from ..pipelines import one_of
from ..plans import Child
from ..port import Documents, Port
from ..projections import plan_for
from ..references import build
from ..subframes import wrap_children
from .reading import Options, compiled_filter, count, exists, many, one

__all__ = [
    "aggregate_for",
    "explain",
    "find_options",
    "load_count",
    "load_exists",
    "load_many",
    "load_one",
]

#: The names of options for `find`, and those that the aggregate command has for them.
_NAMES = {"allow_disk_use": "allowDiskUse", "batch_size": "batchSize", "max_time_ms": "maxTimeMS"}
_SHARED = ("collation", "comment", "hint", "let", "session")
_VERBOSITIES = ("queryPlanner", "executionStats", "allPlansExecution")
_OF_CHAIN = ("filter", "limit", "projection", "skip", "sort")


async def load_many(port: Port, chain: Chain, into: Any, options: Options) -> list[Any]:
    """Return all that a chain gives: frames, rows, or sub-frames of the class `into`."""
    cls = chain._cls
    _check_into(chain, into, "load_many")
    found = find_of(chain)
    if found is not None:
        asked = {**find_options(chain, options), **found.options}
        return await many(port, cls, found.filter, found.projection, asked)
    command = aggregate_for(port, chain, options)
    limits = [step.content for step in chain._steps if step.name == "$limit"]
    with port.pause(min(limits) if limits else None):
        documents = await port.aggregate(cls, command.stages, command.options)
        return await _made(port, command, into, documents)


async def load_one(port: Port, chain: Chain, into: Any, required: bool, options: Options) -> Any:
    """Return the first that a chain gives, or None."""
    cls = chain._cls
    _check_into(chain, into, "load_one")
    found = find_of(chain)
    if found is not None:
        asked = {**find_options(chain, options), **found.options}
        return await one(port, cls, found.filter, found.projection, required, asked)
    command = aggregate_for(port, chain, options, first_only=True)
    documents = await port.aggregate(cls, command.stages, command.options)
    # None is left when it was deleted while it was fetched whole to be upgraded.
    for result in await _made(port, command, into, documents):
        return result
    if required:
        raise NotFound(f"{cls.__name__}: expected a result of {chain!r}, found none")
    return None


async def load_exists(port: Port, chain: Chain, options: Options) -> bool:
    """Tell whether a chain gives anything."""
    found = find_of(chain)
    if found is not None:
        skip = {"skip": found.options["skip"]} if "skip" in found.options else {}
        return await exists(
            port, chain._cls, found.filter, {**find_options(chain, options), **skip}
        )
    command = aggregate_for(port, chain, options, {"$limit": 1}, {"$project": {"_id": True}})
    return bool(await port.aggregate(chain._cls, command.stages, command.options))


async def load_count(port: Port, chain: Chain, options: Options) -> int:
    """Return how many results a chain gives."""
    found = find_of(chain)
    if found is not None:
        asked = _of_aggregate(chain, options)
        asked |= {k: v for k, v in found.options.items() if k != "sort"}
        return await count(port, chain._cls, found.filter, asked)
    command = aggregate_for(port, chain, options, {"$count": "n"})
    documents = await port.aggregate(chain._cls, command.stages, command.options)
    return int(documents[0]["n"]) if documents else 0


async def explain(port: Port, chain: Chain, verbosity: str, full: bool, options: Options) -> Any:
    """Return what the server says of the command of a chain, in one line or all of it."""
    cls = chain._cls
    one_of(verbosity, _VERBOSITIES, f"{cls.__name__}.explain verbosity")
    session = port.session(cls, options)
    if session is not None and session.in_transaction:
        raise TransactionError(
            f"{cls.__name__}.explain: expected it outside of a transaction, got it inside; servers "
            "explain nothing in transactions, and the refusal would end this one: explain before "
            "the block"
        )
    collection = port.collection(cls)
    command: dict[str, Any]
    sent: dict[str, Any]
    found = find_of(chain)
    asked = _of_aggregate(chain, options)
    if found is not None:
        query = compiled_filter(port, cls, found.filter)
        sent = {**asked, **found.options}
        add_collation(cls, query, sent)
        if cls._kinds is not None:
            query = cls._kinds.narrowed(cls, query)
        command = {"find": collection.name, "filter": query}
        driver = plan_for(cls, found.projection).driver
        if driver:
            command["projection"] = driver
        if "sort" in sent:
            sent["sort"] = dict(sent["sort"])
    else:
        prepared = aggregate_for(port, chain, options)
        sent = dict(prepared.options)
        stages = prepared.stages
        if cls._kinds is not None:
            stages = cls._kinds.narrowed_stages(cls, stages)
        command = {"aggregate": collection.name, "pipeline": stages, "cursor": {}}
    around = port.options(cls, {k: sent.pop(k) for k in ("session", "comment") if k in sent})
    command |= {k: _plain(v) for k, v in sent.items() if v is not None and k != "batchSize"}
    try:
        explained = await port.call(
            collection.database.command,
            "explain",
            command,
            verbosity=verbosity,
            codec_options=collection.codec_options,
            read_preference=collection.read_preference,
            **around,
        )
    except PyMongoError as error:
        port.failed(around, error)
        raise
    except ENCODING_ERRORS as error:
        raise clearer(cls.__name__, command, collection.codec_options, error) from error
    return explained if full else brief(cls.__name__, explained)


# Options


def _of_aggregate(chain: Chain, options: Options) -> Options:
    """Return options under the names that PyMongo's `aggregate` and `count_documents` take."""
    known = {*_SHARED, *_NAMES, *_NAMES.values()}
    for name in options:
        if name in _OF_CHAIN:
            raise QueryError(
                f"{chain._cls.__name__}: expected {name} as a step of the chain, got it as an "
                f"option; write .{'project' if name == 'projection' else name}(...)"
            )
        if name not in known:
            hint = nearest(name, known) or f"; known are {', '.join(sorted({*_SHARED, *_NAMES}))}"
            raise QueryError(f"{chain._cls.__name__}: expected an option, got {name!r}{hint}")
    options = dict(options)
    check_numbers(chain._cls.__name__, options)
    return {_NAMES.get(name, name): value for name, value in options.items()}


def find_options(chain: Chain, options: Options) -> Options:
    """Return options under the names that PyMongo's `find` takes."""
    back = {there: here for here, there in _NAMES.items()}
    return {back.get(name, name): value for name, value in _of_aggregate(chain, options).items()}


def _plain(value: Any) -> Any:
    """Return an option as a command takes it."""
    if hasattr(value, "document"):  # PyMongo's Collation
        return value.document
    return dict(value) if isinstance(value, list) else value


def aggregate_for(
    port: Port, chain: Chain, options: Options, *last: dict[str, Any], first_only: bool = False
) -> Aggregate:
    """Return the aggregate of a chain, with the options of a call."""
    cls = chain._cls
    compiled = partial(compiled_filter, port, cls)
    asked = _of_aggregate(chain, options)
    if isinstance(asked.get("hint"), list):
        asked["hint"] = dict(asked["hint"])  # PyMongo's aggregate sends it as it is
    command = aggregate_of(chain, compiled, asked, *last, first_only=first_only)
    naive = port.naive(cls)
    if naive != "utc":
        settle_datetimes({"stages": command.stages}, naive, f"{cls.__name__} pipeline")
    return command


# Results


async def _made(port: Port, command: Aggregate, into: Any, documents: Documents) -> list[Any]:
    if command.plan is not None:
        return await build(port, command.plan, documents, command.options)
    if into is None:
        return documents
    rows: list[Any] = wrap(into, documents)
    node = node_of(Child(into, False, None, True))
    if documents and not node.is_empty:
        wrap_children(node, documents, into.__name__)
    return rows


def _check_into(chain: Chain, into: Any, method: str) -> None:
    """Refuse a class that cannot hold what a chain gives, before anything is sent."""
    if into is None:
        return
    place = f"{chain._cls.__name__}.{method}"
    if not isinstance(into, type) or getattr(into, "_is_subframe", False) is not True:
        raise QueryError(f"{place}: expected a SubFrame class as into=, got {into!r}")
    if chain.is_whole():
        raise QueryError(
            f"{place}: expected rows to put into {into.__name__}, got documents of "
            f"{chain._cls.__name__}, which become its frames; group or reshape them first, or "
            f"use {chain._cls.__name__}.rows(...)"
        )
    others = ("$match", "$sort", "$skip", "$limit", "$sample")
    last = [step for step in chain._steps if step.name not in others][-1]
    definition = into._definition  # type: ignore[attr-defined]  # as every SubFrame class has
    if last.name == "group" and not definition.is_open:
        for name in last.content.names():
            first = name.partition(".")[0]
            if first not in definition.names:
                raise FieldError(
                    f"{place}: expected {into.__name__} to declare the fields of the groups, "
                    f"got none for {first!r}{nearest(first, definition.names)}"
                )
