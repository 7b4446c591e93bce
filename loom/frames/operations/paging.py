"""Reading by pages that are found by the values of their first and last document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...connection import connection_of
from ...encoding import ENCODING_ERRORS, clearer
from ...errors import PageError, QueryError
from ..keysets import Keys, behind, key_of, key_sort, may_tie, with_keys
from ..pages import Page
from ..paths import remove
from ..port import Port
from ..projections import Projection, plan_for
from ..references import build
from ..sorts import Sort
from ..tokens import Binding, Position, read_token, token_of
from .reading import Options, compiled_filter, count, query_options

__all__ = ["count_items", "numbered", "page"]


#: Options of a query that its count takes, too.
_COUNTING = ("collation", "comment", "hint", "session")


async def page(
    port: Port,
    cls: Any,
    filter: Any,
    sort: Sort,
    size: int,
    after: str | None,
    before: str | None,
    projection: Projection,
    options: Options,
) -> Page[Any]:
    """Return the page after or before a token, or the first one."""
    place = f"{cls.__name__}.page"
    _check(place, size, after, before, options)
    query = compiled_filter(port, cls, filter)
    keys = key_sort(place, sort)
    options = query_options(cls, query, {**options, "sort": keys})
    plan = plan_for(cls, projection)
    driver, added = with_keys(place, plan.driver, keys)
    binding = _binding(port, cls, query, keys, options)

    backwards = before is not None
    name, token = ("before", before) if backwards else ("after", after)
    directed = [(path, -direction if backwards else direction) for path, direction in keys]
    position = None if token is None else read_token(binding, token, name)
    found = await port.find(
        cls,
        query if position is None else _behind(query, directed, position, binding),
        driver,
        {**options, "sort": directed, "limit": size + 1},
    )

    values = [key_of(place, document, keys) for document in found]
    is_more = len(found) > size
    collation = getattr(options.get("collation"), "document", options.get("collation"))
    if is_more and collation and may_tie(values[size - 1], values[size], collation):
        raise PageError(
            f"{place}: expected documents that the collation tells apart, got _id="
            f"{found[size - 1]['_id']!r} and _id={found[size]['_id']!r}, which are equal to it "
            "in all that is sorted by; pass collation=None, or add a field to the sort"
        )
    del found[size:], values[size:]
    if backwards:
        found.reverse()
        values.reverse()
    for path in added:
        for document in found:
            remove(document, path)
    frames = await build(port, plan, found, options)

    first = last = None
    if values:
        first, last = (token_of(binding, Position(values[end])) for end in (0, -1))
    elif position is not None:
        # All that was there is gone: the other direction begins at this very place.
        first = last = token_of(binding, Position(position.values, not position.inclusive))
    if backwards:
        return Page(frames, last, first if is_more else None)
    return Page(frames, last if is_more else None, None if position is None else first)


# Numbered pages


async def numbered(
    port: Port, cls: Any, filter: Any, start: int, size: int, orphans: int, options: Options
) -> tuple[list[Any], int]:
    """Return the frames of a page, and how many documents were found from its start on.

    Args:
        port: the runtime.
        cls: that is asked.
        filter: as for `many`.
        start: how many documents come before the page.
        size: how many frames it holds.
        orphans: how many more, if they are the last ones.
        options: as for `many`, the projection among them.
    """
    query = compiled_filter(port, cls, filter)
    plan = plan_for(cls, options.get("projection"))
    options = {name: value for name, value in options.items() if name != "projection"}
    options = query_options(cls, query, {**options, "skip": start, "limit": size + orphans + 1})
    documents = await port.find(cls, query, plan.driver, options)
    found = len(documents)
    if found > size + orphans:
        del documents[size:]
    return await build(port, plan, documents, options), found


async def count_items(port: Port, cls: Any, filter: Any, options: Options) -> int:
    """Return how many documents all numbered pages hold together."""
    query = compiled_filter(port, cls, filter)
    asked = {name: value for name, value in options.items() if name != "projection"}
    asked = query_options(cls, query, asked)
    counting = {name: asked[name] for name in _COUNTING if name in asked}
    if "max_time_ms" in asked:
        counting["maxTimeMS"] = asked["max_time_ms"]
    return await count(port, cls, filter, counting)


def _check(place: str, size: Any, after: Any, before: Any, options: Options) -> None:
    if type(size) is not int or size < 1:
        raise QueryError(f"{place}: expected a size of at least 1, got size={size!r}")
    if after is not None and before is not None:
        raise QueryError(
            f"{place}: expected one token, got after= and before=; pass the one of the page to show"
        )
    for name in ("limit", "skip"):
        if options.get(name):
            raise QueryError(
                f"{place}: expected pages by size= and tokens, got {name}={options[name]!r}; "
                f"many() takes {name}="
            )


def _binding(
    port: Port, cls: Any, query: Mapping[str, Any], keys: Keys, options: Options
) -> Binding:
    connection = port.within(connection_of, cls)
    secret = cls._page_secret
    if secret is None and connection is not None:
        secret = connection.page_secret
    codecs = port.collection(cls).codec_options
    try:
        return Binding.of(cls, query, keys, options.get("collation"), codecs, secret)
    except ENCODING_ERRORS as error:
        raise clearer(f"{cls.__name__} filter", query, codecs, error) from error


def _behind(
    query: dict[str, Any], keys: Keys, position: Position, binding: Binding
) -> dict[str, Any]:
    """Return a filter for what comes after a position."""
    rest = behind(keys, position.values, binding.codecs, inclusive=position.inclusive)
    if query.keys() & rest.keys():
        return {"$and": [query, rest]}
    return {**query, **rest}
