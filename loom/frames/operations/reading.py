"""Reading: one, many, by_ids and the like."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bson import ObjectId

from ...encoding import PLAIN, settle_datetimes
from ...errors import FieldError, Gone, NotFound, QueryError
from ..asked_options import check_count, check_find
from ..chunks import documents_by_id, found_by_id
from ..collations import add_collation
from ..document import wrap_one
from ..ids import id_key, id_keys, id_or_error
from ..marked import marked
from ..missing import Missing
from ..normalising import normalise_filter
from ..plans import Plan
from ..port import Port
from ..primaries import on_primary
from ..projections import Projection, plan_for
from ..queries import to_filter, to_sort
from ..references import build

Options = dict[str, Any]


def compiled_filter(
    port: Port, cls: Any, filter: Any, knows: Callable[[str], bool] | None = None
) -> dict[str, Any]:
    """Return a filter as the driver takes it; `knows` tells which fields are the class's own."""
    compiled = normalise_filter(cls, to_filter(filter), knows)
    naive = port.naive(cls)
    if naive != "utc":
        settle_datetimes(compiled, naive, f"{cls.__name__} filter")
    return compiled


def shared_options(options: Options) -> Options:
    """Return the options that the further queries of one call share with it."""
    return {k: v for k, v in options.items() if k in ("session", "comment") and v is not None}


#: Options of `update_one` that `insert_one` does not take.
_ONLY_UPDATE = frozenset({"array_filters", "collation", "hint", "let", "sort"})


def without_update_options(options: Options) -> Options:
    """Return the options that an insert takes as well."""
    return {k: v for k, v in options.items() if k not in _ONLY_UPDATE}


def id_filter(id: Any) -> dict[str, Any]:
    """Return the filter for one `_id`, which no value of it can turn into an operator."""
    if isinstance(id, (ObjectId, str, int)):
        return {"_id": id}
    # As what refers to it: the encoder then takes datetimes without zone as they are meant.
    return {"_id": {"$eq": id if type(id) in PLAIN else Missing(None, id)}}


def _find_options(cls: Any, options: Options) -> Options:
    if options:
        check_find(cls.__name__, options)
    if "sort" in options:
        options["sort"] = to_sort(options["sort"])
    return options


def query_options(cls: Any, query: dict[str, Any], options: Options) -> Options:
    """Return the options of a query by filter, with the collation that it carries by itself."""
    options = _find_options(cls, options)
    add_collation(cls, query, options)
    return options


async def one(
    port: Port, cls: Any, filter: Any, projection: Projection, required: bool, options: Options
) -> Any:
    """Return the first frame that matches, or None."""
    query = compiled_filter(port, cls, filter)
    options = query_options(cls, query, options)
    return await _one(port, cls, query, projection, required, options)


async def _one(
    port: Port,
    cls: Any,
    query: dict[str, Any],
    projection: Projection,
    required: bool,
    options: Options,
) -> Any:
    plan = plan_for(cls, projection)
    document = await port.find_one(cls, query, plan.driver, options)
    if document is not None:
        if plan.is_plain:
            return wrap_one(cls, document)
        # None when it was deleted while it was fetched whole to be upgraded.
        for frame in await build(port, plan, [document], options):
            return frame
    if required:
        raise NotFound(f"{cls.__name__}: expected a document that matches {query!r}, found none")
    return None


async def many(
    port: Port, cls: Any, filter: Any, projection: Projection, options: Options
) -> list[Any]:
    """Return all frames that match."""
    query = compiled_filter(port, cls, filter)
    plan = plan_for(cls, projection)
    options = query_options(cls, query, options)
    with port.pause(options.get("limit")):
        documents = await port.find(cls, query, plan.driver, options)
        return await build(port, plan, documents, options)


async def by_id(
    port: Port, cls: Any, id: Any, projection: Projection, required: bool, options: Options
) -> Any:
    """Return the frame with an `_id`, or None."""
    if type(id) is ObjectId:
        options = _find_options(cls, options)
        return await _one(port, cls, {"_id": id}, projection, required, options)
    return await one(port, cls, id_filter(cls._to_id(id)), projection, required, options)


async def by_ids(
    port: Port, cls: Any, ids: Iterable[Any], projection: Projection, options: Options
) -> list[Any]:
    """Return the frames with these ids, in their order, without the missing ones."""
    listed_ids = [cls._to_id(id) for id in listed(cls, ids, "by_ids")]
    wanted_ids = compiled_filter(port, cls, {"_id": {"$in": listed_ids}})["_id"]["$in"]
    plan = plan_for(cls, projection)
    if plan.driver is not None and plan.driver.get("_id") is False:
        raise FieldError(f"{cls.__name__}.by_ids: expected a projection with _id, got it excluded")
    options = _find_options(cls, options)
    for name in ("limit", "skip", "sort"):
        if options.get(name):
            raise QueryError(
                f"{cls.__name__}.by_ids: expected ids that say which frames, and in which order, "
                f"got {name}={options[name]!r}, too; leave it out, or use many(Q._id.is_in(ids))"
            )
    codecs = port.collection(cls).codec_options
    keys = id_keys(wanted_ids, codecs)
    distinct = list(dict(zip(keys, wanted_ids, strict=True)).values())
    frames = await frames_by_id(port, plan, distinct, options)
    found_keys = id_keys([frame._document["_id"] for frame in frames], codecs)
    index = dict(zip(found_keys, frames, strict=True))
    return [index[key] for key in keys if key in index]


async def frames_by_id(port: Port, plan: Plan, ids: list[Any], options: Options) -> list[Any]:
    """Return the frames that have one of some ids as they are stored, in no order."""
    documents = await found_by_id(port, plan.frame_class, ids, plan.driver, options)
    return await build(port, plan, documents, options)


def listed(cls: Any, values: Any, operation: str) -> list[Any]:
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise FieldError(
            f"{cls.__name__}.{operation}: expected a list, got {values!r} of type "
            f"{type(values).__name__}"
        )
    return list(values)


async def count(port: Port, cls: Any, filter: Any, options: Options) -> int:
    """Return how many documents match; without a filter the server's own estimate.

    A transaction has no estimate: there they are counted.
    """
    check_count(cls.__name__, options)
    if options.get("limit") == 0:
        del options["limit"]  # no limit, as for a find
    query = compiled_filter(port, cls, filter)
    if not query and options.keys() <= {"comment"} and port.session(cls, options) is None:
        return await port.estimate(cls, options)
    add_collation(cls, query, options)
    return await port.count(cls, query, options)


async def ids(port: Port, cls: Any, filter: Any, options: Options) -> list[Any]:
    """Return the ids of the documents that match."""
    query = compiled_filter(port, cls, filter)
    documents = await port.find(cls, query, {"_id": True}, query_options(cls, query, options))
    return [document["_id"] for document in documents]


async def exists(port: Port, cls: Any, filter: Any, options: Options) -> bool:
    """Tell whether a document matches."""
    query = compiled_filter(port, cls, filter)
    options = query_options(cls, query, options)
    return await port.find_one(cls, query, {"_id": True}, options) is not None


async def reload(port: Port, frame: Any, projection: Projection, options: Options) -> None:
    """Replace what a frame holds by what is stored now."""
    cls = type(frame)
    id = id_or_error(frame, "reload")
    # The `_id` as it is: whoever looks for another one has another document.
    fresh = await _one(port, cls, id_filter(id), projection, False, _find_options(cls, options))
    if fresh is None:
        raise gone(cls, id, "reload")
    fresh._document.setdefault("_id", id)  # a projection may leave it out, a frame may not
    frame._document = fresh._document
    if hasattr(frame, "_state"):
        del frame._state
    if hasattr(fresh, "_state"):
        frame._state = fresh._state


def id_in_case(cls: Any, id: Any) -> Any:
    """Return an `_id` in the case in which `insert` stores it; the same object if it has it."""
    if "_id" not in marked(cls).texts:
        return id
    cased = normalise_filter(cls, {"_id": id})["_id"]
    return id if cased == id else cased


def gone(cls: Any, id: Any, operation: str) -> Gone:
    return Gone(
        f"{cls.__name__}.{operation}: expected the document with _id={id!r}, found none; "
        + (said_of_case(cls, id) or "it was deleted or never stored")
    )


def said_of_case(cls: Any, id: Any) -> str:
    """Return what to do with a frame whose `_id` is not in its case, nothing where it is."""
    cased = id_in_case(cls, id)
    if cased is id:
        return ""
    return f"it is stored with _id={cased!r}, if at all: load the frame, or make it with that"


async def check_case(
    port: Port, cls: Any, frames: list[Any], operation: str, options: Options
) -> None:
    """Refuse to take for deleted what is stored, under an `_id` in its case.

    Raises:
        Gone: a frame's `_id` is not in its case, and its document is stored in that.
    """
    if not any("_id" in marked(kind).texts for kind in {*map(type, frames)}):
        return
    cased = {}
    for frame in frames:
        id = frame._document["_id"]
        other = id_in_case(type(frame), id)
        if other is not id:
            cased[id_key(id)] = frame, other
    if not cased:
        return
    shared = shared_options(options)
    both = [(frame._document["_id"], other) for frame, other in cased.values()]
    ids = [one for pair in both for one in pair]
    with on_primary(port, cls):
        found = await documents_by_id(port, cls, ids, {"_id": True}, shared)
    for (frame, _), exact, other in zip(cased.values(), found[::2], found[1::2], strict=True):
        if exact is None and other is not None:
            raise gone(type(frame), frame._document["_id"], operation)
