"""Frames, sub-frames and queries.

`from loom.frames import *` gives what `from mongoframes import *` gave.
"""

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

__all__ = [
    "ASC",
    "DESC",
    "GEOSPHERE",
    "TEXT",
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
    "Missing",
    "Nor",
    "Not",
    "NotIn",
    "Or",
    "Q",
    "Size",
    "SortBy",
    "SubFrame",
    "Type",
    "default",
    "fld",
    "to_refs",
]
