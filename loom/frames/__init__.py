"""Frames, sub-frames and queries.

`from loom.frames import *` gives what `from mongoframes import *` gave.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from pymongo import ASCENDING as ASC
from pymongo import DESCENDING as DESC
from pymongo import GEOSPHERE, TEXT, IndexModel
from pymongo.collation import Collation

from .document import SubFrame
from .fields import default
from .frame import Frame
from .missing import Missing
from .queries import (
    All,
    And,
    Condition,
    ElemMatch,
    Exists,
    Group,
    In,
    Nor,
    Not,
    NotIn,
    Or,
    Q,
    Size,
    SortBy,
    Type,
    fld,
    to_refs,
)

if TYPE_CHECKING:
    from .paginator import InvalidPage, Page, Paginator
    from .stages import AggregationStages

__all__ = [
    "ASC",
    "DESC",
    "GEOSPHERE",
    "TEXT",
    "AggregationStages",
    "All",
    "And",
    "Collation",
    "Condition",
    "ElemMatch",
    "Exists",
    "Frame",
    "Group",
    "In",
    "IndexModel",
    "InvalidPage",
    "Missing",
    "Nor",
    "Not",
    "NotIn",
    "Or",
    "Page",
    "Paginator",
    "Q",
    "Size",
    "SortBy",
    "SubFrame",
    "Type",
    "default",
    "fld",
    "to_refs",
]

#: Names that are imported when they are first asked for, and where they are.
_LATER = {
    "AggregationStages": "loom.frames.stages",
    "InvalidPage": "loom.frames.paginator",
    "Page": "loom.frames.paginator",
    "Paginator": "loom.frames.paginator",
}

if not TYPE_CHECKING:  # which would take every other name for one of these

    def __getattr__(name):
        module = _LATER.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(module), name)
