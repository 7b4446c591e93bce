"""What is known of a batch: which operations were done, which were not, and which may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import bson
from pymongo.errors import BulkWriteError, PyMongoError

from ...errors import BulkError
from ..events import add_note
from ..port import Port
from ..requests import Batch, Part
from ..sent import Sent
from .guards import leaves_open
from .reading import Options

__all__ = ["NOT_TRIED", "Outcome", "bulk_error", "reasons_of", "send"]

#: Why what stands behind a failure was not done.
NOT_TRIED = "not tried after an earlier failure"


class Outcome:
    """What is known of the operations of a batch, by position.

    Attributes:
        failed: why an operation was not done; positions that are absent were done.
        unknown: why it is not known whether an operation was done.
        matched: how many the server found or upserted a document for.
        error: what the driver raised, None when nothing.
        details: what the server said of failures, as PyMongo's errors hold it.
        told: the server's counts, as PyMongo's results hold them.
    """

    __slots__ = ("details", "error", "failed", "matched", "told", "total", "unknown")

    def __init__(self, total: int, matched: int, error: BaseException | None = None) -> None:
        self.total = total
        self.matched = matched
        self.error = error
        self.details: Mapping[str, Any] = {}
        self.told: Mapping[str, Any] = {}
        self.failed: dict[int, str] = {}
        self.unknown: dict[int, str] = {}

    @property
    def is_whole(self) -> bool:
        """True when everything was done."""
        return self.error is None and not self.failed and not self.unknown

    @property
    def is_none_found(self) -> bool:
        """True when the server is known to have found nothing."""
        is_known = self.error is None or isinstance(self.error, BulkWriteError)
        return is_known and not self.matched

    def done(self) -> list[int]:
        """Return the positions of what is known to be done."""
        if not self.failed and not self.unknown:
            return [*range(self.total)]
        return [i for i in range(self.total) if i not in self.failed and i not in self.unknown]

    def of(self, values: list[Any]) -> list[Any]:
        """Return those of a list of values, one for each operation, whose operation was done."""
        if not self.failed and not self.unknown:
            return values
        return [values[i] for i in self.done()]

    def failure(self, place: str, frames: list[Any]) -> Exception | None:
        """Return the error that says what was done and what was not, None when all was.

        Raises:
            BaseException: what is no error of the driver's, such as a cancellation, goes on.
        """
        error = self.error
        if self.is_whole:
            return None
        if error is not None and not isinstance(error, PyMongoError):
            raise error
        is_nothing_done = len(self.failed) + len(self.unknown) == self.total
        if error is not None and not isinstance(error, BulkWriteError) and is_nothing_done:
            if self.unknown:
                add_note(
                    error,
                    f"{place}: it is not known which of the {len(self.unknown)} frames are written",
                )
            return error
        failure = bulk_error(place, frames, self.failed, self.details, self.unknown)
        failure.__cause__ = error
        return failure


def bulk_error(
    place: str,
    frames: list[Any],
    reasons: Mapping[int, str],
    details: BulkWriteError | Mapping[str, Any] | None,
    unknown: Mapping[int, str] | None = None,
) -> BulkError:
    """Return the error that says which frames of a batch were written."""
    unknown = unknown or {}
    return BulkError(
        place,
        [frame for i, frame in enumerate(frames) if i not in reasons and i not in unknown],
        [(frames[i], reasons[i]) for i in sorted(reasons)],
        details.details if isinstance(details, BulkWriteError) else details,
        [(frames[i], unknown[i]) for i in sorted(unknown)],
    )


def reasons_of(error: BulkWriteError, total: int, ordered: bool) -> dict[int, str]:
    """Return, by position, why operations of a batch were not done."""
    reasons = _write_errors(error.details or {}, 0)
    if ordered and reasons:
        first = min(reasons)
        reasons |= dict.fromkeys(range(first + 1, total), NOT_TRIED)
    return reasons


def _write_errors(reply: Mapping[str, Any], start: int) -> dict[int, str]:
    errors = reply.get("writeErrors") or ()
    return {start + e["index"]: str(e.get("errmsg", e)) for e in errors}


async def send(
    port: Port,
    cls: Any,
    batch: Batch,
    contents: Callable[[], Any],
    options: Options,
    count: str = "nMatched",
) -> Outcome:
    """Send a batch; return what is known of it afterwards, whatever happened on the way.

    Args:
        port: calls the driver.
        cls: the class.
        batch: the operations.
        contents: returns what is written, to name a value that cannot be.
        options: for the driver's bulk write.
        count: the driver's name for the number that tells whether all were found.

    Raises:
        Exception: what was raised before anything was sent.
    """
    total = len(batch)
    try:
        result = await port.write(cls, "bulk_write", contents, [batch], **options)
    except BulkWriteError as error:
        details = error.details or {}
        outcome = Outcome(total, details.get(count, 0), error)
        for failure in details.get("writeErrors", ()):
            if type(failure.get("op")) is Sent:
                codecs = port.collection(cls).codec_options
                failure["op"] = bson.decode(failure["op"], codecs)
        outcome.details = outcome.told = details
        outcome.failed = reasons_of(error, total, options.get("ordered", True))
        # A failed write concern can end a batch, too, with parts of it not sent.
        stop = batch.parts[-1].stop if batch.parts else total
        outcome.failed |= dict.fromkeys(
            (i for i in range(stop, total) if i not in outcome.failed), NOT_TRIED
        )
        return outcome
    except BaseException as error:
        if not batch.parts:
            raise
        return _broken_off(batch, error)
    if not result.acknowledged:
        return Outcome(total, total)
    outcome = Outcome(total, result.bulk_api_result[count])
    outcome.told = result.bulk_api_result
    return outcome


def _broken_off(batch: Batch, error: BaseException) -> Outcome:
    outcome = Outcome(len(batch), 0, error)
    cause = f"{type(error).__name__}: {error}"
    errors: list[Any] = []
    upserted: list[Any] = []
    modified = 0
    for part in batch.parts:
        of_part = range(part.start, part.stop)
        if part.reply is None:
            where = outcome.unknown if _may_be_done(part) else outcome.failed
            where.update(dict.fromkeys(of_part, cause))
            continue
        errors += (
            {**e, "index": part.start + e["index"]} for e in part.reply.get("writeErrors", ())
        )
        upserted += (
            {**one, "index": part.start + one["index"]} for one in part.reply.get("upserted") or ()
        )
        modified += part.reply.get("nModified", 0)
        outcome.failed |= _write_errors(part.reply, part.start)
        tried = [i for i in of_part if i not in outcome.failed]
        found = part.reply.get("n", 0)
        if found < len(tried):
            why = f"{found} of {len(tried)} were found before the failure: {cause}"
            outcome.unknown.update(dict.fromkeys(tried, why))
    outcome.failed |= dict.fromkeys(range(batch.parts[-1].stop, len(batch)), NOT_TRIED)
    outcome.details = {"writeErrors": errors, "writeConcernErrors": []}
    outcome.told = {"nModified": modified, "upserted": upserted}
    return outcome


def _may_be_done(part: Part) -> bool:
    """Tell whether the server may have done what it did not acknowledge."""
    return not part.errors or any(map(leaves_open, part.errors))
