"""Damage to an A-ASSOCIATE-RQ by somebody who knows its items (PS3.8 section 9.3.2, PS3.7 annex D.3.3)."""

from __future__ import annotations

import random
import struct

_ASSOCIATE_RQ = 1
_FIXED_BYTES = 68  # PS3.8 table 9-11: version, AE titles, reserved
_TYPES = (0x10, 0x20, 0x21, 0x30, 0x40, 0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0, 255)
_VALUES = (b"", b"1.2", b"\xff" * 4, b"\0\0\0\1", b"\0\0\0\6", b"1." + b"2" * 70, b"\xc3\x28", b"..",
           b"1.2.840.10008.1.1")  # fmt: skip
# Roles, a user's identity, extended negotiation, an asynchronous window.
_FURTHER = (b"\x54\0\0\x05\0\x011\0\1", b"\x58\0\0\x08\1\0\0\2me\0\0", b"\x56\0\0\x04\0\x02\0\0",
            b"\x54\0\0\x15\0\x111.2.840.10008.1.1\1\1", b"\x57\0\0\x02\0\0", b"\x53\0\0\x04\0\1\0\1")  # fmt: skip


def damaged_request(chance: random.Random, pdus: list[bytes]) -> list[bytes]:
    """Items of the A-ASSOCIATE-RQ (PS3.8 section 9.3.2) damaged; mostly the PDU's length is right after it."""
    if not pdus or pdus[0][:1] != bytes((_ASSOCIATE_RQ,)) or len(pdus[0]) < 80:
        return pdus
    body = bytearray(pdus[0][6:])
    items = _items(body, _FIXED_BYTES, len(body))
    outer = chance.choice(items) if items else (_FIXED_BYTES, len(body))
    inner = _items(body, outer[0] + (8 if body[outer[0]] == 0x20 else 4), outer[1])
    start, end = chance.choice(inner) if inner and chance.random() < 0.7 else outer
    match chance.randrange(8):
        case 0:
            length = chance.choice((0, 1, end - start - 5, end - start - 3, 0xFFFF))
            struct.pack_into(">H", body, start + 2, length & 0xFFFF)
        case 1:
            body[start] = chance.choice(_TYPES)
        case 2:
            del body[start:end]
        case 3:
            body[end:end] = bytes(body[start:end]) * chance.choice((1, 1, 130))
        case 4:
            position = chance.randrange(start, end)
            body[position] = chance.choice((0, 1, 2, 255, chance.randrange(256)))
        case 5:  # version, AE titles, reserved bytes
            position = chance.randrange(_FIXED_BYTES)
            body[position] = chance.choice((0, 0x20, 0xFF, chance.randrange(256)))
        case 6:  # a value of another length, the item's length in agreement
            value = chance.choice(_VALUES)
            body[start + 2 : end] = struct.pack(">H", len(value)) + value
        case _:
            body[end:end] = chance.choice(_FURTHER)
    said = len(body) if chance.random() < 0.85 else len(pdus[0]) - 6
    return [pdus[0][:2] + struct.pack(">I", said) + bytes(body), *pdus[1:]]


def _items(body: bytearray, start: int, end: int) -> list[tuple[int, int]]:
    """(start, end) of each item, as far as they can be followed."""
    found = []
    while start + 4 <= end:
        item_end = start + 4 + int.from_bytes(body[start + 2 : start + 4], "big")
        if item_end > end:
            break
        found.append((start, item_end))
        start = item_end
    return found
