"""The processes of a load, seen from the process that wants it: started, supplied, replaced, ended.

They are started anew and not forked: a fork would share the sockets of this process's clients. Each
makes a client of its own. Batches come through pipes, which costs a copy of memory and leaves
nothing behind that a process that is killed could not remove.
"""

from __future__ import annotations

import bisect
import json
import pickle
import sys
import threading
import weakref
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import spawn
from queue import SimpleQueue
from subprocess import PIPE, Popen, TimeoutExpired
from time import monotonic
from typing import Any

import pyarrow as pa

from ....errors import PartitionError
from .messages import receive, send, write
from .part_order import Order
from .part_reading import Call, Loaded

__all__ = ["RETRIES", "WINDOW", "Load"]

#: So often a part is begun again, or gone on with, after a process or a connection was lost.
RETRIES = 2
#: How many batches of a part come before the first of them is taken, where memory is bounded.
WINDOW = 6
_CODE = "ended with code"
#: How long processes may take to end by themselves, in seconds.
_GRACE = 1.0

#: The module search path comes first, as one line: it is where the rest is found. PyMongoArrow
#: imports pandas and Polars where they are, which takes half of the start and is not needed there.
_START = """
import json, sys
sys.path[:] = json.loads(sys.stdin.buffer.readline())
sys.modules.update(pandas=None, polars=None)
from loom.frames.arrow.parallel.serving import main
del sys.modules["pandas"], sys.modules["polars"]
main()
"""


class _Worker:
    """A process, and what it reads."""

    def __init__(self, call: bytes, tell: Callable[[_Worker, Any], None]) -> None:
        executable = spawn.get_executable()
        if not executable:
            raise PartitionError(
                "loom.frames.arrow: expected to know how Python is started, got no sys.executable; "
                "name it with multiprocessing.set_executable, or load without partitions"
            )
        self.is_ready = False
        self.part: int | None = None
        #: of the part, since it was begun or gone on with
        self.rows = 0
        # In a session of its own: Ctrl-C is for the process that wants the load, which ends all.
        self.process: Popen[bytes] = Popen(
            [executable, "-c", _START], stdin=PIPE, stdout=PIPE, bufsize=0, start_new_session=True
        )
        path = [entry for entry in sys.path if isinstance(entry, str)]
        inbox: Any = self.process.stdin
        with suppress(BrokenPipeError):
            write(inbox, json.dumps(path).encode() + b"\n")
        self.tell(("call",), call)
        self._thread = threading.Thread(target=self._listen, args=(tell,), daemon=True)
        self._thread.start()

    def _listen(self, tell: Callable[[_Worker, Any], None]) -> None:
        outbox: Any = self.process.stdout
        while (received := receive(outbox)) is not None:
            tell(self, received)
        tell(self, None)

    def tell(self, message: tuple[Any, ...], tail: Any = b"") -> None:
        """Send a message; one that has ended is found out where its messages end."""
        inbox: Any = self.process.stdin
        with suppress(OSError, ValueError):
            send(inbox, message, tail)

    def ended(self) -> str:
        """Return how it ended."""
        code = self.process.wait()
        return f"ended by signal {-code}" if code < 0 else f"{_CODE} {code}"

    def dismiss(self) -> None:
        """Let it end by itself."""
        inbox: Any = self.process.stdin
        with suppress(OSError):
            inbox.close()

    def finish(self, deadline: float) -> None:
        """End it, by force when it has not ended in time."""
        try:
            self.process.wait(max(0.0, deadline - monotonic()))
        except TimeoutExpired:
            pass
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            if threading.current_thread() is not self._thread:
                self._thread.join()
            outbox: Any = self.process.stdout
            outbox.close()


class _Part:
    """A range of the key, and how far it was read."""

    def __init__(self) -> None:
        self.rows = 0
        self.last = b""
        self.attempts = 0
        self.is_done = False
        #: those that wait for the batches of parts before it
        self.batches: deque[Loaded] = deque()


class Load:
    """Parts read by processes, batch by batch.

    Args:
        call: what the parts share.
        count: how many parts there are.
        filter_of: returns the BSON of the filter of a part, behind the place that a batch ended at.
        processes: how many processes read them.
        ordered: whether the batches of a part come behind those of the parts before it.
        window: how many batches of a part may wait here, None for any number.
        texts: whether the server compares text by its bytes.
    """

    def __init__(
        self,
        call: Call,
        count: int,
        filter_of: Callable[[int, bytes], bytes],
        processes: int,
        *,
        ordered: bool,
        window: int | None,
        texts: bool = False,
    ) -> None:
        self._call = call
        self._order = Order(call.place, call.key, count, texts=texts)
        self._packed = pickle.dumps(call)
        self._filter_of = filter_of
        self._processes = min(processes, count)
        self._is_ordered = ordered
        self._window = window
        # Of parts that wait for their turn, not more than these are read ahead.
        self._ahead = count if window is None or not ordered else 2 * self._processes
        self._schema = call.decoder().schema
        self._parts = [_Part() for _ in range(count)]
        self._waiting = [*range(count)]
        #: the first part that is not given whole
        self._current = 0
        heard: SimpleQueue[tuple[_Worker | None, Any]] = SimpleQueue()
        self._heard = heard
        # Not a method, which would keep this load as long as its processes run.
        self._hear = lambda worker, received: heard.put((worker, received))
        self._lock = threading.Lock()
        self._workers: list[_Worker] = []
        self._end = weakref.finalize(self, _end, self._workers)
        self.mismatches: Counter[str] = Counter()
        self.is_closed = False
        self._failed_starts = 0

    def start(self) -> None:
        """Start the processes."""
        with self._lock:
            for _ in range(self._processes):
                if not self.is_closed:
                    self._workers.append(_Worker(self._packed, self._hear))

    def await_ready(self) -> None:
        """Wait until every process has a client; nothing is read meanwhile."""
        while not all(worker.is_ready for worker in self._workers):
            worker, received = self._heard.get()
            assert worker is not None  # nobody closes it meanwhile
            if received is None or received[0][0] != "ready":
                self._take(worker, received)
            worker.is_ready = True

    def next(self) -> Loaded | None:
        """Return the next batch, None when all parts are read.

        Raises:
            PartitionError: a part was not read, or not all of it.
            SchemaError: a value does not fit, and the call is to raise.
        """
        with self._lock:
            while not self.is_closed:
                found = self._in_order() if self._is_ordered else None
                if found is not None:
                    return found
                if all(part.is_done for part in self._parts):
                    break
                self._assign()
                worker, received = self._heard.get()
                found = None if worker is None else self._take(worker, received)
                if found is not None:
                    return found
            return None

    def _in_order(self) -> Loaded | None:
        while self._current < len(self._parts):
            part = self._parts[self._current]
            if part.batches:
                return self._given(self._current, part.batches.popleft())
            if not part.is_done:
                return None
            self._current += 1
        return None

    def _given(self, number: int, loaded: Loaded) -> Loaded:
        for worker in self._workers:
            if worker.part == number:
                worker.tell(("more", number))
        self.mismatches.update(loaded.mismatches)
        return loaded

    def _assign(self) -> None:
        """Give parts to the processes that have none, the first ones first."""
        for worker in self._workers:
            if not self._waiting or (
                self._is_ordered and self._waiting[0] >= self._current + self._ahead
            ):
                return
            if worker.is_ready and worker.part is None:
                number = self._waiting.pop(0)
                part = self._parts[number]
                worker.part, worker.rows = number, 0
                filter = self._filter_of(number, part.last)
                window = sys.maxsize if self._window is None else self._window
                worker.tell(("part", number, filter, window, part.attempts))

    # What processes tell

    def _take(self, worker: _Worker, received: Any) -> Loaded | None:
        if received is None:
            self._lost(worker)
            return None
        (kind, *content), tail = received
        if kind == "ready":
            worker.is_ready = True
            return None
        if kind == "batch":
            return self._batch(worker, tail, *content)
        number = content[0]
        worker.part = None
        if kind == "end":
            self._check(number, worker, *content[1:])
        elif kind == "lost":
            self._again(number, pickle.loads(content[1]), content[2])
        else:
            raise self._from_there(pickle.loads(content[1]), content[2])
        return None

    def _batch(
        self,
        worker: _Worker,
        tail: Any,
        number: int,
        rows: int,
        first: bytes,
        last: bytes,
        misfits: dict[str, int],
        schema: bytes | None,
    ) -> Loaded | None:
        of = self._schema if schema is None else pa.ipc.read_schema(pa.py_buffer(schema))
        batch = pa.ipc.read_record_batch(tail, of)
        if batch.num_rows != rows:
            raise self._short(number, f"a batch of {rows} rows", batch.num_rows)
        part = self._parts[number]
        worker.rows += rows
        part.rows += rows
        part.last = last
        self._order.add(number, first, last)
        loaded = Loaded(batch, last, misfits)
        if not self._is_ordered:
            return self._given(number, loaded)
        part.batches.append(loaded)
        return None

    def _check(self, number: int, worker: _Worker, rows: int, counted: int | None) -> None:
        part = self._parts[number]
        if rows != worker.rows:
            raise self._short(number, f"the {rows} rows that were sent", worker.rows)
        # What was read before a process was lost is no longer in the filter.
        if counted is not None and counted != worker.rows:
            why = "; where documents come, go or change their key meanwhile, leave counted out"
            expected = f"the {counted} documents that the server counts"
            raise self._short(number, expected, worker.rows, why)
        part.is_done = True

    def _short(self, number: int, expected: str, rows: int, why: str = "") -> PartitionError:
        return PartitionError(
            f"{self._call.place}: expected {expected} in {self._name(number)}, got {rows}; the "
            f"load is not complete{why}"
        )

    def _name(self, number: int) -> str:
        return f"part {number + 1} of {len(self._parts)}"

    def _lost(self, worker: _Worker) -> None:
        """Go on without a process that has ended, and with a new one in its place."""
        how = worker.ended()
        self._workers.remove(worker)
        worker.dismiss()
        worker.finish(monotonic())
        if not worker.is_ready:
            self._failed_starts += 1
        if not worker.is_ready and (how.startswith(_CODE) or self._failed_starts > RETRIES):
            raise PartitionError(
                f"{self._call.place}: expected a process that reads a part, got one that {how} "
                "before it began; standard error may tell why"
            )
        if worker.part is not None:
            self._again(
                worker.part,
                PartitionError(
                    f"{self._call.place}: expected {self._name(worker.part)} to be read, got its "
                    f"process {how} after {self._parts[worker.part].rows} rows, in attempt "
                    f"{self._parts[worker.part].attempts + 1}; the load is not complete"
                ),
            )
        self._workers.append(_Worker(self._packed, self._hear))

    def _again(self, number: int, error: Exception, where: str = "") -> None:
        """Have a part gone on with behind its last batch."""
        part = self._parts[number]
        part.attempts += 1
        if part.attempts > RETRIES or (part.rows and not part.last):
            raise self._from_there(error, where) if where else error
        bisect.insort(self._waiting, number)

    def _from_there(self, error: Exception, where: str) -> Exception:
        error.__cause__ = PartitionError(f"{self._call.place}: in another process:\n{where}")
        return error

    @property
    def rows(self) -> int:
        """How many rows the parts have, so far."""
        return sum(part.rows for part in self._parts)

    # Its end

    def close(self) -> None:
        """End all processes; a `next` that waits in another thread returns None."""
        self.is_closed = True
        self._heard.put((None, None))
        with self._lock:
            self._end()


def _end(workers: list[_Worker]) -> None:
    try:
        for worker in workers:
            worker.dismiss()
        deadline = monotonic() + _GRACE
        for worker in workers:
            worker.finish(deadline)
    finally:
        for worker in workers:
            if worker.process.poll() is None:
                worker.process.kill()
                worker.process.wait()
        workers.clear()
