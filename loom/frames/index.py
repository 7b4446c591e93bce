"""Index: one index of a collection, as a class declares it in `_indexes`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, ClassVar, Literal, TypeAlias

from pymongo.collation import Collation

from .conditions import Field, Filter
from .index_checks import (
    CASE_INSENSITIVE,
    Keys,
    check_flags,
    check_options,
    check_together,
    default_name,
    is_wildcard,
    read_collation,
    read_keys,
    read_name,
    read_partial,
    read_ttl,
)
from .values import Frozen, to_refs

__all__ = ["CASE_INSENSITIVE", "Index", "Key", "Kind"]

Kind: TypeAlias = Literal["2d", "2dsphere", "hashed", "text", "wildcard"]

#: What an index takes as a key: `"name"`, `"-created"`, `Q.lair.gold`, `("loc", "2dsphere")`.
Key: TypeAlias = str | Field | tuple[str | Field, int | str]

#: Settings that the server has other names for, or does not know.
_OWN = ("case_insensitive", "collation", "optional", "partial", "ttl")


class Index(Frozen):
    """An index; declared in `_indexes` and built only by `indexes.ensure`.

    Args:
        keys: paths (`"email"`, `"lair.name"`, `Q.lair.name`), `"-created"` for descending, or
            pairs as for PyMongo (`("loc", "2dsphere")`).
        kind: of the keys that do not say it: `"2dsphere"`, `"2d"`, `"text"`, `"hashed"`, or
            `"wildcard"`, which indexes all that is below the path; without a path, everything.
        unique: refuse documents with the same values; they raise Duplicate.
        sparse: leave out documents that have none of the fields.
        optional: be unique only among the documents that have all the fields. Null is a value:
            two documents may lack the field, but not both hold null.
        partial: index only the documents that match this filter.
        ttl: delete a document when this long has passed since the datetime in its field: seconds
            or a timedelta.
        name: by default made of the keys, as MongoDB does.
        collation: how text is compared and ordered, as for PyMongo.
        case_insensitive: take ANN for Ann, by the locale of `collation` or else English. Queries
            of the class that compare the first field with text do the same then.
        hidden: keep the index up to date, but let no query use it.
        options: further ones, as the server names them: `weights`, `default_language`,
            `language_override`, `wildcardProjection`, `bits`, `min`, `max`, ...

    Raises:
        DefinitionError: an index that cannot be built.

    >>> Index("x", "-y", unique=True, optional=True)
    Index('x', '-y', unique=True, optional=True)
    >>> Index("expires", ttl=timedelta(days=1)).to_dict()
    {'key': {'expires': 1}, 'name': 'expires_1', 'expireAfterSeconds': 86400}
    """

    __slots__ = ("_settings", "is_named", "keys", "name")

    _is_index: ClassVar[bool] = True

    #: paths with their directions (1, -1) or kinds
    keys: Keys
    name: str
    #: the name was given, and is not the usual one
    is_named: bool
    _settings: dict[str, Any]

    def __init__(
        self,
        *keys: Key,
        kind: Kind | None = None,
        unique: bool = False,
        sparse: bool = False,
        optional: bool = False,
        partial: Filter = None,
        ttl: int | timedelta | None = None,
        name: str | None = None,
        collation: Collation | Mapping[str, Any] | None = None,
        case_insensitive: bool = False,
        hidden: bool = False,
        **options: Any,
    ) -> None:
        place = f"Index({', '.join(map(repr, keys))})"
        flags = {
            "unique": unique,
            "sparse": sparse,
            "optional": optional,
            "case_insensitive": case_insensitive,
            "hidden": hidden,
        }
        check_flags(place, flags)
        check_options(place, options, [*flags, *_OWN, "kind", "name"])
        values: dict[str, Any] = {
            "partial": read_partial(place, partial),
            "ttl": read_ttl(place, ttl),
            "collation": read_collation(place, collation, case_insensitive),
            **to_refs(options),
        }
        settings: dict[str, Any] = {flag: True for flag, value in flags.items() if value}
        settings |= {option: value for option, value in values.items() if value is not None}
        found = read_keys(place, keys, kind)
        check_together(place, found, settings)
        self._set(found, read_name(place, name), settings)

    def _set(self, keys: Keys, name: str | None, settings: dict[str, Any]) -> None:
        usual = default_name(keys)
        object.__setattr__(self, "keys", keys)
        object.__setattr__(self, "name", name or usual)
        object.__setattr__(self, "is_named", name not in (None, usual))
        object.__setattr__(self, "_settings", settings)

    @classmethod
    def as_stored(cls, keys: Keys, name: str, settings: dict[str, Any]) -> Index:
        """Return an index as a server has it, even one that cannot be declared."""
        made: Index = object.__new__(cls)
        made._set(keys, name, settings)
        return made

    @property
    def fields(self) -> tuple[str, ...]:
        """The paths of the keys, in their order."""
        return tuple(path for path, _ in self.keys)

    @property
    def is_case_insensitive(self) -> bool:
        """Whether queries of the class carry the collation by themselves."""
        return "case_insensitive" in self._settings

    @property
    def collation(self) -> dict[str, Any] | None:
        """The collation, as PyMongo takes it, or None."""
        given = self._settings.get("collation")
        if self.is_case_insensitive:
            return {**CASE_INSENSITIVE, **(given or {})}
        return dict(given) if given else None

    def to_dict(self) -> dict[str, Any]:
        """Return a new dict, as the command createIndexes takes it."""
        settings = self._settings
        made: dict[str, Any] = {"key": dict(self.keys), "name": self.name}
        made |= {name: to_refs(value) for name, value in settings.items() if name not in _OWN}
        if "ttl" in settings:
            made["expireAfterSeconds"] = settings["ttl"]
        if "optional" in settings or "partial" in settings:
            made["partialFilterExpression"] = self._partial()
        collation = self.collation
        if collation:
            made["collation"] = collation
        return made

    def _partial(self) -> dict[str, Any]:
        partial: dict[str, Any] = to_refs(self._settings.get("partial", {}))
        if "optional" not in self._settings:
            return partial
        # Not sparse: a compound sparse index holds what has any of its fields, so that two
        # documents with the same x and without y would be duplicates. Not $type: a query uses a
        # partial index only if it implies the filter, and to the server `email == "..."` implies
        # that the field exists, but nothing about its type.
        present: dict[str, Any] = {path: {"$exists": True} for path in self.fields}
        if partial.keys() & present.keys():
            return {"$and": [present, partial]}
        return present | partial

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Index):
            return NotImplemented
        return (self.keys, self.name, self._settings) == (other.keys, other.name, other._settings)

    def __hash__(self) -> int:
        return hash((self.keys, self.name))

    def __reduce__(self) -> tuple[Any, ...]:
        return Index.as_stored, (self.keys, self.name, self._settings)

    def __repr__(self) -> str:
        return f"Index({', '.join([*self._shown_keys(), *self._shown_settings()])})"

    def _shown_keys(self) -> Iterator[str]:
        kinds = {kind for _, kind in self.keys}
        if len(self.keys) == 1 and is_wildcard(self.fields[0]) and kinds == {1}:
            path = self.fields[0].removesuffix("$**").removesuffix(".")
            if path:
                yield repr(path)
            yield "kind='wildcard'"
            return
        kind = next(iter(kinds), None)
        shared = kind if len(kinds) == 1 and isinstance(kind, str) else None
        for path, direction in self.keys:
            if direction in (1, shared):
                yield repr(path)
            else:
                yield repr(f"-{path}" if direction == -1 else (path, direction))
        if shared:
            yield f"kind={shared!r}"

    def _shown_settings(self) -> Iterator[str]:
        for option, value in self._settings.items():
            yield f"{option}={value!r}"
        if self.is_named:
            yield f"name={self.name!r}"
