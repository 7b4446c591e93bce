"""Referrers: the `Ref`s that the imported classes declare, as links.

Found once, and again when a class was made or changed. Annotations that hold no `Ref` are not
resolved for it, so that a program without one pays for a look at the text of its annotations.
"""

from __future__ import annotations

import builtins
import re
import sys
import types
import typing
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, NamedTuple
from weakref import WeakKeyDictionary

from .. import epoch
from ..errors import DefinitionError
from .annotations import Annotation, evaluated, failure_of, resolved_annotations
from .document import Document
from .links import LIST, MAP, Link, Step
from .marks import Ref
from .paths import split

__all__ = ["Referrers", "current", "referrers", "steps_of"]

_ABSENT: Any = object()
#: More aliases of aliases than anybody writes.
_DEEPEST = 20
#: `Annotated`, `loom.Ref`, `Company`: names joined by dots.
_NAMES = re.compile(r"[^\W\d]\w*(?:\s*\.\s*[^\W\d]\w*)*")


class Referrers(NamedTuple):
    """What all imported classes declare."""

    links: tuple[Link, ...]
    #: why a `Ref` cannot be followed; no class is deleted from before that is put right
    problems: tuple[str, ...]

    def check(self) -> None:
        """Refuse to go on while a `Ref` is not understood.

        Raises:
            DefinitionError: a `Ref` that names no known class, or cannot be carried out.
        """
        if self.problems:
            raise DefinitionError("\n".join(self.problems))


_found: tuple[int, Referrers] = (-1, Referrers((), ()))


def referrers() -> Referrers:
    """Return what the imported classes declare; worked out once per epoch."""
    global _found
    if _found[0] != epoch.current:
        number = epoch.current
        _found = number, _find()
    return _found[1]


def current(cls: Any) -> Any:
    """Return the class that took the place of `cls` in its module, else itself.

    That happens when a notebook's cell is run again, or a module is reloaded.
    """
    if "<locals>" in cls.__qualname__:
        return cls
    found: Any = sys.modules.get(cls.__module__)
    for name in cls.__qualname__.split("."):
        found = getattr(found, name, None)
    is_same = (
        isinstance(found, type)
        and issubclass(found, Document)
        and (found.__module__, found.__qualname__) == (cls.__module__, cls.__qualname__)
    )
    return found if is_same else cls


def _classes() -> list[Any]:
    """Return all classes of documents, each once, the first made first."""
    found: dict[Any, None] = {Document: None}
    waiting: list[Any] = [Document]
    for cls in waiting:
        new = [child for child in cls.__subclasses__() if child not in found]
        found.update(dict.fromkeys(new))
        waiting += new
    return [cls for cls in found if current(cls) is cls]


def _find() -> Referrers:
    classes = _classes()
    speaking = [cls for cls in classes if _may_refer(cls)]
    if not speaking:
        return Referrers((), ())
    problems: dict[str, None] = dict.fromkeys(_pending(classes, speaking))
    links: list[Link] = []
    for cls in classes:
        if cls._is_frame:
            try:
                links += _links(cls, cls, (), ())
            except DefinitionError as error:
                problems[str(error)] = None
    return Referrers(tuple(links), tuple(problems))


# What may hold a Ref, before anything is resolved

#: Per class: of which definition it is known, and what.
_known: WeakKeyDictionary[type, tuple[Any, bool]] = WeakKeyDictionary()


def _may_refer(cls: Any) -> bool:
    """Tell whether a class's own annotations may hold a `Ref`."""
    definition = cls._definition
    known = _known.get(cls)
    if known is None or known[0] is not definition:
        verdicts = [_may_hold(written) for written in definition.own.annotations.values()]
        known = definition, any(verdicts)
        if known[1] or None not in verdicts:
            _known[cls] = known
    return known[1]


def _may_hold(written: Annotation) -> bool | None:
    """Tell whether an annotation may hold a `Ref`, None when it names what is not there yet."""
    module = sys.modules.get(written.module)
    names = ChainMap(written.scope, vars(module) if module else {}, vars(builtins))
    return _speaks(written.text, names, 0)


def _speaks(value: Any, names: Mapping[str, Any], depth: int) -> bool | None:
    """Tell whether what stands in an annotation is a `Ref` or holds one, None if not known."""
    if isinstance(value, typing.ForwardRef):
        value = value.__forward_arg__
    if isinstance(value, Ref) or value is Ref:
        return True
    if depth > _DEEPEST:
        return False  # an alias of itself
    if isinstance(value, str):
        members = [_named(found, names) for found in _NAMES.findall(value)]
    elif type(value).__name__ == "TypeAliasType":
        try:
            members = [value.__value__]
        except NameError:
            return None
    else:
        members = [*typing.get_args(value)]
    verdicts = [
        None if member is _ABSENT else _speaks(member, names, depth + 1) for member in members
    ]
    return True if any(verdicts) else None if None in verdicts else False


def _named(dotted: str, names: Mapping[str, Any]) -> Any:
    """Return what a name means in an annotation."""
    first, *others = (part.strip() for part in dotted.split("."))
    value = names.get(first, _ABSENT)
    for part in others:
        is_holder = isinstance(value, (type, types.ModuleType))
        value = getattr(value, part, _ABSENT) if is_holder else _ABSENT
    # Imported for type checkers only, it is still a Ref.
    return Ref if value is _ABSENT and [first, *others][-1] == Ref.__name__ else value


def _pending(classes: list[Any], speaking: list[Any]) -> Iterator[str]:
    """Yield what is wrong with annotations that may hold a `Ref` and cannot be resolved."""
    embedded = {cls.__name__ for cls in speaking if cls._is_subframe}
    for cls in classes:
        resolved = resolved_annotations(cls._definition)
        for field, written in cls._definition.own.annotations.items():
            if field in resolved:
                continue
            names = {
                part for found in _NAMES.findall(str(written.text)) for part in found.split(".")
            }
            if _may_hold(written) or names & embedded:
                yield _unresolved(cls, field, written)


def _unresolved(cls: Any, field: str, written: Annotation) -> str:
    reason = failure_of(written)
    text = written.text if isinstance(written.text, str) else repr(written.text)
    return (
        f"{cls.__name__}.{field}: expected an annotation whose names are known before the first "
        f"delete, got {text!r} ({reason}); import what it names, else what refers there would be "
        "forgotten"
    )


# What resolved annotations say


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


def _links(cls: Any, holder: Any, way: tuple[Step, ...], above: tuple[Any, ...]) -> Iterator[Link]:
    """Yield the links of a class; `holder` is itself or a class of documents embedded in it."""
    definition = holder._definition
    resolved = resolved_annotations(definition)
    for field, annotation in resolved.items():
        for holders, refs, target in _references(annotation, (), (), definition.annotations[field]):
            steps = (*way, field, *holders)
            if getattr(target, "_is_subframe", False):
                if target not in above and target is not holder:
                    yield from _links(cls, target, steps, (*above, holder))
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
        or (
            getattr(target, "_is_subframe", False)
            and target not in (*above, cls)
            and _refers(target, (*above, cls))
        )
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
    if not (isinstance(target, type) and getattr(target, "_is_frame", False)):
        raise DefinitionError(
            f"{place}: expected a Frame class that {ref!r} refers to, got "
            f"{getattr(target, '__name__', target)}; annotate the field with the class"
        )
    act = ref.on_delete
    assert act is not None
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
    new_default = None
    if act == "default":
        definition = holder._definition
        if field not in definition.defaults:
            raise DefinitionError(
                f"{place}: expected a default for on_delete='default', got none; write it after "
                "the annotation, or use on_delete='nullify'"
            )

        def new_default() -> Any:
            return definition.new_default(field)

    return Link(cls, steps, act, target, ref.events, new_default)
