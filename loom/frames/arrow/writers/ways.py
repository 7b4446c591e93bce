"""How rows are written: the one place of the options, with defaults, checks and words.

An option is named twice here, in `WriteOptions` for type checkers and in `Way`, which checks it, and
told in `WAYS`. Writers take all of them as `**how`, and `shows_ways` shows them in `help()`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar

from ....errors import QueryError, nearest
from ..checks import check_choice, check_count, check_flag
from ..signatures import showing
from .instants import Finer

if TYPE_CHECKING:
    from ...progress import Progress
    from ..asking import Types

__all__ = ["BATCH_ROWS", "Nulls", "OnError", "Way", "WriteOptions", "shows_ways"]

F = TypeVar("F", bound=Callable[..., Any])

Nulls = Literal["keep", "omit"]
OnError = Literal["raise", "return"]

#: How many rows go in one batch, at most.
BATCH_ROWS = 10_000
#: How many bytes of columns go in one batch, about: documents take more.
MAX_BYTES = 16 * 1024 * 1024

WAYS = """\
columns: by column, the path in the documents, `{"gold": "lair.gold"}`; None leaves a column
    out. Others go to the field, or the path, that they are named after.
schema: what columns are, instead of the annotations: a type of Arrow's, or an annotation.
nulls: `"keep"` stores null; `"omit"` leaves the field out, and an upsert leaves it alone.
finer: instants finer than milliseconds, which is what MongoDB keeps, raise; `"cut"` cuts them.
events: tell all listeners, of which a frame is made for each row; False has only those of
    annotations, defaults and derived fields do their work.
ordered: write the rows one after the other, and none after the first that fails.
on_error: rows that the server refuses raise, or are only counted in the result: `"return"`.
return_ids: whether the result has the ids that were made, at 12 bytes for each row.
batch_rows: how many rows go in one batch, at most.
max_bytes: how many bytes of columns go in one batch, about.
progress: True for a bar, or a function that is called with the number of rows that are sent
    and the total, or None.
options: for PyMongo's `bulk_write`: `session`, `comment`, `let`, `bypass_document_validation`."""


class WriteOptions(TypedDict, total=False):
    """How rows are written; see `insert_table`."""

    columns: Mapping[str, Any] | None
    schema: Types
    nulls: Nulls
    finer: Finer
    events: bool
    ordered: bool
    on_error: OnError
    return_ids: bool
    batch_rows: int
    max_bytes: int
    progress: Progress
    session: Any
    comment: Any
    let: Mapping[str, Any]
    bypass_document_validation: bool


@dataclass(frozen=True, slots=True)
class Way:
    """How rows are written; see `WAYS`."""

    columns: Mapping[str, Any] | None = None
    schema: Any = None
    nulls: Nulls = "keep"
    finer: Finer = "raise"
    events: bool = True
    ordered: bool = False
    on_error: OnError = "raise"
    return_ids: bool = True
    batch_rows: int = BATCH_ROWS
    max_bytes: int = MAX_BYTES
    progress: Any = False

    @property
    def omits(self) -> bool:
        """Whether nulls are left out."""
        return self.nulls == "omit"

    @classmethod
    def of(cls, place: str, how: Mapping[str, Any]) -> tuple[Way, dict[str, Any]]:
        """Return what was asked for, and the options that are PyMongo's.

        Raises:
            QueryError: an argument is none, or none that it can be.
        """
        way = cls(**{name: value for name, value in how.items() if name in _OURS})
        options = {name: value for name, value in how.items() if name not in _OURS}
        for name in options:
            if name not in _DRIVERS:
                raise QueryError(
                    f"{place}: expected options {', '.join((*_OURS, *_DRIVERS))}, got {name!r}"
                    f"{nearest(name, (*_OURS, *_DRIVERS))}"
                )
        for name, known in _CHOICES.items():
            check_choice(place, name, getattr(way, name), known)
        for name in ("events", "ordered", "return_ids"):
            check_flag(place, name, getattr(way, name))
        for name in ("batch_rows", "max_bytes"):
            check_count(place, name, getattr(way, name))
        return way, options


_OURS = tuple(one.name for one in fields(Way))
_DRIVERS = ("session", "comment", "let", "bypass_document_validation")
_CHOICES = {"nulls": ("keep", "omit"), "finer": ("raise", "cut"), "on_error": ("raise", "return")}


def shows_ways(function: F) -> F:
    """Show the options in the signature and the words of a function with `**how`."""
    annotations = WriteOptions.__annotations__
    options = [
        (one.name, one.default, annotations[one.name].__forward_arg__) for one in fields(Way)
    ]
    return showing(function, options, "WAYS", WAYS)
