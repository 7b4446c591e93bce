"""Counter caches: a number on a document that says how many others refer to it.

`counter_cache(Post, "comment_count", of=Comment, by="post")` registers ordinary listeners on
`Comment`, and `recount(Post, "comment_count")` counts anew.
"""

from __future__ import annotations

import inspect
from typing import Any

from .. import epoch
from ..errors import DefinitionError, FieldError, QueryError, nearest
from .counting import AwaitedCounterCache, CounterCache, caches
from .events import listen, listening
from .fields import RESERVED
from .marks import declared
from .paths import split
from .queries import Filter, to_filter
from .recounting import Recount
from .tracking import read_counter, write_counter
from .transitions import are_touched

__all__ = ["AwaitedCounterCache", "CounterCache", "Recount", "counter_cache", "recount"]


def counter_cache(
    owner: Any,
    field: str,
    *,
    of: Any,
    by: Any,
    where: Filter = None,
    events: bool = False,
) -> CounterCache:
    """Keep `field` of `owner` at the number of documents of `of` that refer to it.

    Registers listeners on `of` for `inserted`, `update`, `updated`, `delete` and `deleted`, and
    with them for all of Loom's writes, blocking and awaited, single, in batches and by filter.
    They can be listed (`cache.listeners`), muted (`loom.muted`) and ended (`cache.stop()`), as any
    other. `field` becomes a counter, as if it were annotated with `IncrCounter`: a frame that
    writes all that it holds does not write an old number back.

    Each write of `of` that changes counts is followed by one command, which adds to each owner
    once. Before a delete, and before an update that may change a count, the documents are read
    once per batch, only the fields that matter. (An update that names other fields costs nothing,
    unless it is heard by listeners that could change these, which time stamps do not.) An update by
    other operators than `$set` and `$unset` that touches these fields costs a read after it, too.

    In a transaction, the counts belong to it. Outside of one they follow the write: when the
    second step fails, the error says that the write stands; after a crash between the two, or
    when two writers change or delete the same document at the same moment, a number can be off
    until `recount`. An owner that is not there is not counted for.

    Args:
        owner: the class whose documents hold the number.
        field: its name; an `int`, best with a default of 0.
        of: the class whose documents are counted, those that are stored in its collection.
        by: the path of the reference: an id, or a list or map of them. A document counts once
            for each owner that it refers to.
        where: count only documents that match: tests with ==, !=, <, <=, >, >=, `is_in`,
            `not_in`, `exists`, joined by &, | and ~.
        events: send `update` and `updated` of the owner when a number changes. That costs a read
            of the owners, and time stamps and change logs would note each reference; so not by
            default.

    Raises:
        DefinitionError: no Frame classes, a field that cannot be a counter, one that is kept
            already, or a reference to another class.
        FieldError: a field that is not declared.
        QueryError: a condition that cannot be decided without the server.

    >>> from loom import Frame
    >>> class Post(Frame):
    ...     comment_count: int = 0
    >>> class Comment(Frame):
    ...     post: Post
    >>> cache = counter_cache(Post, "comment_count", of=Comment, by="post")
    >>> cache
    counter_cache(Post, 'comment_count', of=Comment, by='post')
    >>> cache.stop()
    """
    for cls in (owner, of):
        _check_class(cls)
    place = f"counter_cache: {owner.__name__}.{field}"
    _check_field(owner, field, place)
    path = str(by)
    _check_path(of, path, place)
    _check_target(owner, of, path, place)
    filter = to_filter(where)
    cache = CounterCache(owner, field, of, path, filter, bool(events))
    for tested in cache._paths[1:]:
        _check_path(of, tested, place)
    if of._collection == owner._collection and are_touched(cache._paths, [field]):
        raise DefinitionError(
            f"{place}: expected a number that does not decide what is counted, got {field!r} in "
            "by or where, too"
        )
    kept = _kept_already(owner, field)
    if kept is not None:
        raise DefinitionError(
            f"{place}: expected a field that no other cache keeps, got the one of {kept}; call "
            "its stop() first"
        )
    _make_counter(owner, field)
    caches[owner, field] = cache
    for event, listener in cache.listeners:
        listen(event, listener, of)
    return cache


def recount(
    owner: Any, field: str, filter: Filter = None, *, dry_run: bool = False, **options: Any
) -> Recount:
    """Count anew what a counter cache keeps, and correct it; see `CounterCache.recount`.

    Awaited, it is `await cache.aio.recount()`.

    Raises:
        DefinitionError: no cache keeps the field.
    """
    cache = caches.get((owner, field))
    if cache is None:
        raise DefinitionError(
            f"recount: expected a field that a counter cache keeps, got {field!r} of "
            f"{getattr(owner, '__name__', owner)}; "
            "call counter_cache() first"
        )
    return cache.recount(filter, dry_run=dry_run, **options)


def _check_class(cls: Any) -> None:
    if not inspect.isclass(cls) or getattr(cls, "_is_frame", False) is not True:
        raise DefinitionError(f"counter_cache: expected a Frame class, got {cls!r}")
    if "_is_frame" in vars(cls):
        raise DefinitionError(
            f"counter_cache: expected a class with a collection, got {cls.__name__} itself"
        )


def _check_field(owner: Any, field: Any, place: str) -> None:
    if not isinstance(field, str) or not field or "." in field or field[:1] == "$":
        raise FieldError(
            f"{place}: expected the name of a field, got {field!r}; a number inside a document "
            "would be overwritten with it"
        )
    if field == "_id" or field in RESERVED or field == owner._version or field[:2] == "__":
        raise DefinitionError(f"{place}: expected a field of its own, got {field!r}")
    _check_declared(owner, field, place)
    annotated = declared(owner).get(field)
    kind = None if annotated is None else annotated.target
    if annotated is not None and (
        annotated.shape != "one" or (isinstance(kind, type) and not issubclass(int, kind))
    ):
        raise DefinitionError(f"{place}: expected a field of int; annotate it as int")


def _check_declared(cls: Any, root: str, place: str) -> None:
    definition = cls._definition
    if root not in definition.names and not definition.is_open:
        raise FieldError(
            f"{place}: expected a declared field of {cls.__name__}, got {root!r}"
            f"{nearest(root, definition.names)}"
        )


def _check_path(of: Any, path: str, place: str) -> None:
    try:
        names = split(path)
    except QueryError as error:
        raise QueryError(f"{place}: {error}") from None
    if any(name.isdigit() or name[:1] == "$" for name in names):
        raise FieldError(f"{place}: expected a path of names, got {path!r}; lists are read whole")
    _check_declared(of, names[0], place)


def _check_target(owner: Any, of: Any, path: str, place: str) -> None:
    annotated = declared(of).get(path)
    target: Any = None if annotated is None else annotated.target
    if getattr(target, "_is_frame", False) is True and not (
        issubclass(target, owner) or issubclass(owner, target)
    ):
        raise DefinitionError(
            f"{place}: expected references to {owner.__name__}, got {of.__name__}.{path}, which "
            f"refers to {target.__name__}"
        )


def _kept_already(owner: Any, field: str) -> CounterCache | None:
    """Return the cache that keeps a field of a class, or of another one in its collection."""
    for (_, name), cache in [*caches.items()]:
        cls = cache.owner
        related = issubclass(cls, owner) or issubclass(owner, cls)
        if name == field and related and cls._collection == owner._collection:
            heard = [r for e, _ in cache.listeners for r in listening(e, cache.of)]
            if any(listener in heard for _, listener in cache.listeners):
                return cache
    return None


def _make_counter(owner: Any, field: str) -> None:
    """Make a field a counter in a class and its children, as the annotation would."""
    if field not in owner._definition.counters:
        _put_counter(owner, field)
        for child in _children(owner):
            _put_counter(child, field)
        epoch.advance()


def _put_counter(cls: Any, field: str) -> None:
    definition = cls._definition
    definition.kinds[field] = "counter"
    definition.counters |= {field}
    existing = vars(cls).get(field)
    operation = getattr(existing, "operation", None)
    made = property(
        lambda frame: read_counter(frame, field),
        lambda frame, value: write_counter(frame, field, value),
        doc=getattr(existing, "__doc__", None),
    )
    if operation is not None:
        # The field has the name of an operation, which the class keeps.
        type.__setattr__(cls, field, type(existing)(made, operation))
    elif isinstance(existing, property):
        type.__setattr__(cls, field, made)


def _children(cls: Any) -> list[Any]:
    return [found for child in cls.__subclasses__() for found in (child, *_children(child))]
