"""What documents say of themselves: the kind that they are of, and the form that they have.

Both are written by themselves: the kind where several classes share a collection (`_kind_field`),
the form where a class has a `_schema_version`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import QueryError, SchemaVersionError

__all__ = [
    "SCHEMA_VERSION",
    "in_form",
    "is_in_form",
    "is_marked",
    "mark",
    "other_form",
    "own_fields",
    "refuse_change",
    "version_of",
    "with_marks",
]

#: Holds the number of a document's form.
SCHEMA_VERSION = "_schema_version"


def is_marked(cls: Any) -> bool:
    """Tell whether the documents of a class say something of themselves."""
    return cls._kinds is not None or cls._schema_version is not None


def version_of(cls: Any, document: Mapping[str, Any]) -> int:
    """Return the number of a document's form: 0 when it has none.

    Raises:
        SchemaVersionError: something else than a whole number stands there.
    """
    number = document.get(SCHEMA_VERSION, 0)
    if number is None:
        return 0
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if not isinstance(number, int) or isinstance(number, bool):
        raise SchemaVersionError(
            f"{cls.__name__}.{SCHEMA_VERSION}: expected a whole number, got {number!r} in the "
            f"document with _id={document.get('_id')!r}"
        )
    return number


def mark(frame: Any) -> None:
    """Have the document of a new frame say what it is.

    Raises:
        FieldError: it says it is of another kind.
        SchemaVersionError: it says it has another form.
    """
    cls, document = type(frame), frame._document
    if cls._kinds is not None:
        cls._kinds.mark(cls, document)
    if cls._schema_version is None:
        return
    if document.get(SCHEMA_VERSION) is None:
        document[SCHEMA_VERSION] = cls._schema_version
    elif version_of(cls, document) != cls._schema_version:
        raise SchemaVersionError(
            f"{cls.__name__}.insert: expected a document with {SCHEMA_VERSION}="
            f"{cls._schema_version}, got {document[SCHEMA_VERSION]!r}; bring an older one to it by "
            f"upgraded({cls.__name__}, document)"
        )


def with_marks(cls: Any, change: dict[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return an update document that has a document say what it is, if the update inserts one."""
    if not options.get("upsert") or not is_marked(cls):
        return change
    marks: dict[str, Any] = {}
    if cls._kinds is not None:
        marks[cls._kinds.field] = cls._kind
    if cls._schema_version is not None:
        marks[SCHEMA_VERSION] = cls._schema_version
    return {**change, "$setOnInsert": marks}


def own_fields(cls: Any, document: Mapping[str, Any], operation: str) -> set[str | None]:
    """Return the fields that an update of a frame does not write as others.

    Raises:
        FieldError: the kind of the document was changed.
    """
    own = {cls._version}
    if cls._kinds is not None:
        cls._kinds.check(cls, document, operation)
        own.add(cls._kinds.field)
    if cls._schema_version is not None:
        own.add(SCHEMA_VERSION)
    return own - {None}


def refuse_change(cls: Any, path: str, place: str) -> None:
    """Refuse a path to what a document says of itself.

    Raises:
        QueryError: it is one.
    """
    root = path.partition(".")[0]
    if cls._kinds is not None and root == cls._kinds.field:
        raise QueryError(
            f"{place}: expected fields that are written, got {path!r}, which tells the class of a "
            "document; change the kind of a stored document by get_collection()"
        )
    if cls._schema_version is not None and root == SCHEMA_VERSION:
        raise QueryError(
            f"{place}: expected fields that are written, got {path!r}, which is written by "
            "itself; leave it out"
        )


# Filters


def _upgrades(cls: Any) -> bool:
    """Tell whether documents of a class, or of a kind below it, are upgraded."""
    below = () if cls._kinds is None else cls._kinds.below(cls)
    return any(one._upgrade is not None for one in (cls, *below))


def in_form(cls: Any) -> dict[str, Any]:
    """Return what a document must be to be written by a class as it is.

    One of a newer form never is; one of an older form is, where nothing upgrades it.
    """
    number = cls._schema_version
    return {SCHEMA_VERSION: number if _upgrades(cls) else {"$not": {"$gt": number}}}


def other_form(cls: Any) -> dict[str, Any]:
    """Return what finds all other documents."""
    number = cls._schema_version
    return {SCHEMA_VERSION: {"$ne": number} if _upgrades(cls) else {"$gt": number}}


def is_in_form(cls: Any, document: Mapping[str, Any]) -> bool:
    """Tell whether a document is what `in_form` finds."""
    number = version_of(cls, document)
    return bool(
        number == cls._schema_version or (number < cls._schema_version and not _upgrades(cls))
    )
