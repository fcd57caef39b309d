"""The peer's end of a connection: sends a stream whole or in pieces, ends it or not, hears the answers or not."""

from __future__ import annotations

import queue
import random
import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

_AT_ONCE_BYTES = 64_000  # surely what a socket's buffer takes while nobody reads
_MOST_PIECES = 40
_WAIT_S = 30.0
_FEEDS = (("at once", 0.72), ("in pieces", 0.9597), ("deaf", 0.9999), ("silent", 1.0))


def drawn_feed(chance: random.Random) -> str:
    """How a stream is sent; "silent" costs half a second and more, so it is rare."""
    drawn = chance.random()
    return next(feed for feed, until in _FEEDS if drawn < until)


class Feeder:
    """One connection after the other; a thread of its own where sending has to wait for the reader."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[tuple[socket.socket, bytes, list[int], bool] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)
        self._connection: socket.socket | None = None
        self._is_in_thread = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._work.put(None)
        self._thread.join(_WAIT_S)

    def begin(self, connection: socket.socket, data: bytes, feed: str, chance: random.Random) -> None:
        """Send it, or begin to. feed: "at once"; "in pieces", of random length; "deaf", closed at the first answer;
        "silent": neither more nor the end comes after it, unless it is long."""
        self._is_in_thread = feed in ("in pieces", "deaf") or len(data) > _AT_ONCE_BYTES
        self._connection = None if feed == "deaf" else connection
        if self._is_in_thread:
            self._work.put((connection, data, _pieces(chance) if feed == "in pieces" else [], feed == "deaf"))
            return
        connection.sendall(data)
        if feed != "silent":
            connection.shutdown(socket.SHUT_WR)

    def end(self) -> bytes:
        """Once the other end is closed: what it said."""
        if self._is_in_thread:
            self._done.get(timeout=_WAIT_S)
        heard = bytearray()
        if self._connection is not None:
            self._connection.settimeout(_WAIT_S)
            with suppress(OSError):
                while part := self._connection.recv(65536):
                    heard += part
        return bytes(heard)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            connection, data, pieces, is_deaf = work
            with suppress(OSError):  # the association was ended before all was sent
                position = 0
                for size in pieces:
                    connection.sendall(data[position : position + size])
                    position += size
                connection.sendall(data[position:])
            with suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
            if is_deaf:
                with suppress(OSError):
                    connection.settimeout(_WAIT_S)
                    connection.recv(1)
                connection.close()
            self._done.put(None)


def _pieces(chance: random.Random) -> list[int]:
    """A byte or a header long, some long; the rest comes at once."""
    return [
        chance.choice((1, 1, 5, 6, 7, 12, 68, 100, chance.randrange(1, 2000), chance.randrange(1, 70_000)))
        for _ in range(chance.randrange(1, _MOST_PIECES))
    ]
