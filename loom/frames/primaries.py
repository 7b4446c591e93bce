"""Reading from the primary, where a program must see what was written last."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pymongo import ReadPreference

from ..connection import with_options
from .port import Port

__all__ = ["on_primary"]


@contextmanager
def on_primary(port: Port, cls: Any) -> Iterator[None]:
    """Read a class from the primary inside the block: others may not have the last write yet."""
    if port.collection(cls).read_preference == ReadPreference.PRIMARY:
        yield
        return
    with with_options(cls, {"read_preference": ReadPreference.PRIMARY}):
        yield
