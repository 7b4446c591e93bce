"""Declared links: what the resolved annotations of a class say of its references."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Annotated, Any, NamedTuple
from weakref import ReferenceType, WeakKeyDictionary
from weakref import ref as ref_to

from ..errors import DefinitionError
from .annotations import Annotation, evaluated, resolved_annotations
from .definitions import Default
from .links import LIST, MAP, Link, Step
from .marks import Ref
from .paths import split

__all__ = ["is_final", "links_of", "steps_of"]

#: The links of classes that will not change, because all annotations are resolved.
_final: WeakKeyDictionary[type, tuple[Link, ...]] = WeakKeyDictionary()


def is_final(cls: Any) -> bool:
    """Tell whether all annotations of a class are resolved."""
    definition = cls._definition
    return len(resolved_annotations(definition)) == len(definition.annotations)


def links_of(cls: Any) -> tuple[Link, ...]:
    """Return the links of a class, also those in the documents embedded in its own."""
    known = _final.get(cls)
    if known is None:
        holders: list[Any] = []
        known = tuple(_links(cls, cls, (), (), holders))
        for link in known:
            if cls._append_only and link.act != "restrict":
                raise DefinitionError(
                    f"{cls.__name__}.{link.path}: expected on_delete='restrict' or none, for these "
                    f"documents are only added, got {link.act!r}, which would change them"
                )
            if cls._timeseries is not None and link.act in ("default", "nullify", "pull"):
                raise DefinitionError(
                    f"{cls.__name__}.{link.path}: expected on_delete='cascade', 'restrict' or none, "
                    f"for single documents of a time series are not changed, got {link.act!r}"
                )
        if all(map(is_final, holders)):
            _final[cls] = known
    return known


def _is_frame(target: Any) -> bool:
    return isinstance(target, type) and getattr(target, "_is_frame", False)


def _is_subframe(target: Any) -> bool:
    return isinstance(target, type) and getattr(target, "_is_subframe", False)


class _Reference(NamedTuple):
    """What one part of an annotation says."""

    holders: tuple[Step, ...]
    refs: tuple[Ref, ...]
    target: Any


def steps_of(cls: Any, path: str) -> tuple[Step, ...]:
    """Return the way along a path, through the lists and maps that annotations tell of.

    >>> from loom import Frame
    >>> class Dragon(Frame):
    ...     loot: dict[str, int]
    >>> steps_of(Dragon, "loot")
    ('loot', <Holder.MAP: '{}'>)
    """
    names = split(path)
    if any(name.isdigit() for name in names):
        return tuple(names)
    steps: list[Step] = []
    holder: Any = cls
    for name in names:
        steps.append(name)
        definition: Any = getattr(holder, "_definition", None)
        holder = None
        if definition is not None and name in (resolved := resolved_annotations(definition)):
            found = [*_references(resolved[name], (), (), definition.annotations[name])]
            if len({reference.holders for reference in found}) == 1:
                steps += found[0].holders
                holder = found[0].target
    return tuple(steps)


def _links(
    cls: Any,
    holder: Any,
    way: tuple[Step, ...],
    above: tuple[Any, ...],
    holders: list[Any],
) -> Iterator[Link]:
    """Yield the links of a class; `holder` is itself or a class of documents embedded in it.

    Args:
        cls: the class.
        holder: whose annotations are read.
        way: from a document of the class to one of the holder.
        above: the classes on the way.
        holders: gets all that were read.
    """
    holders.append(holder)
    definition = holder._definition
    resolved = resolved_annotations(definition)
    for field, annotation in resolved.items():
        found = [*_references(annotation, (), (), definition.annotations[field])]
        if any(_is_frame(reference.target) for reference in found):
            # `Company | ObjectId`: what is stored is the same.
            found = [r for r in found if _is_frame(r.target) or _is_subframe(r.target)]
        for inner, refs, target in found:
            steps = (*way, field, *inner)
            if _is_subframe(target):
                if target not in above and target is not holder:
                    yield from _links(cls, target, steps, (*above, holder), holders)
                elif _refers(target, ()):
                    raise DefinitionError(
                        f"{holder.__name__}.{field}: expected embedded documents of a known depth "
                        f"where a Ref is declared, got {target.__name__} inside itself; declare "
                        "the Ref without on_delete, and use listeners"
                    )
            link = _link(cls, holder, field, steps, refs, target)
            if link is not None:
                yield link


def _refers(cls: Any, above: tuple[Any, ...]) -> bool:
    """Tell whether a class of embedded documents holds a link at any depth."""
    return any(
        any(ref.on_delete for ref in refs)
        or (_is_subframe(target) and target not in (*above, cls) and _refers(target, (*above, cls)))
        for field, annotation in resolved_annotations(cls._definition).items()
        for _, refs, target in _references(annotation, (), (), cls._definition.annotations[field])
    )


def _references(
    annotation: Any, holders: tuple[Step, ...], refs: tuple[Ref, ...], written: Annotation
) -> Iterator[_Reference]:
    """Yield what an annotation refers to, and the lists and maps on the way."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if isinstance(annotation, (str, typing.ForwardRef)):
        # What Python 3.10 leaves inside `Annotated[list["Lair"], ...]`.
        text = getattr(annotation, "__forward_arg__", annotation)
        annotation = evaluated(written._replace(text=text))
        if isinstance(annotation, (str, typing.ForwardRef, type(None))):
            yield _Reference(holders, refs, text)
            return
    elif origin is Annotated:
        refs = (*refs, *(mark for mark in annotation.__metadata__ if isinstance(mark, Ref)))
        annotation = annotation.__origin__
    elif type(annotation).__name__ == "TypeAliasType":  # `type Owner = ...`, from 3.12 on
        annotation = annotation.__value__
    elif origin is typing.Union or origin is types.UnionType:
        for member in arguments:
            if member is not type(None):
                yield from _references(member, holders, refs, written)
        return
    elif isinstance(origin, type) and issubclass(origin, Iterable) and arguments:
        step = MAP if issubclass(origin, Mapping) else LIST
        members = arguments[-1:] if step is MAP else [a for a in arguments if a is not ...]
        for member in members:
            yield from _references(member, (*holders, step), refs, written)
        return
    else:
        yield _Reference(holders, refs, origin or annotation)
        return
    yield from _references(annotation, holders, refs, written)


def _link(
    cls: Any, holder: Any, field: str, steps: tuple[Step, ...], refs: tuple[Ref, ...], target: Any
) -> Link | None:
    """Return the link of a reference, None when nothing is declared for it.

    Raises:
        DefinitionError: what is declared cannot be carried out.
    """
    acts = {ref for ref in refs if ref.on_delete is not None}
    if not acts:
        return None
    place = f"{holder.__name__}.{field}"
    if len(acts) > 1:
        shown = " and ".join(sorted(map(repr, acts)))
        raise DefinitionError(f"{place}: expected one on_delete, got {shown}; leave one")
    (ref,) = acts
    if not _is_frame(target):
        raise DefinitionError(
            f"{place}: expected a Frame class that {ref!r} refers to, got "
            f"{getattr(target, '__name__', target)}; annotate the field with the class"
        )
    act: Any = ref.on_delete
    if act == "pull" and isinstance(steps[-1], str):
        raise DefinitionError(
            f"{place}: expected a list or map to pull from, got one {target.__name__}; "
            "use on_delete='nullify'"
        )
    if steps == ("_id",) and act not in ("cascade", "restrict"):
        raise DefinitionError(
            f"{place}: expected on_delete='cascade' or 'restrict' for an _id, which cannot change, "
            f"got {act!r}"
        )
    new_default, is_made_anew = None, False
    if act == "default":
        if field not in holder._definition.defaults:
            raise DefinitionError(
                f"{place}: expected a default for on_delete='default', got none; write it after "
                "the annotation, or use on_delete='nullify'"
            )

        new_default = partial(_new_default, ref_to(holder), field)
        default = holder._definition.defaults[field]
        is_made_anew = isinstance(default, Default) and not isinstance(default.factory, type)
    return Link(cls, steps, act, target, ref.events, new_default, is_made_anew)


def _new_default(holder: ReferenceType[Any], field: str) -> Any:
    """Return a new default of a field of a class, which is there as long as its link is."""
    cls = holder()
    return None if cls is None else cls._definition.new_default(field)
