"""Loom: a lightweight, Frame-style object mapper for MongoDB.

>>> import loom
>>> class Dragon(loom.Frame):
...     name: str
>>> Dragon(name="Burt")
Dragon(name='Burt')
"""

from importlib import import_module
from typing import TYPE_CHECKING

from . import aio
from .connection import Connection, close, connect
from .errors import (
    BulkError,
    CollectionConflict,
    Conflict,
    DefinitionError,
    DeriveError,
    Duplicate,
    EncodeError,
    FieldError,
    Gone,
    HistoryLost,
    IndexConflict,
    ListenerError,
    LoomError,
    MissingExtra,
    MissingId,
    NotConnected,
    NotFound,
    PageError,
    PartitionError,
    ProjectionError,
    QueryError,
    ReadOnly,
    Restricted,
    RowsError,
    SchemaError,
    SchemaVersionError,
    TimeFrameError,
    TransactionError,
)
from .frames import Frame, Missing, Q, SubFrame, default, fld
from .frames.events import muted
from .frames.marks import IncrCounter, Ref, StrLower, StrUpper, TimeInserted, TimeUpdated
from .switches import read_only, using
from .transactions import transaction, with_transaction

if TYPE_CHECKING:
    from .frames.stages import AggregationStages

__version__ = "3.0.0a1"

__all__ = [
    "AggregationStages",
    "BulkError",
    "CollectionConflict",
    "Conflict",
    "Connection",
    "DefinitionError",
    "DeriveError",
    "Duplicate",
    "EncodeError",
    "FieldError",
    "Frame",
    "Gone",
    "HistoryLost",
    "IncrCounter",
    "IndexConflict",
    "ListenerError",
    "LoomError",
    "Missing",
    "MissingExtra",
    "MissingId",
    "NotConnected",
    "NotFound",
    "PageError",
    "PartitionError",
    "ProjectionError",
    "Q",
    "QueryError",
    "ReadOnly",
    "Ref",
    "Restricted",
    "RowsError",
    "SchemaError",
    "SchemaVersionError",
    "StrLower",
    "StrUpper",
    "SubFrame",
    "TimeFrameError",
    "TimeInserted",
    "TimeUpdated",
    "TransactionError",
    "aio",
    "close",
    "connect",
    "default",
    "fld",
    "muted",
    "read_only",
    "transaction",
    "using",
    "with_transaction",
]

#: Names that are imported when they are first asked for, and where they are.
_LATER = {"AggregationStages": "loom.frames.stages"}

if not TYPE_CHECKING:  # which would take every other name for one of these

    def __getattr__(name):
        module = _LATER.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(module), name)
