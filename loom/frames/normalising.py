"""Text of one case in filters and update documents: what `StrLower` and `StrUpper` do there.

Marked text is stored as Python's `str.lower()` or `str.upper()` makes it, and looked for in the same
form. All functions here return new objects, and leave what they were given as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any, TypeAlias

from ..errors import QueryError
from .annotated import Case, Rule
from .conditions import GROUPS, tests_value
from .marked import marked, step, texts_of
from .patterns import Quoted
from .values import SCALARS

__all__ = [
    "Rules",
    "case_of",
    "normalise_changes",
    "normalise_filter",
    "rules_at",
    "text_in_case",
    "with_array_filters",
]

#: What holds for a value: most often one rule, several where a path can be read in two ways.
Rules: TypeAlias = tuple[Rule, ...]
#: What holds for the fields of a document.
_Texts: TypeAlias = dict[str, Rule]

#: Operators beside which values stand.
_COMPARING = frozenset(("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin"))
_ASSIGNING = frozenset(("$set", "$setOnInsert", "$min", "$max", "$pullAll"))
_ADDING = frozenset(("$push", "$addToSet"))
_REPLACING = frozenset(("$replaceRoot", "$replaceWith"))
#: Operators of expressions whose result is one of what they are given, or made of all of it.
_KEEPING = frozenset(("$concatArrays", "$ifNull", "$mergeObjects", "$setUnion"))


def rules_at(texts: _Texts | Rules, path: str) -> Rules:
    """Return what holds for the values at a path, in a document or in the items of a list."""
    rest = path
    if isinstance(texts, dict):
        first, _, rest = path.partition(".")
        rule = texts.get(first)
        texts = () if rule is None else (rule,)
    if rest and texts:
        for name in rest.split("."):
            texts = step(texts, name)
    return texts


def case_of(rules: Rules) -> Case | None:
    """Return the case of text."""
    for rule in rules:
        if rule.case is not None:
            return rule.case
    return None


# Values


def text_in_case(value: Any, rules: Rules) -> Any:
    """Return text in its case, also that of an Enum or a path; the same object where it has it.

    What is not stored as text is returned as it is.
    """
    stored = value
    if type(value) is not str:
        while isinstance(stored, Enum):
            stored = stored.value
        if isinstance(stored, PurePath):
            stored = str(stored)
    case = case_of(rules)
    if case is None or not isinstance(stored, str):
        return value
    cased = case(stored)
    return value if cased == stored else cased


def _cased(value: Any, rules: Rules) -> Any:
    """Return a copy of a value with its texts in their case."""
    kind = type(value)
    if kind is str:
        return text_in_case(value, rules)
    if kind in SCALARS:
        return value
    if isinstance(value, (list, tuple)):
        return [_cased(member, rules) for member in value]
    if isinstance(value, Mapping):
        return {key: _cased(member, _inside(rules, key)) for key, member in value.items()}
    return text_in_case(value, rules)


def _inside(rules: Rules, key: Any) -> Rules:
    """Return what holds for the value of a document's key, which is no path."""
    found = []
    for rule in rules:
        inner = [texts_of(*embedded).get(key) for embedded in rule.documents]
        found += [one for one in (*inner, rule.values) if one is not None]
    return (*found,)


# Filters


def normalise_filter(
    cls: Any, filter: dict[str, Any], knows: Callable[[str], bool] | None = None
) -> dict[str, Any]:
    """Return a filter that looks for marked text in the case in which it is stored.

    Every operator that compares text is looked into; `$regex` only when it was made of text, by
    `startswith` and the like. What was passed is not changed.

    Args:
        cls: whose documents are looked for.
        filter: as the driver takes it, or the content of a `$match` stage.
        knows: tells which fields are the class's own, None for all.

    Raises:
        DefinitionError: a mark stands where it cannot work.
        QueryError: kinds of the class store the text in different cases.

    >>> from loom import Frame, StrLower
    >>> class User(Frame):
    ...     email: StrLower
    >>> normalise_filter(User, {"email": {"$in": ["Ann@Example.com"]}})
    {'email': {'$in': ['ann@example.com']}}
    """
    texts = marked(cls).texts
    mixed: dict[str, set[Any]] = {}
    if cls._kinds is not None:
        texts, mixed = _texts_of_kinds(cls)
    if not filter or not (texts or mixed):
        return filter
    if knows is not None:
        texts = {name: rule for name, rule in texts.items() if knows(name)}
        mixed = {name: rules for name, rules in mixed.items() if knows(name)}
    for name, classes in mixed.items():
        for rule in {marked(one).texts[name] for one in classes if name in marked(one).texts}:
            if _filter(filter, {name: rule}) != filter:
                said = ", ".join(sorted(one.__name__ for one in classes))
                raise QueryError(
                    f"{cls.__name__}.{name}: expected text that is the same in every case, because "
                    f"{said} store it in different ones, got {filter!r}; ask one of them"
                )
    return _filter(filter, texts) if texts else filter


def _texts_of_kinds(cls: Any) -> tuple[_Texts, dict[str, set[Any]]]:
    """Return what holds for fields in all kinds of a class, and who differs in which."""
    classes = (cls, *cls._kinds.below(cls))
    texts: _Texts = {}
    mixed: dict[str, set[Any]] = {}
    for name in {name for one in classes for name in marked(one).texts}:
        declaring = [one for one in classes if name in one._definition.names]
        rules = [marked(one).texts.get(name) for one in declaring]
        if any(rule != rules[0] for rule in rules):
            mixed[name] = {*declaring}
        elif rules[0] is not None:
            texts[name] = rules[0]
    return texts, mixed


def _filter(query: Mapping[Any, Any], texts: _Texts | Rules) -> dict[str, Any]:
    """Return the filter of a document; `texts` says what holds for its fields."""
    result: dict[str, Any] = {}
    for key, value in query.items():
        if not isinstance(key, str):
            result[key] = value
        elif key in GROUPS and isinstance(value, (list, tuple)):
            result[key] = [
                _filter(item, texts) if isinstance(item, Mapping) else item for item in value
            ]
        elif key[:1] == "$":
            result[key] = value
        else:
            rules = rules_at(texts, key)
            result[key] = _predicate(value, rules) if rules else value
    return result


def _predicate(value: Any, rules: Rules) -> Any:
    if type(value) is not str and isinstance(value, Mapping) and tests_value(value):
        return _operators(value, rules)
    return _cased(value, rules)


def _operators(test: Mapping[str, Any], rules: Rules) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for operator, value in test.items():
        if operator in _COMPARING:
            value = _cased(value, rules)
        elif operator == "$not":
            value = _predicate(value, rules)
        elif operator == "$all" and isinstance(value, (list, tuple)):
            value = [_predicate(item, rules) for item in value]
        elif operator == "$elemMatch" and isinstance(value, Mapping):
            value = _operators(value, rules) if tests_value(value) else _filter(value, rules)
        elif operator == "$regex" and isinstance(value, Quoted):
            case = case_of(rules)
            value = value if case is None else value.in_case(case)
        result[operator] = value
    return result


# Update documents


def normalise_changes(cls: Any, changes: Any) -> Any:
    """Return an update document, or a pipeline, that writes marked text in its case.

    Args:
        cls: whose documents are changed.
        changes: as the driver takes it.

    Raises:
        DefinitionError: a mark stands where it cannot work.
        QueryError: the server itself would make the text, so that its case is not known here.

    >>> from loom import Frame, StrLower
    >>> class User(Frame):
    ...     email: StrLower
    ...     tags: list[StrLower]
    >>> normalise_changes(User, {"$set": {"email": "Ann@Example.com"}, "$push": {"tags": "New"}})
    {'$set': {'email': 'ann@example.com'}, '$push': {'tags': 'new'}}
    """
    texts = marked(cls).texts
    if not texts:
        return changes
    if isinstance(changes, Mapping):
        return {name: _changed(cls, name, part, texts) for name, part in changes.items()}
    return [_stage(cls, stage, texts) for stage in changes]


def with_array_filters(cls: Any, changes: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a change, whose array filters look for marked text in its case.

    >>> from loom import Frame, StrLower
    >>> class User(Frame):
    ...     tags: list[StrLower]
    >>> with_array_filters(User, {"$set": {"tags.$[t]": "x"}}, {"array_filters": [{"t": "Old"}]})
    {'array_filters': [{'t': 'old'}]}
    """
    given = options.get("array_filters") or ()
    texts = marked(cls).texts if given else {}
    if not texts or not isinstance(changes, Mapping):
        return options
    items: dict[str, Rule] = {}
    for path in (path for part in changes.values() for path in part):
        names = path.split(".")
        for position, name in enumerate(names):
            if name[:2] == "$[" and name != "$[]":
                rules = rules_at(texts, ".".join(names[:position]))
                items |= {name[2:-1]: rule for rule in rules[:1]}
    return {**options, "array_filters": [_filter(one, items) for one in given]}


def _changed(cls: Any, operator: str, part: Any, texts: _Texts) -> Any:
    if not isinstance(part, Mapping):
        return part
    changed = dict(part)
    for path, value in part.items():
        rules = rules_at(texts, path)
        if operator == "$rename":
            _check_renamed(cls, path, value, rules, texts)
        elif not rules:
            continue
        elif operator in _ASSIGNING:
            changed[path] = _cased(value, rules)
        elif operator == "$pull":
            condition = isinstance(value, Mapping) and not tests_value(value)
            changed[path] = _filter(value, rules) if condition else _predicate(value, rules)
        elif operator in _ADDING:
            if isinstance(value, Mapping) and "$each" in value:
                changed[path] = {**value, "$each": _cased(value["$each"], rules)}
            else:
                changed[path] = _cased(value, rules)
    return changed


def _check_renamed(cls: Any, path: str, other: Any, rules: Rules, texts: _Texts) -> None:
    wanted = rules_at(texts, str(other))
    if wanted and wanted != rules:
        raise QueryError(
            f"{cls.__name__}.{other}: expected text in its case, got that of {path!r} renamed, "
            f"which is stored as it is; load the frames and update them"
        )


def _stage(cls: Any, stage: Mapping[str, Any], texts: _Texts) -> dict[str, Any]:
    """Return a stage of a pipeline."""
    cased: dict[str, Any] = {}
    whole = (Rule(None, ((cls, ()),), None),)
    for name, content in stage.items():
        reading = _Expressions(texts, whole)
        if name in _REPLACING:
            inner = content.get("newRoot") if name == "$replaceRoot" else content
            inner = reading.cased(inner, whole, cls.__name__)
            cased[name] = {"newRoot": inner} if name == "$replaceRoot" else inner
        elif name == "$unset" or not isinstance(content, Mapping):
            cased[name] = content
        else:
            cased[name] = {
                path: reading.cased(value, rules_at(texts, path), f"{cls.__name__}.{path}")
                for path, value in content.items()
            }
    return cased


class _Expressions:
    """Gives the text in expressions of a pipeline its case."""

    def __init__(self, texts: _Texts, whole: Rules) -> None:
        self.texts = texts
        self.whole = whole

    def cased(self, value: Any, rules: Rules, place: str) -> Any:
        """Return an expression that makes text in its case.

        Raises:
            QueryError: the server would make it.
        """
        if not rules:
            return value
        if isinstance(value, str) and value.startswith("$"):
            if value == "$$REMOVE" or self._named(value) == rules:
                return value
        elif isinstance(value, (list, tuple)):
            return [self.cased(member, rules, place) for member in value]
        elif not isinstance(value, Mapping):
            return _cased(value, rules)
        elif not any(str(key).startswith("$") for key in value):
            return {
                key: self.cased(member, _inside(rules, key), f"{place}.{key}")
                for key, member in value.items()
            }
        else:
            made = self._by_operator(value, rules, place)
            if made is not None:
                return made
        raise QueryError(
            f"{place}: expected a value, or an expression in {_by_server(case_of(rules))}, got "
            f"{value!r}, whose text would be stored as the server makes it; load the frames and "
            "update them"
        )

    def _named(self, expression: str) -> Rules:
        """Return what holds for what a field reference gives."""
        if expression in ("$$ROOT", "$$CURRENT"):
            return self.whole
        return rules_at(self.texts, expression[1:])

    def _by_operator(self, value: Mapping[str, Any], rules: Rules, place: str) -> Any:
        ((operator, given), *_) = value.items()
        if operator == "$literal":
            return {operator: _cased(given, rules)}
        if operator == _by_server(case_of(rules)):
            return value
        if operator in _KEEPING and isinstance(given, (list, tuple)):
            return {operator: [self.cased(member, rules, place) for member in given]}
        if operator == "$cond" and isinstance(given, (list, tuple)) and len(given) == 3:
            return {operator: [given[0], *(self.cased(m, rules, place) for m in given[1:])]}
        if operator == "$cond" and isinstance(given, Mapping):
            branches = (
                (k, v if k == "if" else self.cased(v, rules, place)) for k, v in given.items()
            )
            return {operator: dict(branches)}
        return None


def _by_server(case: Case | None) -> str:
    """Return the operator that gives a case, to ASCII letters at least."""
    return "$toUpper" if case is str.upper else "$toLower"
