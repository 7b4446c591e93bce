"""Loom: a lightweight, Frame-style object mapper for MongoDB.

>>> import loom
>>> class Dragon(loom.Frame):
...     name: str
>>> Dragon(name="Burt")
Dragon(name='Burt')
"""

from . import aio
from .connection import Connection, close, connect
from .errors import (
    BulkError,
    Conflict,
    DefinitionError,
    Duplicate,
    EncodeError,
    FieldError,
    Gone,
    IndexConflict,
    ListenerError,
    LoomError,
    MissingExtra,
    MissingId,
    NotConnected,
    NotFound,
    PageError,
    ProjectionError,
    QueryError,
    ReadOnly,
    Restricted,
    SchemaVersionError,
    TransactionError,
)
from .frames import Frame, Missing, Q, SubFrame, default, fld
from .frames.events import muted
from .frames.marks import IncrCounter, Ref, StrLower, StrUpper, TimeInserted, TimeUpdated
from .switches import read_only, using
from .transactions import transaction, with_transaction

__version__ = "3.0.0a1"

__all__ = [
    "BulkError",
    "Conflict",
    "Connection",
    "DefinitionError",
    "Duplicate",
    "EncodeError",
    "FieldError",
    "Frame",
    "Gone",
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
    "ProjectionError",
    "Q",
    "QueryError",
    "ReadOnly",
    "Ref",
    "Restricted",
    "SchemaVersionError",
    "StrLower",
    "StrUpper",
    "SubFrame",
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
