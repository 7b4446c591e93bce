"""Filters and sorts as Python expressions.

`Q.lair.gold > 5` is a `Condition`, `&`, `|` and `~` make a `Group` of conditions, and `to_filter`
turns either, or a plain dict that holds them anywhere, into what the driver takes. Paths,
conditions and groups are frozen: using one never changes it, nor anything that was put into it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NoReturn

from bson.regex import Regex

from ..errors import QueryError, nearest
from . import patterns
from .conditions import (
    PARENTHESES,
    And,
    Condition,
    Field,
    Filter,
    Group,
    Member,
    Nor,
    Not,
    Or,
    all_item,
    element,
    is_hidden,
    to_filter,
)
from .sorts import Sort, SortBy, to_sort
from .values import SCALARS, all_scalars, is_document, plain, to_refs

__all__ = [
    "All",
    "And",
    "Condition",
    "ElemMatch",
    "Exists",
    "Filter",
    "Group",
    "In",
    "Nor",
    "Not",
    "NotIn",
    "Or",
    "Path",
    "Q",
    "Size",
    "Sort",
    "SortBy",
    "Type",
    "fld",
    "to_filter",
    "to_refs",
    "to_sort",
]

_BOUNDS = {
    "left": ("$gte", "$lt"),
    "right": ("$gt", "$lte"),
    "both": ("$gte", "$lte"),
    "neither": ("$gt", "$lt"),
}


class Path(Field):
    """The path of a field; comparing it makes a condition.

    Attributes, items and numbers lead further down: `Q.lair.gold`, `Q['lair.gold']`, `Q.loot[0]`.
    A field that has the name of a method is reached as an item: `Q['size']`. `str(path)` is the
    dotted text.

    >>> Q.lair.gold > 5
    Q.lair.gold > 5
    >>> (Q.lair.gold > 5).to_dict()
    {'lair.gold': {'$gt': 5}}
    """

    __slots__ = ()

    # Without this, Python would iterate over [0], [1], ... for ever.
    __iter__: ClassVar[None] = None

    def __getattr__(self, name: str) -> Path:
        if name == "_path":
            raise AttributeError(name)
        if is_hidden(name):
            raise AttributeError(f"{self!r}: no attribute {name!r}; a field is Q[{name!r}]")
        return Path(f"{self._path}.{name}" if self._path else name)

    def __getitem__(self, name: str | int) -> Path:
        if isinstance(name, int) and not isinstance(name, bool) and name >= 0:
            name = str(name)
        if not isinstance(name, str) or not name:
            raise QueryError(f"{self!r}: expected a name or an index from 0 in [], got {name!r}")
        return Path(f"{self._path}.{name}" if self._path else name)

    def __call__(self, *args: Any, **kwargs: Any) -> Path:
        """Return the path written in the one argument: `Q('lair.gold')` is `Q.lair.gold`."""
        if self._path:
            name = self._path.rpartition(".")[2]
            hint = nearest(name, _METHODS)
            raise QueryError(f"{self!r}: a path has no method {name!r}{hint or ''}")
        if len(args) != 1 or kwargs or not isinstance(args[0], str) or not args[0]:
            raise QueryError("Q: expected one path, as in Q('lair.gold')")
        return Path(args[0])

    def __eq__(self, value: object) -> Condition:  # type: ignore[override]
        return _compare(self, "$eq", value)

    def __ne__(self, value: object) -> Condition:  # type: ignore[override]
        return _compare(self, "$ne", value)

    def __gt__(self, value: Any) -> Condition:
        return _compare(self, "$gt", value)

    def __ge__(self, value: Any) -> Condition:
        return _compare(self, "$gte", value)

    def __lt__(self, value: Any) -> Condition:
        return _compare(self, "$lt", value)

    def __le__(self, value: Any) -> Condition:
        return _compare(self, "$lte", value)

    # A class that defines __eq__ loses the hash of its parent.
    __hash__ = Field.__hash__

    def __bool__(self) -> NoReturn:
        raise QueryError(
            f"{self!r}: a path has no truth value; compare it, or ask {self!r}.exists()"
        )

    def __contains__(self, value: object) -> NoReturn:
        raise QueryError(
            f"{self!r}: `in` makes no condition; write {self!r} == value or .is_in(...)"
        )

    def _no_operand(self, other: object = None) -> NoReturn:
        raise QueryError(f"{self!r}: a path cannot be joined with & | ~; {PARENTHESES}")

    __and__ = __rand__ = __or__ = __ror__ = __invert__ = _no_operand

    def is_in(self, values: Iterable[Any]) -> Condition:
        """Match when the field, or an item of it, equals one of `values`."""
        return In(self, values)

    def not_in(self, values: Iterable[Any]) -> Condition:
        """Match when the field equals none of `values`, or is absent."""
        return NotIn(self, values)

    def all(self, values: Iterable[Any]) -> Condition:
        """Match when the field is a list that holds all of `values`."""
        return All(self, values)

    def elem_match(self, *conditions: Member) -> Condition:
        """Match when one item of the list meets all `conditions`."""
        return ElemMatch(self, *conditions)

    def exists(self, value: bool = True) -> Condition:
        """Match when the document has the field, a null one too."""
        return Exists(self, value)

    def is_null(self) -> Condition:
        """Match when the field is present and null (or a list that holds null).

        `== None` also matches a document without the field.
        """
        return Condition(self, {"$type": "null"}, "is_null()")

    def size(self, value: int) -> Condition:
        """Match when the field is a list of `value` items."""
        return Size(self, value)

    def type(self, value: str | int | Iterable[str | int]) -> Condition:
        """Match when the field holds this BSON type, or one of these: `"string"`, `"date"`, 16 ..."""
        return Type(self, value)

    def between(
        self,
        low: Any,
        high: Any,
        inclusive: Literal["left", "right", "both", "neither"] = "left",
    ) -> Condition:
        """Match `low <= value < high`; `inclusive` names the ends that belong to it.

        In a list, different items may meet the two ends; `elem_match` asks for one that meets both.
        """
        if inclusive not in _BOUNDS:
            raise QueryError(
                f"{self!r}.between: expected inclusive 'left', 'right', 'both' or 'neither', "
                f"got {inclusive!r}"
            )
        test: dict[str, Any] = {}
        for operator, bound in zip(_BOUNDS[inclusive], (low, high), strict=True):
            if bound is None:
                raise QueryError(
                    f"{self!r}.between: expected two ends, got None; compare with < or >="
                )
            test |= _compare(self, operator, bound)._test
        last = "" if inclusive == "left" else f", {inclusive!r}"
        return Condition(self, test, f"between({low!r}, {high!r}{last})")

    def startswith(self, text: str, *, ignore_case: bool = False) -> Condition:
        """Match text that begins with `text`, taken literally."""
        return _textual(self, "startswith", patterns.starting, text, ignore_case)

    def endswith(self, text: str, *, ignore_case: bool = False) -> Condition:
        """Match text that ends with `text`, taken literally."""
        return _textual(self, "endswith", patterns.ending, text, ignore_case)

    def contains(self, text: str, *, ignore_case: bool = False) -> Condition:
        """Match text that holds `text`, taken literally. For an item of a list use `==`."""
        return _textual(self, "contains", patterns.containing, text, ignore_case)

    def glob(self, text: str, *, ignore_case: bool = False) -> Condition:
        """Match the whole text: `*` is any text, `?` any character, `[a-z]` one, `[!a-z]` another.

        All else is literal. `glob.escape` of the standard library makes text from outside literal.
        """
        return _textual(self, "glob", patterns.globbing, text, ignore_case)

    def matches(
        self, pattern: str | re.Pattern[str] | Regex[Any], *, ignore_case: bool = False
    ) -> Condition:
        """Match a regular expression, as MongoDB understands it (PCRE).

        The flags I, M, S and X of a compiled pattern are sent along; others raise QueryError.
        """
        return _textual(self, "matches", patterns.matching, pattern, ignore_case)

    def near(
        self,
        point: Sequence[float] | Mapping[str, Any],
        *,
        max_distance: float | None = None,
        min_distance: float | None = None,
    ) -> Condition:
        """Match places around `point`, the nearest first; the field needs a 2dsphere index.

        It sorts, so that it cannot be counted, sorted otherwise, or put into an Or.

        Args:
            point: (longitude, latitude) in degrees, or a GeoJSON point.
            max_distance: in metres.
            min_distance: in metres.
        """
        from . import places  # when it is used

        test, call = places.near(point, max_distance, min_distance, f"{self!r}.near")
        return Condition(self, test, call)

    def within(self, point: Sequence[float] | Mapping[str, Any], distance: float) -> Condition:
        """Match places not further away from `point` than `distance`, in no order.

        Args:
            point: (longitude, latitude) in degrees, or a GeoJSON point.
            distance: in metres.
        """
        from . import places  # when it is used

        test, call = places.within(point, distance, f"{self!r}.within")
        return Condition(self, test, call)


_METHODS = frozenset(name for name in vars(Path) if not name.startswith("_"))


Q = Path()
fld = Q


def In(q: Path, value: Iterable[Any]) -> Condition:
    """Match when the field, or an item of it, equals one of the values."""
    return Condition(_path(q, "In"), {"$in": _values(value, q)})


def NotIn(q: Path, value: Iterable[Any]) -> Condition:
    """Match when the field equals none of the values, or is absent."""
    return Condition(_path(q, "NotIn"), {"$nin": _values(value, q)})


def All(q: Path, value: Iterable[Any]) -> Condition:
    """Match when the field is a list that holds all the values.

    `All(Q.loot, [ElemMatch(Q, ...), ElemMatch(Q, ...)])` asks for an item for each.
    """
    return Condition(_path(q, "All"), {"$all": _values(value, q, tests=True)})


def ElemMatch(q: Path, *conditions: Member) -> Condition:
    """Match when one item of the list meets all conditions.

    >>> ElemMatch(Q.loot, Q.value > 5, Q.name == "cup").to_dict()
    {'loot': {'$elemMatch': {'value': {'$gt': 5}, 'name': 'cup'}}}
    >>> ElemMatch(Q.scores, Q >= 80, Q < 85).to_dict()
    {'scores': {'$elemMatch': {'$gte': 80, '$lt': 85}}}
    """
    if not conditions:
        raise QueryError(f"{q!r}.elem_match: expected at least one condition, got none")
    return Condition(_path(q, "ElemMatch"), {"$elemMatch": element(conditions, repr(q))})


def Exists(q: Path, value: bool = True) -> Condition:
    """Match when the document has the field (a null one too), or with False, when it does not."""
    path = _path(q, "Exists")
    if value not in (0, 1):
        raise QueryError(f"{q!r}.exists: expected True or False, got {value!r}")
    return Condition(path, {"$exists": bool(value)})


def Size(q: Path, value: int) -> Condition:
    """Match when the field is a list of this many items."""
    path = _path(q, "Size")
    if not _is_number(value) or value < 0 or value % 1:
        raise QueryError(f"{q!r}.size: expected a number of items, got {value!r}")
    return Condition(path, {"$size": int(value)})


def Type(q: Path, value: str | int | Iterable[str | int]) -> Condition:
    """Match when the field holds this BSON type, or one of these."""
    path = _path(q, "Type")
    kinds = value if isinstance(value, (str, int)) else _values(value, q)
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if not isinstance(kind, (str, int)) or isinstance(kind, bool):
            raise QueryError(f"{q!r}.type: expected a BSON type such as 'string', got {kind!r}")
    return Condition(path, {"$type": kinds})


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _path(q: Any, name: str) -> Path:
    if not isinstance(q, Path):
        raise QueryError(f"{name}: expected a path such as Q.name, got {q!r}")
    return q


def _compare(q: Path, operator: str, value: Any) -> Condition:
    if type(value) not in SCALARS:
        if isinstance(value, (re.Pattern, Regex)):
            if operator not in ("$eq", "$ne"):
                raise QueryError(f"{q!r}: a pattern has no order; compare it with == or !=")
            test = patterns.matching(value, False, repr(q))
            call = f"matches({value!r})"
            return Condition(q, test if operator == "$eq" else {"$not": test}, call)
        value = plain(value, q._path)
    return Condition(q, {operator: value})


def _textual(q: Path, name: str, pattern: Any, text: Any, ignore_case: bool) -> Condition:
    test = pattern(text, ignore_case, f"{q!r}.{name}")
    return Condition(q, test, f"{name}({text!r}{', ignore_case=True' if ignore_case else ''})")


def _values(values: Any, q: Path, tests: bool = False) -> list[Any]:
    """Return the items of any iterable; an array of NumPy or pandas gives Python's numbers."""
    if hasattr(type(values), "tolist"):
        values = values.tolist()
    wrong = isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable)
    if wrong or is_document(type(values)):
        raise QueryError(f"{q!r}: expected a list of values, got {values!r}; for one value use ==")
    items = list(values)
    if not tests or all_scalars(items):
        found: list[Any] = plain(items, q._path)
        return found
    return [_all_value(item, q) for item in items]


def _all_value(item: Any, q: Path) -> Any:
    if isinstance(item, Condition):
        return all_item(item, q._path)
    stored = plain(item, q._path)
    # $all is the one list in which a server takes a document for an operator.
    if isinstance(stored, dict) and next(iter(stored), None) == "$elemMatch":
        raise QueryError(f"{q!r}.all: expected values, got {item!r}; write ElemMatch(Q, ...)")
    return stored
