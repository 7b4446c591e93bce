"""Text of one case in frames: what `StrLower` and `StrUpper` do to what is written.

An ordinary listener does it, called after all others, so that a frame holds what is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from operator import attrgetter
from typing import Any

from .annotated import Rule
from .changes import Snapshot
from .marked import marked, texts_of
from .normalising import Rules, case_of, normalise_changes, rules_at, text_in_case
from .paths import MISSING, lookup
from .values import SCALARS

__all__ = ["normalise", "normalising"]

_document_of = attrgetter("_document")


def normalising(cls: Any) -> Iterable[tuple[str, Any]]:
    """Return the listeners that the annotations of a class ask for, each after its event."""
    if marked(cls).texts:
        return (("insert", normalise), ("update", normalise))
    return ()


def normalise(
    sender: type,
    frames: list[Any],
    fields: Sequence[str] = (),
    changes: Sequence[Any] = (),
    event: str = "insert",
) -> None:
    """Give marked text its case, before it is written; a listener for `insert` and `update`.

    It looks at what is about to be written: the fields that an update names, what other
    listeners changed, or everything.

    Args:
        sender: the class.
        frames: changed in place.
        fields: the paths that are written; none means all.
        changes: update documents that are about to be sent; changed in place.
        event: an `_id` is given its case by `insert`, and stays afterwards.
    """
    for change in changes:
        cased = normalise_changes(sender, change)
        if isinstance(change, list):
            change[:] = cased
        else:
            change.update(cased)
    is_whole = not (fields or changes)
    for frame in frames:
        texts = marked(type(frame)).texts
        if event != "insert" and "_id" in texts:
            texts = {name: rule for name, rule in texts.items() if name != "_id"}
        document = frame._document
        # A document that holds itself: the encoder refuses it, and names its path.
        with suppress(RecursionError):
            if is_whole:
                _settle_fields(document, texts)
                continue
            named = () if changes else fields
            snapshot = Snapshot.before_listeners(frame)
            changed = set() if snapshot is None else snapshot.changed()
            for path in changed.union(named):
                _settle_path(document, path, texts)
            if snapshot is not None:
                # Written by its name, and not as what a listener has changed: that would be all of
                # the list around it.
                for root in {*map(_root, named)} - {*map(_root, changed)}:
                    if root in texts:
                        snapshot.retake(root)


def _root(path: str) -> str:
    return path.partition(".")[0]


def _settle_fields(document: dict[str, Any], texts: dict[str, Rule]) -> None:
    for name, rule in texts.items():
        value = document.get(name)
        if value is None:
            continue
        if type(value) is str and rule.case is not None:
            cased = rule.case(value)
            if cased != value:
                document[name] = cased
        else:
            settled = _settled(value, (rule,))
            if settled is not value:
                document[name] = settled


def _settle_path(document: dict[str, Any], path: str, texts: dict[str, Rule]) -> None:
    first, _, rest = path.partition(".")
    rule = texts.get(first)
    if rule is None:
        return
    if not rest:
        _settle_fields(document, {first: rule})
        return
    above, _, last = path.rpartition(".")
    rules = rules_at(texts, path)
    value = lookup(document, path) if rules else MISSING
    if value is MISSING:
        return
    settled = _settled(value, rules)
    if settled is not value:
        holder = lookup(document, above)
        holder = getattr(holder, "_document", holder)
        if isinstance(holder, dict):
            holder[last] = settled
        elif isinstance(holder, list):
            holder[int(last)] = settled
        else:  # a tuple is replaced, with what is around it
            _settle_fields(document, {first: rule})


def _settled(value: Any, rules: Rules) -> Any:
    """Return a value as it is to be held; lists, dicts and sub-frames are changed in place."""
    kind = type(value)
    if kind is str:
        return text_in_case(value, rules)
    if kind in SCALARS:
        return value
    if isinstance(value, list):
        _settle_list(value, rules)
    elif getattr(kind, "_is_subframe", False):
        _settle_document(value._document, rules)
    elif isinstance(value, dict):
        _settle_document(value, rules)
    elif isinstance(value, (tuple, set, frozenset)):
        members = [_settled(member, rules) for member in value]
        if any(new is not old for new, old in zip(members, value, strict=True)):
            make: Any = getattr(kind, "_make", kind)  # a named tuple stays one
            return make(members)
    elif isinstance(value, Mapping):
        copied = dict(value)
        _settle_document(copied, rules)
        if any(copied[key] is not value[key] for key in copied):
            return copied
    else:
        return text_in_case(value, rules)
    return value


def _settle_list(members: list[Any], rules: Rules) -> None:
    kinds = {*map(type, members)}
    case = case_of(rules)
    if kinds == {str} and case is not None:
        cased = [*map(case, members)]
        if cased != members:
            members[:] = cased
        return
    if len(kinds) == 1 and not any(rule.values for rule in rules):
        documents: list[Any] = []
        if getattr(type(members[0]), "_is_subframe", False):
            documents = [*map(_document_of, members)]
        elif kinds == {dict}:
            documents = members
        if documents:
            for texts in [texts_of(*embedded) for rule in rules for embedded in rule.documents]:
                for document in documents:
                    _settle_fields(document, texts)
            return
    for index, member in enumerate(members):
        settled = _settled(member, rules)
        if settled is not member:
            members[index] = settled


def _settle_document(document: dict[str, Any], rules: Rules) -> None:
    for rule in rules:
        for embedded in rule.documents:
            _settle_fields(document, texts_of(*embedded))
        if rule.values is not None:
            values = (rule.values,)
            for key, value in document.items():
                settled = _settled(value, values)
                if settled is not value:
                    document[key] = settled
