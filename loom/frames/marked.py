"""The marked fields of a class: which of its texts have one case, and which times are stamped.

What the annotations say is worked out once for each class.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .. import epoch
from ..errors import DefinitionError
from .annotated import Bindings, Embedded, Rule, Said, closed, is_open, mentions_mark, said
from .annotations import resolved_annotations
from .marks import InsertTime, Known, UpdateTime, known

__all__ = ["Marked", "marked", "step", "texts_of"]


class Marked(NamedTuple):
    """The marked fields of a class."""

    #: those that lead to text of one case
    texts: dict[str, Rule]
    #: set when a document is inserted
    inserted: tuple[str, ...]
    #: set when a document is inserted or updated
    updated: tuple[str, ...]


def marked(cls: Any) -> Marked:
    """Return the marked fields of a class; one look-up when they are known.

    Raises:
        DefinitionError: a mark stands where it cannot work, or in an annotation that cannot be
            evaluated.
    """
    kept: Known | None = cls._definition.declared
    if kept is not None and kept.marked[0] == epoch.current:
        return kept.marked[1]  # type: ignore[no-any-return]
    number = epoch.current
    fields = _fields_of(cls, ())
    found = Marked(
        texts_of(cls, ()),
        tuple(name for name, one in fields.items() if InsertTime in one.times),
        tuple(name for name, one in fields.items() if UpdateTime in one.times),
    )
    known(cls._definition).marked = number, found
    return found


def texts_of(cls: Any, arguments: tuple[Any, ...]) -> dict[str, Rule]:
    """Return the fields of a class that lead to text of one case."""
    rules = _rules_of(cls._definition)
    found: dict[str, Rule] | None = rules.get(("texts", arguments))
    if found is None:
        fields = _fields_of(cls, arguments)
        found = {name: one.rule for name, one in fields.items() if _leads_to_text(one.rule, set())}
        rules["texts", arguments] = found
    return found


def step(rules: Iterable[Rule], name: str) -> tuple[Rule, ...]:
    """Return what holds for the values below a name of a path: a key, an index or `$[]`."""
    found: list[Rule] = []
    for rule in rules:
        if name.isdigit() or name[:1] == "$":
            found.append(rule)  # an item of a list
        for embedded in rule.documents:
            inner = texts_of(*embedded).get(name)
            if inner is not None:
                found.append(inner)
        if rule.values is not None:
            found.append(rule.values)
    return tuple(found)


def _leads_to_text(rule: Rule, seen: set[Embedded]) -> bool:
    if rule.case is not None or (rule.values is not None and _leads_to_text(rule.values, seen)):
        return True
    new = {*rule.documents} - seen
    seen |= new
    return any(_leads_to_text(f.rule, seen) for one in new for f in _fields_of(*one).values())


# What one class says


def _rules_of(definition: Any) -> dict[Any, Any]:
    """Return what has been found out about a class in this epoch."""
    kept = known(definition)
    if kept.rules[0] != epoch.current:
        kept.rules = epoch.current, {}
    return kept.rules[1]


def _fields_of(cls: Any, arguments: tuple[Any, ...]) -> dict[str, Said]:
    """Return what the annotations of a class say, its type parameters standing for `arguments`."""
    definition = cls._definition
    rules = _rules_of(definition)
    found: dict[str, Said] | None = rules.get(("fields", arguments))
    if found is None:
        resolved = resolved_annotations(definition)
        if len(resolved) < len(definition.annotations):
            _check_unresolved(cls, resolved)
        bindings: dict[type, Bindings] | None = None
        found = {}
        for name, annotation in resolved.items():
            if is_open(annotation):
                bindings = _bindings_of(cls, arguments) if bindings is None else bindings
                annotation = closed(annotation, bindings[_owner(cls, name)])
            found[name] = said(f"{cls.__name__}.{name}", annotation, is_frame=cls._is_frame)
        rules["fields", arguments] = found
    return found


def _check_unresolved(cls: Any, resolved: Mapping[str, Any]) -> None:
    """Refuse marks that cannot be seen: what they promise would not be done."""
    for name, written in cls._definition.annotations.items():
        text = written.text if isinstance(written.text, str) else repr(written.text)
        if name not in resolved and mentions_mark(text):
            raise DefinitionError(
                f"{cls.__name__}.{name}: expected an annotation that can be evaluated when the "
                f"program runs, got {text!r}; import or define its names outside of "
                "`if TYPE_CHECKING:`, before the first use of the class"
            )


def _bindings_of(cls: Any, arguments: tuple[Any, ...]) -> dict[type, Bindings]:
    """Return what the type variables stand for in a class and in its parents."""
    found: dict[type, Bindings] = {}

    def visit(one: Any, given: tuple[Any, ...]) -> None:
        if one in found or not hasattr(one, "_definition"):
            return
        bound = dict(zip(getattr(one, "__parameters__", ()), given, strict=False))
        found[one] = bound
        for base in one.__dict__.get("__orig_bases__", one.__bases__):
            inherited = tuple(closed(argument, bound) for argument in typing.get_args(base))
            visit(typing.get_origin(base) or base, inherited)

    visit(cls, arguments)
    return found


def _owner(cls: Any, name: str) -> Any:
    """Return the class that wrote an annotation."""
    written = (c for c in cls.__mro__ if "_definition" in vars(c))
    return next(c for c in written if name in c._definition.own.annotations)
