"""DIMSE command sets: read and written without a DICOM library, for they come with every image (PS3.7 section 6.3).

A command set is always implicit VR little endian, its elements in ascending order, all of group 0000.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

# PS3.7 table E.1-1, Command Field (0000,0100).
C_STORE_RQ, C_ECHO_RQ, C_CANCEL_RQ = 0x0001, 0x0030, 0x0FFF
N_EVENT_REPORT_RQ, N_ACTION_RQ = 0x0100, 0x0130
RESPONSE = 0x8000
_WITH_DATASET = 0x0001
_NO_DATASET = 0x0101  # PS3.7 section E.1, Command Data Set Type (0000,0800)
_UID_MAX = 64
_COMMENT_MAX = 64  # PS3.5 table 6.2-1, VR LO
MAX_COMMAND_BYTES = 16 * 1024  # chosen: a C-STORE-RQ has about 200

_ELEMENT = struct.Struct("<HHI")
_GROUP_LENGTH = struct.Struct("<HHII")
_NUMBER = struct.Struct("<HHIH")


_HIGH = 0x0001  # PS3.7 table 9.3-1, Priority (0000,0700): LOW is 2, MEDIUM 0


class BadCommand(ValueError):
    """Not a command set; the text holds no values."""


@dataclass(frozen=True, slots=True)
class Command:
    """A request; the UIDs are text as it came, padding removed."""

    field: int
    message_id: int
    has_dataset: bool
    sop_class_uid: str
    sop_instance_uid: str
    is_high_priority: bool = False
    type_id: int = 0  # Event Type ID or Action Type ID
    status: int = 0  # of a response
    answers_id: int = 0  # of a response: the request's message id


def read_command(encoded: bytes | bytearray) -> Command:
    """The command in an encoded command set; `BadCommand` for anything else."""
    values: dict[int, bytes] = {}
    position, previous = 0, -1
    while position < len(encoded):
        if position + 8 > len(encoded):
            raise BadCommand("ends inside an element")
        group, element, length = _ELEMENT.unpack_from(encoded, position)
        position += 8 + length
        if group != 0 or element <= previous or position > len(encoded):
            raise BadCommand("an element of another group, out of order, or longer than the command set")
        previous = element
        values[element] = bytes(encoded[position - length : position])
    return Command(
        field=_number(values, 0x0100),
        message_id=_number(values, 0x0110, default=0),
        has_dataset=_number(values, 0x0800) != _NO_DATASET,
        # Affected, or for an N-ACTION requested.
        sop_class_uid=_text(values.get(0x0002, values.get(0x0003, b""))),
        sop_instance_uid=_text(values.get(0x1000, values.get(0x1001, b""))),
        is_high_priority=_number(values, 0x0700, default=0) == _HIGH,
        type_id=_number(values, 0x1002, default=0) or _number(values, 0x1008, default=0),
        status=_number(values, 0x0900, default=0),
        answers_id=_number(values, 0x0120, default=0),
    )


def response(command: Command, status: int, comment: str = "") -> bytes:
    """The encoded answer to a request (PS3.7 tables 9.3-2 and 9.3-13), without a dataset."""
    body = b"".join(
        (
            _uid(0x0002, command.sop_class_uid),
            _NUMBER.pack(0, 0x0100, 2, command.field | RESPONSE),
            _NUMBER.pack(0, 0x0120, 2, command.message_id),
            _NUMBER.pack(0, 0x0800, 2, _NO_DATASET),
            _NUMBER.pack(0, 0x0900, 2, status),
            _comment(comment),
            _uid(0x1000, command.sop_instance_uid),
            _type_id(command),
        )
    )
    return _GROUP_LENGTH.pack(0, 0, 4, len(body)) + body


def event_report(message_id: int, event_type: int, sop_class_uid: str, sop_instance_uid: str) -> bytes:
    """The encoded command of an N-EVENT-REPORT-RQ with a dataset (PS3.7 table 10.3-1)."""
    body = b"".join(
        (
            _uid(0x0002, sop_class_uid),
            _NUMBER.pack(0, 0x0100, 2, N_EVENT_REPORT_RQ),
            _NUMBER.pack(0, 0x0110, 2, message_id),
            _NUMBER.pack(0, 0x0800, 2, _WITH_DATASET),
            _uid(0x1000, sop_instance_uid),
            _NUMBER.pack(0, 0x1002, 2, event_type),
        )
    )
    return _GROUP_LENGTH.pack(0, 0, 4, len(body)) + body


def _type_id(command: Command) -> bytes:
    """The request's Event Type ID or Action Type ID goes back with the answer (PS3.7 tables 10.3-2 and 10.3-4)."""
    element = {N_EVENT_REPORT_RQ: 0x1002, N_ACTION_RQ: 0x1008}.get(command.field)
    return b"" if element is None else _NUMBER.pack(0, element, 2, command.type_id)


def _number(values: dict[int, bytes], element: int, default: int | None = None) -> int:
    value = values.get(element)
    if value is None and default is not None:
        return default
    if value is None or len(value) != 2:
        raise BadCommand(f"element 0000{element:04X} is not a number of two bytes")
    return int.from_bytes(value, "little")


def _text(value: bytes) -> str:
    return value.rstrip(b"\0 ").decode("latin-1")


def _uid(element: int, text: str) -> bytes:
    """What came as a UID goes back as it came, if it can be one by its length; else it is left out."""
    value = text.encode("latin-1")
    if not 0 < len(value) <= _UID_MAX:
        return b""
    value += b"\0" * (len(value) % 2)
    return _ELEMENT.pack(0, element, len(value)) + value


def _comment(text: str) -> bytes:
    """Error Comment (0000,0902)."""
    value = text.encode("ascii", "replace").replace(b"\\", b"/")[:_COMMENT_MAX]
    value += b" " * (len(value) % 2)
    return _ELEMENT.pack(0, 0x0902, len(value)) + value if value else b""
