"""A server that speaks the wire protocol and answers from BSON made when it starts.

It stands in for mongod where only the client's work is measured: it runs in a process of its
own, keeps nothing that is written, and knows just the commands that the benchmarks send.

- `hello` answers as a one-member replica set of version 8.0.
- `find` takes `{}`, `{"_id": value}`, `{"_id": {"$in": [...]}}` and ranges of `_id`; it honours
  `skip`, `limit`, `batchSize` and the 16 MiB of a reply, ignores projection and sort, and refuses
  any other filter.
- `aggregate` returns the whole collection, its size when the pipeline counts, or `_id` values at
  equal distances, as `key`, when it takes a sample.
- Writes are acknowledged as if every one had matched.
- `commandCounts` tells how often each command came, `{"reset": true}` starts again from zero.

Collections are made on first use. The number of documents ends the collection's name:
`small_10000`.
"""

from __future__ import annotations

import json
import os
import socket
import socketserver
import struct
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import bson
from bson.codec_options import CodecOptions
from bson.int64 import Int64
from bson.raw_bson import RawBSONDocument

from tests.benchmarks import data

__all__ = ["start"]

MAX_DOCUMENT = 16 * 1024 * 1024
MAX_MESSAGE = 48_000_000
MAX_WRITE_BATCH = 100_000
FIRST_BATCH = 101

_OP_MSG = 2013
#: The handshake of PyMongo 4.17 on a new connection, and its reply.
_OP_QUERY = 2004
_OP_REPLY = 1
_REPLY = struct.Struct("<iqii")
_MORE_TO_COME = 2
_HEADER = struct.Struct("<iiii")
_INT32 = struct.Struct("<i")
_RAW: CodecOptions[Any] = CodecOptions(document_class=RawBSONDocument)

#: What a driver sends on its own account: not counted.
_UNCOUNTED = frozenset({"hello", "ismaster", "isMaster", "ping", "endSessions", "commandCounts"})


class Refused(Exception):
    """A command that this server does not know; the client gets it as an error reply."""


class Repeated(Sequence[bytes]):
    """Documents that come again and again, up to a number."""

    def __init__(self, once: Sequence[bytes], length: int) -> None:
        self._once = once
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(self._length))]
        return self._once[place % len(self._once)]


class Span(Sequence[bytes]):
    """Documents from one number to another one, excluded."""

    def __init__(self, whole: Sequence[bytes], start: int, stop: int) -> None:
        self._whole = whole
        self.start = start
        self._length = max(0, stop - start)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(self._length))]
        return self._whole[self.start + place]


class Collection:
    """Encoded documents, in order and by `_id`."""

    def __init__(self, name: str) -> None:
        kind, _, size = name.rpartition("_")
        if kind not in data.MAKERS or not size.isdigit():
            raise Refused(f"expected a collection such as small_1000, got {name!r}")
        count = int(size)
        self.kind = kind
        self.period = min(count, data.PERIODS.get(kind, count))
        self.encoded: Sequence[bytes] = [
            bson.encode(document) for document in data.documents(kind, self.period)
        ]
        if self.period < count:
            self.encoded = Repeated(self.encoded, count)
        self.by_id = {data.id_of(kind, i): one for i, one in enumerate(self.encoded[: self.period])}

    def matching(self, filter: dict[str, Any]) -> Sequence[bytes]:
        """Return the documents that a filter means."""
        if not filter:
            return self.encoded
        if "$or" in filter:
            # The other alternatives are for ids of other types, which there are none of.
            ends = [one["_id"] for one in filter["$or"] if {"$gte", "$lt"} & {*one["_id"]}]
            filter = {"_id": ends[0]}
        if list(filter) != ["_id"]:
            raise Refused(f"expected a filter on _id, got {filter!r}")
        wanted = filter["_id"]
        if isinstance(wanted, dict) and wanted and {*wanted} <= {"$gte", "$lt"}:
            ends = wanted.get("$gte"), wanted.get("$lt")
            start, stop = (None if id is None else data.number_of(id) for id in ends)
            return Span(self.encoded, start or 0, len(self.encoded) if stop is None else stop)
        if isinstance(wanted, dict):
            if list(wanted) != ["$in"]:
                raise Refused(f"expected $in, got {wanted!r}")
            return [self.by_id[one] for one in wanted["$in"] if one in self.by_id]
        return [self.by_id[wanted]] if wanted in self.by_id else []


@cache
def collection(name: str) -> Collection:
    """Return a collection, made when it is first asked for."""
    return Collection(name)


@cache
def _array_keys(length: int) -> list[bytes]:
    return [b"\x03%d\0" % i for i in range(length)]


def _array(documents: Sequence[bytes]) -> bytes:
    """Return documents as the BSON of an array."""
    keys = _array_keys(1 << max(len(documents) - 1, 0).bit_length())
    pieces = [piece for pair in zip(keys, documents, strict=False) for piece in pair]
    return b"".join([_INT32.pack(sum(map(len, pieces)) + 5), *pieces, b"\0"])


class Cursors:
    """Open cursors, and the batches that were made of whole collections."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[str, Sequence[bytes], int]] = {}
        self._ids = count(4_000_000_001)
        #: arrays of documents, and how many these are
        self._made: dict[tuple[str, int, int], tuple[bytes, int]] = {}

    def find(self, command: dict[str, Any]) -> bytes:
        name = command["find"]
        documents = collection(name).matching(command.get("filter") or {})
        skip, limit = command.get("skip", 0), command.get("limit", 0)
        if skip or limit:
            documents = documents[skip : skip + limit if limit else None]
        size = command.get("batchSize", FIRST_BATCH)
        namespace = f"{command['$db']}.{name}"
        return self._reply("firstBatch", namespace, documents, 0, size, command.get("singleBatch"))

    def aggregate(self, command: dict[str, Any]) -> bytes:
        name = command["aggregate"]
        documents = collection(name).encoded
        sample = next((s["$sample"] for s in command["pipeline"] if "$sample" in s), None)
        if any("$group" in stage for stage in command["pipeline"]):
            documents = [bson.encode({"_id": 1, "n": len(documents)})]
        elif sample is not None:
            # Distances of a power of two: few different batches begin there.
            step = 1 << max(0, (len(documents) // sample["size"]).bit_length() - 1)
            kind = collection(name).kind
            ids = (data.id_of(kind, number) for number in range(0, len(documents), step))
            documents = [bson.encode({"key": id}) for id in ids]
        size = command["cursor"].get("batchSize", FIRST_BATCH)
        return self._reply("firstBatch", f"{command['$db']}.{name}", documents, 0, size, False)

    def get_more(self, command: dict[str, Any]) -> bytes:
        found = self._open.pop(command["getMore"], None)
        if found is None:
            raise Refused(f"expected an open cursor, got {command['getMore']}")
        namespace, documents, position = found
        size = command.get("batchSize") or len(documents)
        return self._reply("nextBatch", namespace, documents, position, size, False)

    def kill(self, command: dict[str, Any]) -> bytes:
        for cursor_id in command["cursors"]:
            self._open.pop(cursor_id, None)
        return bson.encode({"cursorsKilled": command["cursors"], "ok": 1.0})

    def _reply(
        self,
        field: str,
        namespace: str,
        documents: Sequence[bytes],
        start: int,
        size: int,
        single: bool | None,
    ) -> bytes:
        whole = collection(namespace.partition(".")[2])
        if documents is whole.encoded or isinstance(documents, Span):
            first = start + (documents.start if isinstance(documents, Span) else 0)
            key = (namespace, first % whole.period, min(size, len(documents) - start))
            if key not in self._made:
                stop = self._stop(documents, start, size)
                self._made[key] = _array(documents[start:stop]), stop - start
            array, length = self._made[key]
            stop = start + length
        else:
            stop = self._stop(documents, start, size)
            array = _array(documents[start:stop])
        cursor_id = 0
        if stop < len(documents) and not single:
            cursor_id = next(self._ids)
            self._open[cursor_id] = (namespace, documents, stop)
        named = bson.encode({"id": Int64(cursor_id), "ns": namespace})[4:]
        cursor = b"\x04" + field.encode() + b"\0" + array + named
        body = b"\x03cursor\0" + _INT32.pack(len(cursor) + 4) + cursor + b"\x01ok\0" + _ONE
        return _INT32.pack(len(body) + 5) + body + b"\0"

    def _stop(self, documents: Sequence[bytes], start: int, size: int) -> int:
        room = MAX_DOCUMENT
        last = min(len(documents), start + size)
        for position in range(start, last):
            room -= len(documents[position]) + 12
            if room < 0 and position > start:
                return position
        return last


_ONE = struct.pack("<d", 1.0)


class Server(socketserver.ThreadingTCPServer):
    """Answers every connection in a thread of its own."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Session)
        self.port: int = self.server_address[1]
        self.cursors = Cursors()
        self.counts: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.connections = count(1)

    def answer(self, command: dict[str, Any], sequences: dict[str, int]) -> bytes:
        """Return the encoded reply to one command."""
        name = next(iter(command))
        with self.lock:
            if name not in _UNCOUNTED:
                self.counts[name] += 1
            try:
                return self._reply(name, command, sequences)
            except Refused as error:
                return bson.encode(
                    {"ok": 0.0, "errmsg": f"{name}: {error}", "code": 59, "codeName": "Refused"}
                )

    def _reply(self, name: str, command: dict[str, Any], sequences: dict[str, int]) -> bytes:
        if name == "find":
            return self.cursors.find(command)
        if name == "getMore":
            return self.cursors.get_more(command)
        if name == "aggregate":
            return self.cursors.aggregate(command)
        if name == "killCursors":
            return self.cursors.kill(command)
        if name in ("hello", "isMaster", "ismaster"):
            return bson.encode(self._hello())
        if name == "count":
            matching = collection(command["count"]).matching(command.get("query") or {})
            return bson.encode({"n": len(matching), "ok": 1.0})
        if name == "insert":
            return bson.encode({"n": _length(command, sequences, "documents"), "ok": 1.0})
        if name == "update":
            n = _length(command, sequences, "updates")
            return bson.encode({"n": n, "nModified": n, "ok": 1.0})
        if name == "delete":
            return bson.encode({"n": _length(command, sequences, "deletes"), "ok": 1.0})
        if name == "commandCounts":
            counts = dict(self.counts)
            if command.get("reset"):
                self.counts.clear()
            return bson.encode({"counts": counts, "total": sum(counts.values()), "ok": 1.0})
        if name in ("ping", "endSessions"):
            return bson.encode({"ok": 1.0})
        if name in ("buildInfo", "buildinfo"):
            return bson.encode({"version": "8.0.0", "versionArray": [8, 0, 0, 0], "ok": 1.0})
        raise Refused("expected a command that the benchmarks send")

    def _hello(self) -> dict[str, Any]:
        address = f"127.0.0.1:{self.port}"
        return {
            "helloOk": True,
            "ismaster": True,
            "isWritablePrimary": True,
            "setName": "bench",
            "setVersion": 1,
            "secondary": False,
            "hosts": [address],
            "me": address,
            "primary": address,
            "electionId": bson.ObjectId("7fffffff0000000000000001"),
            "maxBsonObjectSize": MAX_DOCUMENT,
            "maxMessageSizeBytes": MAX_MESSAGE,
            "maxWriteBatchSize": MAX_WRITE_BATCH,
            "localTime": datetime.now(timezone.utc),
            "logicalSessionTimeoutMinutes": 30,
            "connectionId": next(self.connections),
            "minWireVersion": 0,
            "maxWireVersion": 25,
            "readOnly": False,
            "ok": 1.0,
        }


def _length(command: dict[str, Any], sequences: dict[str, int], field: str) -> int:
    return sequences[field] if field in sequences else len(command[field])


class Session(socketserver.BaseRequestHandler):
    """One connection."""

    server: Server

    def handle(self) -> None:
        """Answer until the client goes away, which may cut its connections off."""
        with suppress(ConnectionError):
            self._answer()

    def _answer(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = self.request.makefile("rb")
        while header := stream.read(_HEADER.size):
            length, request_id, _, code = _HEADER.unpack(header)
            message = stream.read(length - _HEADER.size)
            if code == _OP_QUERY:
                self.request.sendall(self._shake_hands(request_id, message))
                continue
            if code != _OP_MSG:
                return
            flags, command, sequences = _parse(message)
            reply = self.server.answer(command, sequences)
            if not flags & _MORE_TO_COME:
                total = _HEADER.size + 5 + len(reply)
                start = _HEADER.pack(total, 0, request_id, _OP_MSG) + b"\0\0\0\0\0"
                self.request.sendall(start + reply)

    def _shake_hands(self, request_id: int, message: bytes) -> bytes:
        # Flags, the name of a collection, how many to skip and to return, the command.
        start = message.index(b"\0", _INT32.size) + 1 + 2 * _INT32.size
        reply = self.server.answer(bson.decode(message[start:]), {})
        total = _HEADER.size + _REPLY.size + len(reply)
        return _HEADER.pack(total, 0, request_id, _OP_REPLY) + _REPLY.pack(0, 0, 0, 1) + reply


def _parse(message: bytes) -> tuple[int, dict[str, Any], dict[str, int]]:
    """Return the flags, the command, and how many documents each sequence holds."""
    flags = _INT32.unpack_from(message)[0]
    # A checksum may follow the sections; PyMongo sends none.
    position, end = 4, len(message)
    command: dict[str, Any] = {}
    sequences: dict[str, int] = {}
    while position < end:
        kind = message[position]
        size = _INT32.unpack_from(message, position + 1)[0]
        section = message[position + 1 : position + 1 + size]
        if kind == 0:
            command = bson.decode(section)
        else:
            name, _, rest = section[4:].partition(b"\0")
            sequences[name.decode()] = _count(rest)
        position += 1 + size
    return flags, command, sequences


def _count(sequence: bytes) -> int:
    found = position = 0
    while position < len(sequence):
        position += _INT32.unpack_from(sequence, position)[0]
        found += 1
    return found


def main() -> None:
    """Serve until standard input is closed, as it is when the parent is gone."""
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(json.dumps({"port": server.port}), flush=True)
        sys.stdin.buffer.read()
        os._exit(0)


@contextmanager
def start() -> Iterator[str]:
    """Run a server in its own process and give its URI, with the database `bench`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.wire"],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = json.loads(process.stdout.readline())["port"]
        yield f"mongodb://127.0.0.1:{port}/bench?directConnection=true"
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait()


if __name__ == "__main__":
    main()
