"""PDUs on a connection: read against deadlines, and never longer than allowed (PS3.8 section 9.3)."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

ASSOCIATE_RQ, P_DATA, RELEASE_RQ, ABORT = 0x01, 0x04, 0x05, 0x07  # PS3.8 section 9.3.1
RELEASE_RP = bytes((0x06, 0)) + struct.pack(">I", 4) + bytes(4)
# Abort reasons (PS3.8 table 9-26), with source 2: the service provider.
UNRECOGNIZED_PDU, UNEXPECTED_PDU, INVALID_PARAMETER = 1, 2, 6
_NOT_SPECIFIED = 0

_PDU_HEADER = struct.Struct(">BxI")
_PDV_HEADER = struct.Struct(">IBB")
_COMMAND, _LAST = 0x01, 0x02  # message control header, PS3.8 annex E.2


class PeerGone(Exception):
    """The connection ended."""


class TooSlow(Exception):
    """A deadline passed; the text says of what."""


class Violation(Exception):
    """What came is not the protocol; answered with an A-ABORT."""

    def __init__(self, text: str, abort_reason: int) -> None:
        super().__init__(text)
        self.abort_reason = abort_reason


class Wire:
    """A connection as PDUs. For one thread, but for `interrupt`."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._is_tcp = connection.family in (socket.AF_INET, socket.AF_INET6)
        if self._is_tcp:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read(self, wait_s: float, pdu_s: float, longest: Callable[[int], int]) -> tuple[int, bytearray]:
        """(type, body) of the next PDU.

        It must begin within `wait_s` and be complete `pdu_s` after it began. `longest` gives, by type, the longest
        body taken, and raises `Violation` for a type that can't come now; nothing of a longer body is read.
        """
        header = bytearray(_PDU_HEADER.size)
        began = self._fill(memoryview(header), time.monotonic() + wait_s, once_begun_s=pdu_s)
        pdu_type, length = _PDU_HEADER.unpack(header)
        if length > longest(pdu_type):
            raise Violation(f"a PDU of {length} bytes, more than was negotiated", INVALID_PARAMETER)
        body = bytearray(length)
        self._fill(memoryview(body), began + pdu_s)
        return pdu_type, body

    def send(self, data: bytes, within_s: float) -> None:
        """Send all of it."""
        try:
            self._connection.settimeout(within_s)
            self._connection.sendall(data)
        except TimeoutError:
            raise TooSlow("taking our answer") from None
        except OSError as error:
            raise PeerGone from error

    def abort(self, reason: int = _NOT_SPECIFIED, *, by_user: bool = False) -> None:
        """Send an A-ABORT if the peer still takes it."""
        source = 0 if by_user else 2
        with suppress(PeerGone, TooSlow):
            self.send(bytes((ABORT, 0, 0, 0, 0, 4, 0, 0, source, reason)), within_s=1.0)

    def drain(self, within_s: float) -> None:
        """Wait for the peer to close, and read what it still sends: closing before would take back our last answer."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)
            deadline = time.monotonic() + within_s
            while (left := deadline - time.monotonic()) > 0:
                self._connection.settimeout(left)
                if not self._connection.recv(65536):
                    return

    def interrupt(self) -> None:
        """From any thread: whoever reads finds the connection at its end, and can still send."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _fill(self, view: memoryview, deadline: float, once_begun_s: float | None = None) -> float:
        """Fill the view by the deadline, or within that time of its first byte; returns when that one came."""
        began = 0.0
        while view:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TooSlow("a PDU" if began else "the next PDU")
            try:
                self._connection.settimeout(left)
                received = self._connection.recv_into(view)
            except TimeoutError:
                continue
            except OSError as error:
                raise PeerGone from error
            if not received:
                raise PeerGone
            if self._is_tcp:
                self._acknowledge_at_once()
            if not began:
                began = time.monotonic()
                deadline = deadline if once_begun_s is None else began + once_begun_s
            view = view[received:]
        return began

    def _acknowledge_at_once(self) -> None:
        """Linux forgets TCP_QUICKACK again and again (tcp(7)), so it is set after every read.

        Senders that leave Nagle's algorithm on, DCMTK among them, else wait 40 ms for our ACK in every image.
        """
        with suppress(OSError, AttributeError):  # closed meanwhile, or a system without the option
            self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def fragments(body: bytearray) -> Iterator[tuple[int, bool, bool, memoryview]]:
    """(context id, is a command's, is the last of it, data) of each PDV of a P-DATA-TF (PS3.8 section 9.3.5)."""
    view, position = memoryview(body), 0
    if not body:
        raise Violation("a P-DATA without a PDV", INVALID_PARAMETER)
    while position < len(view):
        if position + _PDV_HEADER.size > len(view):
            raise Violation("a PDV shorter than its header", INVALID_PARAMETER)
        length, context_id, control = _PDV_HEADER.unpack_from(view, position)
        end = position + 4 + length
        if length < 2 or end > len(view):
            raise Violation("a PDV longer than its PDU, or shorter than its header", INVALID_PARAMETER)
        yield context_id, bool(control & _COMMAND), bool(control & _LAST), view[position + 6 : end]
        position = end


def command_pdus(context_id: int, command: bytes, max_pdu_bytes: int, *, is_command: bool = True) -> bytes:
    """A command set, or a dataset, as P-DATA-TFs of at most that length (0: of any, PS3.8 section D.1)."""
    room = max(max_pdu_bytes - _PDV_HEADER.size, 1) if max_pdu_bytes else len(command)
    pdus = bytearray()
    for position in range(0, len(command), room):
        part = command[position : position + room]
        control = (_COMMAND if is_command else 0) | (_LAST if position + room >= len(command) else 0)
        pdus += _PDU_HEADER.pack(P_DATA, len(part) + _PDV_HEADER.size)
        pdus += _PDV_HEADER.pack(len(part) + 2, context_id, control) + part
    return bytes(pdus)
