"""Upgrades: documents of an older form, brought to the one that a class has today.

A class says in which form it writes, `_schema_version = 3`, and how an older document gets there::

    class Dragon(Frame):
        _schema_version = 3

        first: str
        last: str

        @staticmethod
        def _upgrade(document, version):
            if version < 2:
                document["last"] = document.pop("surname", None)
            if version < 3:
                document["first"] = document.pop("name", None)

`_upgrade` gets the whole document as it is stored, and the number of its form: 0 when it has none.
It changes the document in place, or returns another one. It must do nothing else: it can be called
more than once for a document, in several processes.

A document is upgraded when it is loaded, in memory only. Before something is written to it, the
stored one is upgraded too, as long as nobody else has changed it since it was looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ProjectionError, SchemaVersionError
from .chunks import documents_by_id
from .events import add_note
from .fetching import fetches_the_rest
from .forms import SCHEMA_VERSION, version_of
from .plans import Plan
from .port import Documents, Port
from .tracking import copied

__all__ = [
    "brought",
    "upgraded",
]

Document = dict[str, Any]


def upgraded(cls: Any, document: Document) -> Document:
    """Return a whole document in the form of its class; one that has it already as it is.

    Args:
        cls: a Frame class; of several kinds that of the document is asked.
        document: as it is stored or was dumped; changed.

    Raises:
        SchemaVersionError: `_upgrade` gave something else than a document.

    >>> from loom import Frame
    >>> class Dragon(Frame):
    ...     _schema_version = 2
    ...     gold: int
    ...     @staticmethod
    ...     def _upgrade(document, version):
    ...         document["gold"] = document.pop("coins", 0)
    >>> upgraded(Dragon, {"_id": 1, "coins": 5})
    {'_id': 1, 'gold': 5, '_schema_version': 2}
    """
    if cls._kinds is not None:
        cls = cls._kinds.class_of(cls, document)
    number, upgrade = cls._schema_version, cls._upgrade
    if number is None or upgrade is None:
        return document
    version = version_of(cls, document)
    if version >= number:
        return document
    has_id, id = "_id" in document, document.get("_id")
    try:
        made = upgrade(document, version)
    except Exception as error:
        add_note(error, f"{cls.__name__}._upgrade: raised for _id={id!r} of version {version}")
        raise
    made = document if made is None else made
    if not isinstance(made, dict):
        raise SchemaVersionError(
            f"{cls.__name__}._upgrade: expected None or a dict to be returned, got {made!r} of "
            f"type {type(made).__name__}"
        )
    if ("_id" in made) != has_id or made.get("_id") != id:
        raise SchemaVersionError(
            f"{cls.__name__}._upgrade: expected the document to keep _id={id!r}, got "
            f"{made.get('_id')!r}; an _id does not change"
        )
    made[SCHEMA_VERSION] = number
    return made


# Reading


async def brought(
    port: Port, plan: Plan, documents: Documents, options: Mapping[str, Any]
) -> Documents:
    """Return documents that were fetched by a plan, those of an older form upgraded.

    What was fetched in part is fetched whole for it, all of them in one query; afterwards they
    hold what the plan asks for. Who was deleted between the queries is left out.
    """
    cls = plan.frame_class
    number = cls._schema_version
    old = [
        at
        for at, found in enumerate(documents)
        if found.get(SCHEMA_VERSION) != number and version_of(cls, found) < number
    ]
    if not old:
        return documents
    whole: list[Document | None] = [documents[at] for at in old]
    if plan.driver is not None:
        ids = [documents[at]["_id"] for at in old]
        whole = await documents_by_id(port, cls, ids, None, options)
    result: list[Document | None] = [*documents]
    for at, found in zip(old, whole, strict=True):
        if found is None:
            result[at] = None
            continue
        shown = _seen(plan, documents[at], found)
        if shown is not documents[at]:  # in its place: others know the dict that was fetched
            shown = dict(shown)
            documents[at].clear()
            documents[at].update(shown)
    return [document for document in result if document is not None]


def _seen(plan: Plan, fetched: Document, whole: Document) -> Document:
    """Return what a plan shows of a document once it is upgraded."""
    driver = plan.driver
    if driver is None:
        return upgraded(plan.frame_class, whole)
    paths = {path: value for path, value in driver.items() if isinstance(value, bool)}
    computed = {path.partition(".")[0]: path for path in driver.keys() - paths.keys()}
    before = {name: copied(whole[name]) for name in computed if name in whole}
    document = upgraded(plan.frame_class, whole)
    shown = _projected(document, paths, fetches_the_rest(driver))
    for name, path in computed.items():
        if before.get(name) != document.get(name):
            raise ProjectionError(
                f"{plan.frame_class.__name__}.{path}: expected a field that its upgrade leaves as "
                f"it is, because the server computes something of it, got {name!r} changed by "
                f"_upgrade in _id={document.get('_id')!r}; migrate() the collection first, or "
                "fetch the field whole"
            )
        shown.pop(name, None)
        if name in fetched:
            shown[name] = fetched[name]
    return shown


def _projected(document: Document, paths: Mapping[str, bool], keeps_the_rest: bool) -> Document:
    """Return what plain inclusions or exclusions leave of a document."""
    tree: dict[str, Any] = {}
    for path, is_included in paths.items():
        if is_included == keeps_the_rest and path != "_id":
            continue
        if path == "_id" and is_included:
            continue
        level = tree
        *parents, last = path.split(".")
        for name in parents:
            level = level.setdefault(name, {})
        level[last] = {}
    shown: Document
    shown = _without(document, tree) if keeps_the_rest else _only(document, {**tree, "_id": {}})
    return shown


def _only(value: Any, tree: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [_only(member, tree) for member in value if isinstance(member, (dict, list))]
    return {
        key: _only(inner, tree[key]) if tree[key] else inner
        for key, inner in value.items()
        if key in tree and (not tree[key] or isinstance(inner, (dict, list)))
    }


def _without(value: Any, tree: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [_without(member, tree) for member in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _without(inner, tree[key]) if key in tree else inner
        for key, inner in value.items()
        if key not in tree or tree[key]
    }
