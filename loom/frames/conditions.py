"""Conditions, groups of them, and how a filter that holds them becomes a plain dict."""

from __future__ import annotations

import keyword
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from types import MethodType
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeAlias

from bson import ObjectId
from bson.regex import Regex

from ..errors import QueryError
from . import patterns
from .paths import split
from .values import SCALARS, Frozen, at, is_document, plain

__all__ = [
    "GROUPS",
    "PARENTHESES",
    "And",
    "Condition",
    "Expression",
    "Field",
    "Filter",
    "Group",
    "Member",
    "Nor",
    "Not",
    "Or",
    "all_item",
    "check",
    "element",
    "is_hidden",
    "tests_value",
    "to_filter",
]

_INFIX = {"$eq": "==", "$ne": "!=", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_NAMED = {"$in": "is_in", "$nin": "not_in", "$all": "all", "$exists": "exists", "$size": "size"}
_NAMED |= {"$type": "type", "$elemMatch": "elem_match"}
#: Operators that join filters.
GROUPS = frozenset(("$and", "$or", "$nor"))
# Operators that stand where a path does.
_TOP_LEVEL = GROUPS | {"$expr", "$where", "$text", "$comment", "$jsonSchema", "$sampleRate"}
# The keys of a DBRef start with a dollar and are no operators.
_DBREF = frozenset(("$ref", "$id", "$db"))
PARENTHESES = "put parentheses around each comparison, as in (Q.a == 1) & (Q.b == 2)"


class Field(Frozen):
    """The dotted path of a field, or with an empty one, the item that `ElemMatch` looks at."""

    __slots__ = ("_path",)
    _path: str

    def __init__(self, path: str = "") -> None:
        if path:
            check(path)
        object.__setattr__(self, "_path", path)

    def __hash__(self) -> int:
        return hash((Field, self._path))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._path,)

    def __str__(self) -> str:
        return self._path

    def __repr__(self) -> str:
        return "Q" + "".join(map(self._shown, self._path.split("."))) if self._path else "Q"

    def _shown(self, name: str) -> str:
        if name.isascii() and name.isdigit() and len(name) < 10 and str(int(name)) == name:
            return f"[{name}]"
        attribute = name.isidentifier() and not keyword.iskeyword(name) and not is_hidden(name)
        # Python reads some letters of a source as others, an attribute with a ligature for one.
        attribute = attribute and unicodedata.normalize("NFKC", name) == name
        return f".{name}" if attribute and not hasattr(type(self), name) else f"[{name!r}]"


class Expression(Frozen):
    """What `&`, `|` and `~` combine."""

    __slots__ = ()

    if TYPE_CHECKING:

        def to_dict(self) -> dict[str, Any]: ...

    def __and__(self, other: Member) -> And:
        return And(*_spread(And, self, other))

    def __rand__(self, other: Member) -> And:
        return And(*_spread(And, other, self))

    def __or__(self, other: Member) -> Or:
        return Or(*_spread(Or, self, other))

    def __ror__(self, other: Member) -> Or:
        return Or(*_spread(Or, other, self))

    def __invert__(self) -> Condition | Group:
        return Not(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Expression):
            return NotImplemented
        return self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(frozenset(self.to_dict()))

    def __bool__(self) -> NoReturn:
        raise QueryError(
            f"{self!r}: a condition has no truth value, so `and`, `or`, `not`, `if` and 1 < Q.a < 5 "
            f"cannot work; use & | ~ and {PARENTHESES}"
        )


class Condition(Expression):
    """A test of one field, made by comparing a `Path`; without a path, of an item in `ElemMatch`."""

    __slots__ = ("_call", "_field", "_test")
    _field: Field
    _test: dict[str, Any]
    _call: str

    def __init__(self, field: Field, test: Mapping[str, Any], call: str = "") -> None:
        object.__setattr__(self, "_field", field)
        object.__setattr__(self, "_test", dict(test))
        # How the user wrote it, where the operators alone would read differently.
        object.__setattr__(self, "_call", call)

    def to_dict(self) -> dict[str, Any]:
        """Return a new dict, ready for PyMongo: `{path: {operator: value}}`."""
        path = str(self._field)
        test: dict[str, Any] = plain(self._test, path)
        if not path:
            return test
        if len(test) == 1 and "$eq" in test:
            value = test["$eq"]
            # Any other kind of value might be encoded as a document, and a server would take one
            # that starts with a dollar for an operator.
            if type(value) in SCALARS or type(value) is list:
                return {path: value}
        return {path: test}

    def __reduce__(self) -> tuple[Any, ...]:
        return Condition, (self._field, self._test, self._call)

    def __repr__(self) -> str:
        path = repr(self._field)
        operator, value = next(iter(self._test.items()))
        if operator == "$not":
            return f"~({Condition(self._field, value, self._call)!r})"
        if self._call:
            return f"{path}.{self._call}"
        if len(self._test) > 1 or operator not in _INFIX.keys() | _NAMED.keys():
            return f"Condition({path}, {self._test!r})"
        shown = _brief(value)
        if operator in _INFIX:
            return f"{path} {_INFIX[operator]} {shown}"
        return f"{path}.{_NAMED[operator]}({shown})"


class Group(Expression):
    """Conditions joined by And, Or or Nor."""

    __slots__ = ("conditions",)
    conditions: tuple[Member, ...]
    operator: ClassVar[str] = ""
    _sign: ClassVar[str] = ""

    def __init__(self, *conditions: Member) -> None:
        name = type(self).__name__
        if not conditions:
            raise QueryError(f"{name}: expected at least one condition, got none")
        members = tuple(
            item if isinstance(item, Expression) else _query(_filter_dict(item, name), "")
            for item in conditions
        )
        if not isinstance(self, And):
            for member in members:
                _refuse_order(member, name)
        object.__setattr__(self, "conditions", members)

    def to_dict(self) -> dict[str, Any]:
        """Return a new dict, ready for PyMongo: `{operator: [...]}`."""
        return {
            self.operator: [
                item.to_dict() if isinstance(item, Expression) else plain(item, "")
                for item in self.conditions
            ]
        }

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.conditions

    def __repr__(self) -> str:
        # A dict has no `&`, and `&` would dissolve a group of the same kind.
        infix = all(
            isinstance(item, Expression) and not isinstance(item, type(self))
            for item in self.conditions
        )
        if not self._sign or not infix or len(self.conditions) < 2:
            return f"{type(self).__name__}({', '.join(map(repr, self.conditions))})"
        return f" {self._sign} ".join(f"({item!r})" for item in self.conditions)


class And(Group):
    """Match what meets all conditions."""

    __slots__ = ()
    operator = "$and"
    _sign = "&"


class Or(Group):
    """Match what meets at least one condition."""

    __slots__ = ()
    operator = "$or"
    _sign = "|"


class Nor(Group):
    """Match what meets none of the conditions."""

    __slots__ = ()
    operator = "$nor"


#: What can be combined.
Member: TypeAlias = Expression | Mapping[str, Any]

#: What every `filter` parameter takes; None means all documents.
Filter: TypeAlias = Condition | Group | Mapping[str, Any] | None


def Not(condition: Member) -> Condition | Group:
    """Match what does not meet the condition, documents without the field included.

    >>> from loom.frames.queries import Q
    >>> Not(Q.gold > 5).to_dict()
    {'gold': {'$not': {'$gt': 5}}}
    >>> (~((Q.gold > 5) | (Q.name == "Burt"))).to_dict()
    {'$nor': [{'gold': {'$gt': 5}}, {'name': 'Burt'}]}
    """
    _refuse_order(condition, "Not")
    if isinstance(condition, Condition):
        test = condition._test
        return Condition(condition._field, test.get("$not", {"$not": test}), condition._call)
    if isinstance(condition, Nor):
        return Or(*condition.conditions)
    if isinstance(condition, Or):
        return Nor(*condition.conditions)
    return Nor(condition if isinstance(condition, Group) else _filter_dict(condition, "Not"))


def to_filter(filter: Filter, *, empty: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return `filter` as a new plain dict for PyMongo; what was passed is never changed.

    Conditions may stand anywhere in the dict; frames become their `_id`, sub-frames their dict,
    sets and tuples lists.

    Args:
        empty: the filter that None stands for, by default the one that matches everything.

    Raises:
        QueryError: anything that is not a filter; it never means everything.
        MissingId: a frame in it has no `_id`; the message names the path.
    """
    if filter is None:
        return _query(empty, "") if empty else {}
    if isinstance(filter, Expression):
        return _with_paths(filter).to_dict()
    if type(filter) is dict:
        # The everyday case: names, and values with nothing to compile in them.
        for name, value in filter.items():
            if type(name) is not str or name[:1] == "$" or type(value) not in SCALARS:
                break
        else:
            return dict(filter)
    return _query(_filter_dict(filter, "filter"), "")


def check(path: str) -> None:
    """Raise QueryError unless `path` can name a field."""
    first = split(path)[0]
    # Text from outside used as a name must not reach operators such as $where.
    if first.startswith("$") and first not in _DBREF:
        raise QueryError(
            f"Q: expected the name of a field, got {path!r}; write operators in a dict"
        )


def is_hidden(name: str) -> bool:
    """Tell the names that Python, copy, pickle and notebooks ask any object for."""
    return name.startswith("__") or name[:1] == name[-1:] == "_" != name


def _query(filter: Mapping[Any, Any], place: str) -> dict[str, Any]:
    """Compile a filter written as a dict."""
    result: dict[str, Any] = {}
    for name, value in filter.items():
        key = str(name) if isinstance(name, Field) else name
        if not isinstance(key, str) or key in result:
            problem = "each field once" if isinstance(key, str) else "names of fields as keys"
            raise QueryError(f"{place or 'filter'}: expected {problem}, got {name!r}")
        here = at(place, key)
        if key in GROUPS:
            if not isinstance(value, (list, tuple, AbstractSet)):
                raise QueryError(f"{here}: expected a list of conditions, got {value!r}")
            result[key] = [
                _with_paths(item).to_dict()
                if isinstance(item, Expression)
                else _query(_filter_dict(item, here), place)
                for item in value
            ]
        elif key == "$expr":
            result[key] = plain(_with_fields(value), here)
        else:
            result[key] = plain(value, here) if key[:1] == "$" else _predicate(value, here)
    return result


def _predicate(value: Any, place: str) -> Any:
    """Compile what stands beside the name of a field."""
    if type(value) in SCALARS:
        return value
    if isinstance(value, Condition) and not str(value._field):
        return value.to_dict()
    if isinstance(value, (re.Pattern, Regex)):
        return patterns.matching(value, False, place)
    if isinstance(value, Mapping):
        return _operators(value, place) if tests_value(value) else plain(value, place)
    stored = plain(value, place)
    # A sub-frame or an _id is a value, whatever it holds.
    return {"$eq": stored} if isinstance(stored, dict) and tests_value(stored) else stored


def _operators(test: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Compile `{'$gt': 5, ...}`."""
    result: dict[str, Any] = {}
    for operator, value in test.items():
        here = at(place, operator)
        if operator == "$not":
            result[operator] = _predicate(value, here)
        elif operator == "$elemMatch":
            result[operator] = element([value], here)
        elif operator == "$all" and isinstance(value, (list, tuple, AbstractSet)):
            result[operator] = [all_item(item, here) for item in value]
        elif operator == "$regex" and isinstance(value, (re.Pattern, Regex)):
            result |= patterns.matching(value, False, here)
        else:
            result[operator] = plain(value, here)
    return result


def all_item(item: Any, place: str) -> Any:
    """Compile an item of the list beside `$all`, which may be an `$elemMatch`."""
    if isinstance(item, Condition) and not str(item._field):
        return item.to_dict()
    if isinstance(item, Mapping) and next(iter(item), None) == "$elemMatch":
        return _operators(item, place)
    return plain(item, place)


def element(conditions: Iterable[Any], place: str) -> dict[str, Any]:
    """Compile the conditions on one item of a list; none of them replaces another."""
    merged: dict[str, Any] = {}
    apart: list[dict[str, Any]] = []
    kinds = set()
    for part in _spread(And, *conditions):
        if isinstance(part, Condition):
            document = part.to_dict()
        elif isinstance(part, Group):
            document = _with_paths(part).to_dict()
        else:
            document = _operators(part, place) if tests_value(part) else _query(part, "")
        kinds.add(tests_value(document))
        if not _join(merged, document):
            apart.append(document)
    if len(kinds) > 1 or (True in kinds and apart):
        raise QueryError(
            f"{place}: expected conditions on fields of an item, or on the item itself, each kind "
            f"once (Q >= 80, Q < 85, NotIn(Q, ...)), got {list(conditions)!r}"
        )
    if apart:
        merged["$and"] = merged.get("$and", []) + apart
    return merged


def _join(target: dict[str, Any], source: dict[str, Any]) -> bool:
    """Add `source` to `target` if nothing in it has to give way."""
    joined = {}
    for key, new in source.items():
        if key in target:
            old = target[key]
            tests = all(isinstance(test, dict) and tests_value(test) for test in (old, new))
            if not tests or old.keys() & new.keys():
                return False
            new = old | new
        joined[key] = new
    target.update(joined)
    return True


def _with_fields(value: Any) -> Any:
    """Replace paths in an aggregation expression by field references: `Q.a` by `'$a'`."""
    if isinstance(value, Field):
        return f"${value}"
    if isinstance(value, (list, tuple)):
        return [_with_fields(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _with_fields(item) for key, item in value.items()}
    return value


def _with_paths(expression: Expression) -> Expression:
    """Return the expression if all its conditions have a path."""
    if isinstance(expression, Condition) and not str(expression._field):
        raise QueryError(
            f"{expression!r}: no path; write Q.name, or put it into ElemMatch, joined by & alone"
        )
    if isinstance(expression, Group):
        for item in expression.conditions:
            if isinstance(item, Expression):
                _with_paths(item)
    return expression


def tests_value(document: Mapping[Any, Any]) -> bool:
    """Tell `{'$gt': 5}`, a test of a value, from a document and from a filter."""
    first = next(iter(document), "")
    return isinstance(first, str) and first[:1] == "$" and first not in _DBREF | _TOP_LEVEL


def _refuse_order(member: Any, place: str) -> None:
    """Refuse what sorts, which has an effect only where all that matches meets it."""
    if isinstance(member, And):
        for inner in member.conditions:
            _refuse_order(inner, place)
    elif isinstance(member, Condition) and "$nearSphere" in member._test:
        path = repr(member._field)
        raise QueryError(
            f"{place}: expected conditions without order, got {member!r}, which sorts by distance; "
            f"write {path}.within(point, metres)"
        )


def _spread(kind: type[Group], *members: Any) -> Iterator[Any]:
    for member in members:
        if isinstance(member, kind):
            yield from member.conditions
        elif isinstance(member, (Expression, Mapping)):
            yield member
        else:
            raise QueryError(
                f"{kind.__name__}: expected a condition, got {member!r}; {PARENTHESES}"
            )


def _filter_dict(value: Any, place: str) -> Mapping[str, Any]:
    """Return `value` if it can be a filter, else raise QueryError with a way out."""
    if isinstance(value, Mapping):
        return value
    got = f"{place}: expected a condition or a dict, got"
    if isinstance(value, bool):
        hint = "compare what Q names: Q.name == ..., or Q['size'] for a name that Q itself has"
        raise QueryError(f"{got} {value}, which Python made of a comparison; {hint}")
    if isinstance(value, MethodType):
        raise QueryError(f"{got} the method {value.__name__}; call it: Q.name.{value.__name__}()")
    if isinstance(value, Field):
        raise QueryError(f"{got} the path {value!r}; compare it, or call {value!r}.exists()")
    if isinstance(value, type):
        raise QueryError(f"{got} the class {value.__name__}; use None for all documents")
    if isinstance(value, (ObjectId, str)) or is_document(type(value)):
        raise QueryError(f"{got} {value!r}; to find a document by its _id use by_id")
    if isinstance(value, (list, tuple, AbstractSet)):
        raise QueryError(f"{got} {value!r}; join conditions with And(*conditions)")
    raise QueryError(f"{got} {value!r} of type {type(value).__name__}")


def _brief(value: Any) -> str:
    if isinstance(value, list) and len(value) > 20:
        shown = ", ".join(map(repr, value[:10]))
        return f"[{shown}, ... {len(value) - 10:,} more]"
    return repr(value)
