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
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

from .. import epoch
from ..errors import DefinitionError
from .annotations import Annotation, failure_of, resolved_annotations
from .declared_links import is_final, links_of
from .document import Document
from .links import Link
from .marks import Ref

__all__ = ["Referrers", "current", "referrers"]

_ABSENT: Any = object()
#: More aliases of aliases than anybody writes.
_DEEPEST = 20
#: `Annotated`, `loom.Ref`, `Company`: names joined by dots.
_NAMED = re.compile(r"[^\W\d]\w*(?:\s*\.\s*[^\W\d]\w*)*")


#: What names mean: in the function around a class, in its module, everywhere.
_Names: TypeAlias = tuple[Mapping[str, Any], ...]


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
        found = _find()
        if found.problems:
            return found  # a class that is forgotten solves them, and is not noticed
        _found = number, found
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
                links += links_of(cls)
            except DefinitionError as error:
                problems[str(error)] = None
    return Referrers(tuple(links), tuple(problems))


# What may hold a Ref, before anything is resolved

#: What is known of classes for good.
_known: WeakKeyDictionary[type, bool] = WeakKeyDictionary()


def _may_refer(cls: Any) -> bool:
    """Tell whether a class's own annotations may hold a `Ref`."""
    known = _known.get(cls)
    if known is None:
        written = cls._definition.own.annotations.values()
        verdicts = [_may_hold(annotation) for annotation in written]
        known = any(verdicts)
        if known or None not in verdicts:
            _known[cls] = known
    return known


def _may_hold(written: Annotation) -> bool | None:
    """Tell whether an annotation may hold a `Ref`, None when it names what is not there yet."""
    module = sys.modules.get(written.module)
    names = (written.scope, vars(module) if module else {}, vars(builtins))
    return _speaks(written.text, names, 0)


def _speaks(value: Any, names: _Names, depth: int) -> bool | None:
    """Tell whether what stands in an annotation is a `Ref` or holds one, None if not known."""
    if isinstance(value, typing.ForwardRef):
        value = value.__forward_arg__
    if isinstance(value, Ref) or value is Ref:
        return True
    if depth > _DEEPEST:
        return False  # an alias of itself
    if isinstance(value, str):
        members = [_named(found, names) for found in _NAMED.findall(value)]
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


def _named(dotted: str, names: _Names) -> Any:
    """Return what a name means in an annotation."""
    first, *others = (part.strip() for part in dotted.split("."))
    value = next((scope[first] for scope in names if first in scope), _ABSENT)
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
        if is_final(cls):
            continue
        for field, written in cls._definition.own.annotations.items():
            if field in resolved:
                continue
            names = {
                part for found in _NAMED.findall(str(written.text)) for part in found.split(".")
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
