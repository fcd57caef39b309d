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
_TIMEVAL = struct.Struct("@ll")  # of SO_RCVTIMEO and SO_SNDTIMEO, Linux
_TICK_S = 10.0  # chosen: an idle association costs one wake-up of its thread in so long
_FIRST_BUFFER_BYTES = 4096  # chosen: a command set, and for an A-ASSOCIATE-RQ that is longer there is more


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
    """A connection as PDUs. For one thread, but for `interrupt`.

    One buffer is read into again and again: an image is not copied, and costs a few system calls. The socket is
    blocking, with the kernel's own time limits; a limit further away than `_TICK_S` is looked at once a tick.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._is_tcp = connection.family in (socket.AF_INET, socket.AF_INET6)
        self._limits_s = {socket.SO_RCVTIMEO: 0.0, socket.SO_SNDTIMEO: 0.0}  # as set in the kernel
        self._buffer = bytearray(_FIRST_BUFFER_BYTES)
        self._begin = self._end = 0  # of what was received and not yet taken
        connection.settimeout(None)
        if self._is_tcp:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._acknowledge_at_once()

    def read(self, wait_s: float, pdu_s: float, longest: Callable[[int], int]) -> tuple[int, memoryview]:
        """(type, body) of the next PDU; the body is overwritten by the next call.

        It must begin within `wait_s` and be complete `pdu_s` after it began. `longest` gives, by type, the longest
        body taken, and raises `Violation` for a type that can't come now; no room is made for a longer one.
        """
        deadline = time.monotonic() + wait_s
        if wait_s <= 0:
            raise TooSlow("the next PDU")
        if self._end == self._begin:
            self._begin = self._end = 0
            self._receive(deadline, "the next PDU")
        deadline = time.monotonic() + pdu_s
        while self._end - self._begin < _PDU_HEADER.size:
            self._make_room(_PDU_HEADER.size)
            self._receive(deadline, "a PDU")
        pdu_type, length = _PDU_HEADER.unpack_from(self._buffer, self._begin)
        if length > longest(pdu_type):
            raise Violation(f"a PDU of {length} bytes, more than was negotiated", INVALID_PARAMETER)
        whole = _PDU_HEADER.size + length
        self._make_room(whole)
        while (missing := self._begin + whole - self._end) > 0:
            self._receive(deadline, "a PDU", exactly=missing)
        body = memoryview(self._buffer)[self._begin + _PDU_HEADER.size : self._begin + whole]
        self._begin += whole
        return pdu_type, body

    def send(self, data: bytes, within_s: float) -> None:
        """Send all of it; each part that the peer takes at once must be taken within that time."""
        try:
            self._limit(socket.SO_SNDTIMEO, within_s)
            self._connection.sendall(data)
            if self._is_tcp:
                self._acknowledge_at_once()
        except BlockingIOError:
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

    def _receive(self, deadline: float, what: str, exactly: int = 0) -> None:
        """Wait for so many more bytes, or for as many as come at once and find room; returns with some at least."""
        view = memoryview(self._buffer)[self._end : self._end + exactly if exactly else len(self._buffer)]
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TooSlow(what)
            try:
                self._limit(socket.SO_RCVTIMEO, min(left, _TICK_S))
                received = self._connection.recv_into(view, 0, socket.MSG_WAITALL if exactly else 0)
            except BlockingIOError:  # the kernel's limit passed
                continue
            except OSError as error:
                raise PeerGone from error
            if not received:
                raise PeerGone
            self._end += received
            return

    def _make_room(self, needed: int) -> None:
        """Have so many bytes in a row from the beginning of what was received."""
        if self._begin + needed <= len(self._buffer):
            return
        kept = self._buffer[self._begin : self._end]
        if needed > len(self._buffer):
            self._buffer = bytearray(needed + _FIRST_BUFFER_BYTES)
        self._begin, self._end = 0, len(kept)
        self._buffer[: len(kept)] = kept

    def _limit(self, option: int, within_s: float) -> None:
        """Set the kernel's time limit of a call (socket(7)), where it is another than now."""
        if self._limits_s[option] != within_s:
            microseconds = max(int(within_s * 1e6), 1)  # 0 would mean none
            self._connection.setsockopt(socket.SOL_SOCKET, option, _TIMEVAL.pack(*divmod(microseconds, 1_000_000)))
            self._limits_s[option] = within_s

    def _acknowledge_at_once(self) -> None:
        """Have what comes acknowledged when it is read, until we next send (tcp(7), TCP_QUICKACK).

        Senders that leave Nagle's algorithm on, DCMTK among them, else wait 40 ms for our ACK in every image.
        """
        with suppress(OSError, AttributeError):  # closed meanwhile, or a system without the option
            self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def fragments(body: memoryview) -> Iterator[tuple[int, bool, bool, memoryview]]:
    """(context id, is a command's, is the last of it, data) of each PDV of a P-DATA-TF (PS3.8 section 9.3.5)."""
    view, position = body, 0
    if not view:
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
