"""References kept whole: cascade, nullify and pull, and the listener of what `Ref` declares."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import FieldError
from .events import declaring, running
from .ids import id_or_error
from .paths import lookup_all, split
from .port import Port, awaited
from .queries import to_refs

if TYPE_CHECKING:
    from .links import Link

__all__ = ["cascade", "keep_references_whole", "nullify", "pull"]


async def keep_references_whole(sender: Any, frames: list[Any], session: Any) -> None:
    """Do what `Ref(on_delete=...)` declares; a listener for `delete`.

    It listens to every class that a declared reference leads to, after all other listeners.
    `muted(keep_references_whole)` and `stop_listening` silence it.

    Raises:
        DefinitionError: a declared `Ref` is not understood.
        Restricted: a reference forbids the delete; nothing was deleted.
    """
    from .doomed import undone
    from .on_delete import Clearing

    port = awaited()
    ids = undone(port, sender, (frame._document["_id"] for frame in frames))
    if ids:
        options = {} if session is None else {"session": session}
        place = f"{sender.__name__}.delete"
        await Clearing(port, sender, ids, options, place, keep_references_whole).run()


async def _prepare(
    port: Port, cls: Any, batches: AsyncIterable[list[Any]], options: dict[str, Any], place: str
) -> Callable[[list[Any]], AbstractContextManager[None]]:
    """Check a delete that is going to be done in batches, as a whole; hold no ids in memory.

    Args:
        port: of the operation.
        cls: the class of the documents.
        batches: their ids.
        options: of every command: session and comment.
        place: of the operation, for errors.

    Returns:
        What makes the block in which a batch of ids may be deleted: what refers to them may be
        in another batch.

    Raises:
        DefinitionError: a declared `Ref` is not understood.
        Restricted: a reference forbids the delete; nothing was deleted.
    """
    from .doomed import permitted
    from .on_delete import Clearing

    await Clearing(port, cls, (), options, place, keep_references_whole).check(batches)
    return partial(permitted, port, cls)


#: For operations that send `delete` batch by batch.
keep_references_whole.prepare = _prepare  # type: ignore[attr-defined]  # functions take attributes


def _declare(cls: Any) -> list[tuple[str, Any]]:
    """Return the listener of a class that a declared reference may lead to."""
    if not getattr(cls, "_is_frame", False):
        return []
    from .referrers import referrers  # when a class first writes

    known = referrers()
    names = {parent._collection for parent in cls.__mro__ if getattr(parent, "_is_frame", False)}
    targets = [link.target for link in known.links]
    if known.problems or any(t is not None and t._collection in names for t in targets):
        return [("delete", keep_references_whole)]
    return []


declaring.append(_declare)


# What listeners, or anybody, call


def _flat(values: Iterable[Any]) -> Iterable[Any]:
    for value in values:
        if isinstance(value, (list, tuple, set, frozenset)):
            yield from _flat(value)
        elif isinstance(value, dict):
            yield from _flat(value.values())
            yield value  # an id may be a document, too; a map of ids is nobody's id
        elif value is not None:
            yield value


def options_of(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a behaviour, with the session of the event that asks for it.

    Raises:
        FieldError: an option that its queries do not share.
    """
    for name in options:
        if name not in ("session", "comment"):
            raise FieldError(f"cascade, nullify, pull: expected session or comment, got {name!r}")
    current = running()
    if current is not None and current.session is not None:
        return {"session": current.session, **options}
    return options


def _check_field(cls: Any, ref_cls: Any, field: Any, owner: Any, operation: str) -> None:
    place = f"{cls.__name__}.{operation}"
    if not getattr(ref_cls, "_is_frame", False) or not isinstance(ref_cls, type):
        raise FieldError(f"{place}: expected a Frame class, got {ref_cls!r}")
    root = split(field)[0]
    definition = owner._definition
    if root not in definition.names and not definition.is_open:
        raise FieldError(f"{place}: expected a field of {owner.__name__}, got {field!r}")


async def cascade(
    port: Port,
    cls: Any,
    ref_cls: Any,
    field: str,
    frames: Any,
    events: bool,
    options: dict[str, Any],
) -> None:
    """Delete the documents of `ref_cls` that the frames point to."""
    from .doomed import guarded, undone
    from .on_delete import Clearing

    frames = list(frames)
    for frame in frames:
        _check_field(cls, ref_cls, field, type(frame), "cascade")
    port.check_writable(ref_cls, "cascade")
    await _check_restricted(port, frames, options)
    values = [value for frame in frames for value in _values(frame, field)]
    targets = undone(port, ref_cls, map(to_refs, _flat(values)))
    if not targets:
        return
    with ExitStack() as stack:
        current = running()
        is_deleting = current is not None and current.event in ("delete", "deleted", "committed")
        for kind, alike in _by_class(frames).items() if is_deleting else ():
            own = [frame._document["_id"] for frame in alike if "_id" in frame._document]
            stack.enter_context(guarded(port, kind, own))
        place = f"{cls.__name__}.cascade"
        clearing = Clearing(port, ref_cls, targets, options, place, keep_references_whole)
        await clearing.run(with_roots=True, events=events)


def _values(frame: Any, field: str) -> Iterable[Any]:
    """Return what a frame holds at a path, through lists and declared maps."""
    from .declared_links import steps_of
    from .links import MAP, Link

    steps = steps_of(type(frame), field)
    if MAP in steps[:-1]:
        return Link(type(frame), steps, "cascade", type(frame)).values(frame._document)
    return lookup_all(frame._document, field)


def _by_class(frames: Iterable[Any]) -> dict[Any, list[Any]]:
    found: dict[Any, list[Any]] = {}
    for frame in frames:
        found.setdefault(type(frame), []).append(frame)
    return found


async def _check_restricted(port: Port, frames: list[Any], options: dict[str, Any]) -> None:
    """Refuse to cascade from frames whose own delete is going to be refused.

    Listeners come before what is declared, and what they cascade to would be gone.
    """
    current = running()
    if current is None or current.event != "delete":
        return
    from .referrers import referrers

    if not any(link.act in ("restrict", "default") for link in referrers().links):
        return
    from .doomed import undone
    from .on_delete import Clearing

    for cls, alike in _by_class(frames).items():
        ids = undone(port, cls, (f._document["_id"] for f in alike if "_id" in f._document))
        await Clearing(
            port, cls, ids, options, f"{cls.__name__}.delete", keep_references_whole
        ).check()


async def nullify(
    port: Port,
    cls: Any,
    ref_cls: Any,
    field: str,
    frames: Any,
    events: bool,
    options: dict[str, Any],
) -> None:
    """Set `field` to None where a document of `ref_cls` points to one of the frames."""
    from .declared_links import steps_of
    from .links import Link

    ids = _own_ids(cls, ref_cls, field, frames, "nullify")
    port.check_writable(ref_cls, "nullify")
    link = Link(ref_cls, steps_of(ref_cls, field), "nullify", cls)
    await _release(port, cls, link, ids, events, options)


async def pull(
    port: Port,
    cls: Any,
    ref_cls: Any,
    field: str,
    frames: Any,
    events: bool,
    options: dict[str, Any],
) -> None:
    """Take the frames out of the list or map `field` of the documents of `ref_cls`."""
    from .declared_links import steps_of
    from .links import LIST, Link

    ids = _own_ids(cls, ref_cls, field, frames, "pull")
    port.check_writable(ref_cls, "pull")
    steps = steps_of(ref_cls, field)
    if isinstance(steps[-1], str):
        steps = (*steps, LIST)
    await _release(port, cls, Link(ref_cls, steps, "pull", cls), ids, events, options)


def _own_ids(cls: Any, ref_cls: Any, field: str, frames: Any, operation: str) -> list[Any]:
    _check_field(cls, ref_cls, field, ref_cls, operation)
    ids = []
    for frame in frames:
        if not isinstance(frame, cls):
            raise FieldError(
                f"{cls.__name__}.{operation}: expected {cls.__name__} frames, got {frame!r} of type "
                f"{type(frame).__name__}; call {type(frame).__name__}.{operation}"
            )
        ids.append(id_or_error(frame, operation))
    return ids


async def _release(
    port: Port, cls: Any, link: Link, ids: list[Any], events: bool, options: dict[str, Any]
) -> None:
    from .releases import release

    place = f"{cls.__name__}.{link.act}"
    await release(port, link, ids, options, place=place, events=events)
