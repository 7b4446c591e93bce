"""Loom: a lightweight, Frame-style object mapper for MongoDB.

>>> import loom
>>> class Dragon(loom.Frame):
...     name: str
>>> Dragon(name="Burt")
Dragon(name='Burt')
"""

from . import aio
from .connection import Connection, close, connect, using
from .errors import (
    BulkError,
    DefinitionError,
    Duplicate,
    EncodeError,
    FieldError,
    Gone,
    ListenerError,
    LoomError,
    MissingExtra,
    MissingId,
    NotConnected,
    NotFound,
    ProjectionError,
    QueryError,
)
from .frames import Frame, Missing, Q, SubFrame, default, fld
from .frames.events import muted

__version__ = "3.0.0a1"

__all__ = [
    "BulkError",
    "Connection",
    "DefinitionError",
    "Duplicate",
    "EncodeError",
    "FieldError",
    "Frame",
    "Gone",
    "ListenerError",
    "LoomError",
    "Missing",
    "MissingExtra",
    "MissingId",
    "NotConnected",
    "NotFound",
    "ProjectionError",
    "Q",
    "QueryError",
    "SubFrame",
    "aio",
    "close",
    "connect",
    "default",
    "fld",
    "muted",
    "using",
]
