"""A server in front of the server: it loses connections when it is told to.

It passes every message on, and answers `hello` as a deployment that takes only so many writes in
one message, so that the driver splits a small batch. A plan says what becomes of the commands of
one name: `pass` them, lose the connection `before` the server sees it, or `after` the server has
done it and before its reply arrives.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import bson

__all__ = ["Proxy"]

_LENGTH = struct.Struct("<i")
_OP_MSG = 2013
_SIZE = b"\x10maxWriteBatchSize\0"


class Proxy:
    """Listens on a port of its own until it is closed.

    Args:
        address: host and port of the server.
        batch: the largest number of writes in one message.
    """

    def __init__(self, address: tuple[str, int], batch: int) -> None:
        self._address = address
        self._batch = batch
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._command = ""
        self._plan: list[str] = []
        self._before: tuple[str, Callable[[], object] | None] = ("", None)
        #: how many commands of the plan's name came
        self.seen = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @contextmanager
    def plan(self, command: str, *steps: str) -> Iterator[None]:
        """Do the steps with the next commands of a name, one each; later ones are passed on."""
        with self._lock:
            self._command, self._plan, self.seen = command, [*steps], 0
        try:
            yield
        finally:
            with self._lock:
                self._command, self._plan = "", []

    @contextmanager
    def first(self, command: str, action: Callable[[], object]) -> Iterator[None]:
        """Call a function before the next command of a name is passed on."""
        with self._lock:
            self._before = command, action
        try:
            yield
        finally:
            with self._lock:
                self._before = "", None

    def close(self) -> None:
        """Close all connections."""
        for one in [self._listening, *self._sockets]:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.create_connection(self._address)
            self._sockets += [client, server]
            threading.Thread(target=self._serve, args=(client, server), daemon=True).start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        """Answer one connection: a reply follows every message."""
        with suppress(OSError), client, server:
            while message := _read(client):
                step = self._step(message)
                if step == "before":
                    return
                server.sendall(message)
                reply = _read(server)
                if step == "after" or not reply:
                    return
                client.sendall(self._changed(reply))

    def _step(self, message: bytes) -> str:
        with self._lock:
            command, action = self._before
            if action is not None and _name(message) == command:
                self._before = "", None
                action()
            if not self._command or _name(message) != self._command:
                return "pass"
            self.seen += 1
            return self._plan.pop(0) if self._plan else "pass"

    def _changed(self, reply: bytes) -> bytes:
        position = reply.find(_SIZE)
        if position < 0:
            return reply
        start = position + len(_SIZE)
        return reply[:start] + _LENGTH.pack(self._batch) + reply[start + 4 :]


def _read(source: socket.socket) -> bytes:
    """Return the next message, nothing when the other side is gone."""
    header = _exactly(source, 16)
    return header and header + _exactly(source, _LENGTH.unpack_from(header)[0] - 16)


def _exactly(source: socket.socket, count: int) -> bytes:
    pieces: list[bytes] = []
    while count:
        piece = source.recv(min(count, 1 << 16))
        if not piece:
            return b""
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def _name(message: bytes) -> str:
    """Return the name of the command in a message."""
    if _LENGTH.unpack_from(message, 12)[0] != _OP_MSG:
        return ""
    sections: Sequence[Any] = message[20:]
    if sections[0] != 0:
        return ""
    size = _LENGTH.unpack_from(message, 21)[0]
    return str(next(iter(bson.decode(message[21 : 21 + size]))))
