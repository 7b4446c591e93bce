"""Plans: what a projection fetches, and what is done with the documents that come."""

from __future__ import annotations

from typing import Any, Literal

__all__ = ["Child", "Node", "OnMissing", "PartialTree", "Plan", "Reference", "Reverse"]

OnMissing = Literal["keep", "none", "drop", "raise"]


class Reference:
    """One field whose ids are replaced by frames."""

    __slots__ = ("frame_class", "is_map", "key", "on_missing", "path", "plan")

    def __init__(
        self, path: str, frame_class: Any, plan: Plan, key: str, is_map: bool, on_missing: OnMissing
    ) -> None:
        self.path = path
        self.frame_class = frame_class
        self.plan = plan
        self.key = key
        self.is_map = is_map
        self.on_missing: OnMissing = on_missing


class Reverse:
    """A name under which the documents are put that refer to the one that has it.

    Attributes:
        name: where they are put.
        frame_class: theirs.
        plan: what is fetched of them.
        on: the path in them that refers to `key`.
        key: the field that they refer by.
        sort: their order, in PyMongo's form.
        limit: how many each document gets at most, None for all.
    """

    __slots__ = ("frame_class", "key", "limit", "name", "on", "plan", "sort")

    def __init__(
        self,
        name: str,
        frame_class: Any,
        plan: Plan,
        on: str,
        key: str,
        sort: list[tuple[str, Any]],
        limit: int | None,
    ) -> None:
        self.name = name
        self.frame_class = frame_class
        self.plan = plan
        self.on = on
        self.key = key
        self.sort = sort
        self.limit = limit


class Node:
    """What to do with the documents at one place of a projection.

    `references` and `children` go by the key of the document that they are found under.
    """

    __slots__ = ("children", "has_references", "path", "references")

    def __init__(self, path: str) -> None:
        self.path = path
        self.references: dict[str, Reference] = {}
        self.children: dict[str, Child] = {}
        self.has_references = False

    @property
    def is_empty(self) -> bool:
        """True when documents stay as they are."""
        return not self.references and not self.children


class Child:
    """Embedded documents under one key: how they are wrapped and what is inside.

    Attributes:
        frame_class: what wraps them, None for documents that stay dicts.
        is_map: the value is a dict of embedded documents, or of lists of them.
        node: what is done inside each of them; None for what the annotations of
            `frame_class` say, which may still become complete.
        named: what is done with single members of a map, by their key.
        is_declared: from an annotation: a value that does not fit stays as it is.
    """

    __slots__ = ("frame_class", "is_declared", "is_map", "named", "node")

    def __init__(
        self, frame_class: Any, is_map: bool, node: Node | None, is_declared: bool
    ) -> None:
        self.frame_class = frame_class
        self.is_map = is_map
        self.node = node
        self.named: Node | None = None
        self.is_declared = is_declared


#: Paths of which only a part was fetched: `{}` at a leaf, deeper paths inside.
PartialTree = dict[str, Any]


class Plan:
    """A compiled projection.

    Attributes:
        frame_class: the class of the frames it makes.
        projection: what it was compiled from.
        key: a field that is fetched in any case, because references go by it.
        driver: the projection that is sent, None for whole documents.
        node: references and sub-frames.
        reverses: what refers to the documents, and is to be put into them.
        partial: what was fetched only in part and is therefore never written whole.
        computed: paths among them that hold the result of an expression or a part of a list.
        has_keys: a reference is stored as another field than `_id`.
        kinds: by class, the plans of the kinds that documents can be of, beside the class itself.
        made_of: by class, its fields, resolved annotations and settings that the plan rests on.
        is_plain: documents are wrapped and nothing else.
        upgrades: those of an older form are upgraded first.
    """

    __slots__ = (
        "computed",
        "driver",
        "frame_class",
        "has_keys",
        "is_plain",
        "key",
        "kinds",
        "made_of",
        "node",
        "partial",
        "projection",
        "reverses",
        "upgrades",
    )

    def __init__(self, frame_class: Any, projection: dict[str, Any], key: str | None) -> None:
        self.frame_class = frame_class
        self.projection = projection
        self.key = key
        self.driver: dict[str, Any] | None = None
        self.node = Node("")
        self.reverses: list[Reverse] = []
        self.partial: PartialTree = {}
        self.computed: frozenset[str] = frozenset()
        self.has_keys = False
        self.kinds: dict[Any, Plan] = {}
        self.made_of: dict[Any, tuple[Any, Any, Any]] = {}
        self.is_plain = False
        self.upgrades = False

    @property
    def is_remembered(self) -> bool:
        """True when frames must know how they were loaded to be written back right."""
        return bool(self.partial or self.has_keys)
