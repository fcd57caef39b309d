"""What a stream of PDUs says, read by other code than the daemon's: which images it holds whole, what was answered.

Lenient where the daemon may be strict, never the other way: it goes on behind what the daemon ends the association for.
So each image that counts as received has to be among these, with the same bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from support.fuzz_streams import pdus_of, pdvs_of

_P_DATA, _ASSOCIATE_AC = 4, 2
_CONTEXT_RESULT, _TRANSFER_SYNTAX = 0x21, 0x40
_STORE_RQ, _STORE_RSP = 0x0001, 0x8001


@dataclass(frozen=True, slots=True)
class Sent:
    """A C-STORE of which every byte was sent: the whole command and the whole dataset."""

    context: int
    sop_instance_uid: str
    dataset: bytes


@dataclass(slots=True)
class Answers:
    """What the association answered. stored: by C-STORE response with Success, in order, the instance's UID."""

    syntaxes: dict[int, str] = field(default_factory=dict)  # accepted, by context
    stored: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)  # of every response
    kinds: list[int] = field(default_factory=list)  # types of PDUs


def sent_images(stream: bytes) -> list[Sent]:
    """The images that are whole in what a peer sent, in order."""
    found: list[Sent] = []
    command, dataset = bytearray(), bytearray()
    request: tuple[int, str] | None = None
    for pdu in pdus_of(stream):
        if pdu[:1] != bytes((_P_DATA,)) or len(pdu) < 6 or len(pdu) != 6 + int.from_bytes(pdu[2:6], "big"):
            continue
        for one in pdvs_of(pdu):
            if one.control & 1:
                command += one.data
                if one.control & 2:
                    values = command_values(bytes(command))
                    command.clear()
                    dataset.clear()
                    is_store = values.get(0x0100) == struct.pack("<H", _STORE_RQ)
                    request = (one.context, uid_text(values.get(0x1000, values.get(0x1001, b"")))) if is_store else None
            else:
                dataset += one.data
                if one.control & 2:
                    if request is not None and request[0] == one.context:
                        found.append(Sent(one.context, request[1], bytes(dataset)))
                    dataset.clear()
                    request = None
    return found


def answers(stream: bytes) -> Answers:
    """What the daemon sent."""
    said = Answers()
    command = bytearray()
    for pdu in pdus_of(stream):
        said.kinds.append(pdu[0])
        if pdu[0] == _ASSOCIATE_AC:
            said.syntaxes = _accepted(pdu)
        elif pdu[0] == _P_DATA:
            for one in pdvs_of(pdu):
                if one.control & 1:
                    command += one.data
                    if one.control & 2:
                        _note(said, command_values(bytes(command)))
                        command.clear()
    return said


def _note(said: Answers, values: dict[int, bytes]) -> None:
    (kind,) = struct.unpack("<H", values[0x0100])
    if not kind & 0x8000:
        return
    (status,) = struct.unpack("<H", values[0x0900])
    said.statuses.append(status)
    if kind == _STORE_RSP and status == 0:
        said.stored.append(uid_text(values.get(0x1000, b"")))


def command_values(encoded: bytes) -> dict[int, bytes]:
    """The elements of a command set, as far as they can be followed; of two alike the first."""
    values: dict[int, bytes] = {}
    position = 0
    while position + 8 <= len(encoded):
        _, element, length = struct.unpack_from("<HHI", encoded, position)
        values.setdefault(element, encoded[position + 8 : position + 8 + length])
        position += 8 + length
    return values


def uid_text(value: bytes) -> str:
    return value.rstrip(b"\0 ").decode("latin-1")


def _accepted(pdu: bytes) -> dict[int, str]:
    """Transfer syntax by context id, of the results that are acceptance (PS3.8 table 9-18)."""
    found, position = {}, 6 + 68
    while position + 4 <= len(pdu):
        end = position + 4 + int.from_bytes(pdu[position + 2 : position + 4], "big")
        if pdu[position] == _CONTEXT_RESULT and pdu[position + 6] == 0 and pdu[position + 8] == _TRANSFER_SYNTAX:
            found[pdu[position + 4]] = uid_text(pdu[position + 12 : end])
        position = end
    return found
