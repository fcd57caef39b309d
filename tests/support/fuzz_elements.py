"""Damage to encoded data elements, by somebody who knows where tags, lengths and values stand (PS3.5 section 7.1).

For datasets in any encoding and for command sets. Reads leniently, by itself: what it damages may be damaged already.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass

_LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_VRS = (
    b"UI",
    b"CS",
    b"LO",
    b"SQ",
    b"UN",
    b"OB",
    b"OW",
    b"US",
    b"UL",
    b"AT",
    b"FD",
    b"ui",
    b"\0\0",
    b"ZZ",
    b"U1",
    b"??",
)
_TAGS = (0x00080016, 0x00080018, 0x00080060, 0x0020000D, 0x0020000E, 0x00080005, 0x7FE00010, 0xFFFEE000, 0xFFFEE00D,
         0xFFFEE0DD, 0xFFFFFFFF, 0x00000000, 0x00020010, 0x00090010, 0x00091001, 0x00081140)  # fmt: skip
_UIDS = (b"1.2\0", b"1.2.3 ", b"1.02", b"1..2", b".1", b"1.", b"\0\0", b"", b"1.2\\1.3", b"1.2\0001.3", b"\xff\xfe",
         b"1." + b"2" * 62, b"1." + b"2" * 63, b" 1.2", b"../../x ", b"1.2\n1", b"2.25.0", b"0", b"9" * 64)  # fmt: skip
_SEQUENCE_END = {True: b"\xfe\xff\xdd\xe0\0\0\0\0", False: b"\xff\xfe\xe0\xdd\0\0\0\0"}


@dataclass(frozen=True, slots=True)
class Coding:
    """How elements are encoded."""

    is_explicit: bool
    is_little: bool

    @property
    def order(self) -> str:
        return "<" if self.is_little else ">"


@dataclass(frozen=True, slots=True)
class Element:
    """Where one stands: `start`, its length field (`length_at`, of `length_bytes`), its value, its `end`."""

    start: int
    length_at: int
    length_bytes: int
    value_at: int
    end: int


def coding_of(data: bytes) -> Coding:
    """What it looks like."""
    is_explicit = len(data) > 6 and data[4:6].isalpha() and data[4:6].isupper()
    return Coding(is_explicit, not (len(data) > 4 and data[0] == 0 and data[1] != 0))


def elements(data: bytes, coding: Coding) -> list[Element]:
    """The elements at the top, as far as they can be followed."""
    found, position = [], 0
    while position + 8 <= len(data):
        length_at, length_bytes = position + 4, 4
        if coding.is_explicit:
            is_long = data[position + 4 : position + 6] in _LONG_VRS
            length_at, length_bytes = (position + 8, 4) if is_long else (position + 6, 2)
        value_at = length_at + length_bytes
        if value_at > len(data):
            break
        length = int.from_bytes(data[length_at:value_at], "little" if coding.is_little else "big")
        if length_bytes == 4 and length == 0xFFFFFFFF:
            end_at = data.find(_SEQUENCE_END[coding.is_little], value_at)
            end = end_at + 8 if end_at >= 0 else len(data)
        else:
            end = min(value_at + length, len(data))
        found.append(Element(position, length_at, length_bytes, value_at, end))
        position = end
    return found


def damaged_elements(chance: random.Random, data: bytes, coding: Coding) -> bytes:
    """One thing changed, mostly at an element in the first half, where what is looked at stands."""
    found = elements(data, coding)
    if not found:
        return data
    one = found[min(int(chance.expovariate(1.0) * len(found) / 3), len(found) - 1)]
    return chance.choice(_WAYS)(chance, data, coding, one, found)


Way = Callable[[random.Random, bytes, Coding, Element, list[Element]], bytes]


def _length(chance: random.Random, data: bytes, coding: Coding, one: Element, _found: list[Element]) -> bytes:
    true, most = one.end - one.value_at, 256**one.length_bytes - 1
    value = chance.choice((0, 1, true - 1, true + 1, true + 2, most, most - 1, most // 2 + 1, len(data),
                           len(data) - one.value_at, chance.randrange(most)))  # fmt: skip
    field = (value & most).to_bytes(one.length_bytes, "little" if coding.is_little else "big")
    return data[: one.length_at] + field + data[one.value_at :]


def _tag(chance: random.Random, data: bytes, coding: Coding, one: Element, _found: list[Element]) -> bytes:
    tag = chance.choice(_TAGS)
    return data[: one.start] + struct.pack(f"{coding.order}HH", tag >> 16, tag & 0xFFFF) + data[one.start + 4 :]


def _vr(chance: random.Random, data: bytes, _coding: Coding, one: Element, _found: list[Element]) -> bytes:
    return data[: one.start + 4] + chance.choice(_VRS) + data[one.start + 6 :]


def _drop(_chance: random.Random, data: bytes, _coding: Coding, one: Element, _found: list[Element]) -> bytes:
    return data[: one.start] + data[one.end :]


def _repeat(chance: random.Random, data: bytes, _coding: Coding, one: Element, found: list[Element]) -> bytes:
    at = chance.choice((one.end, chance.choice(found).start, len(data)))
    return data[:at] + data[one.start : one.end] + data[at:]


def _swap(chance: random.Random, data: bytes, _coding: Coding, one: Element, found: list[Element]) -> bytes:
    first, second = sorted((one, chance.choice(found)), key=lambda element: element.start)
    if first is second:
        return data
    parts = (data[: first.start], data[second.start : second.end], data[first.end : second.start],
             data[first.start : first.end], data[second.end :])  # fmt: skip
    return b"".join(parts)


def _value(chance: random.Random, data: bytes, coding: Coding, one: Element, _found: list[Element]) -> bytes:
    """Another value, with the length that belongs to it."""
    value = chance.choice((chance.choice(_UIDS), chance.choice(_UIDS), chance.randbytes(chance.randrange(40))))
    field = len(value).to_bytes(one.length_bytes, "little" if coding.is_little else "big")
    return data[: one.length_at] + field + value + data[one.end :]


def _number(chance: random.Random, data: bytes, _coding: Coding, one: Element, _found: list[Element]) -> bytes:
    """Two bytes of the value set to a number that means something in a command set (PS3.7 table E.1-1)."""
    number = chance.choice((0x0001, 0x8001, 0x0010, 0x0020, 0x0021, 0x0030, 0x8030, 0x0100, 0x8100, 0x0130, 0x0FFF,
                            0x0101, 0x0000, 0xFFFF, chance.randrange(0x10000)))  # fmt: skip
    return data[: one.value_at] + struct.pack("<H", number) + data[one.value_at + 2 :]


def _nest(chance: random.Random, data: bytes, coding: Coding, one: Element, _found: list[Element]) -> bytes:
    """Sequences in sequences, of undefined length, closed or not."""
    depth = chance.choice((1, 2, 3, 30, 400))
    tag = struct.pack(f"{coding.order}HH", 0x0008, chance.choice((0x0017, 0x1140, 0x0061)))
    opening = tag + ((chance.choice((b"SQ", b"UN", b"OB")) + b"\0\0") if coding.is_explicit else b"") + b"\xff" * 4
    opening += struct.pack(f"{coding.order}HH", 0xFFFE, 0xE000) + chance.choice((b"\xff" * 4, b"\0" * 4))
    item_end = struct.pack(f"{coding.order}HHI", 0xFFFE, 0xE00D, 0)
    closing = chance.choice(
        (b"", item_end, _SEQUENCE_END[coding.is_little], item_end + _SEQUENCE_END[coding.is_little])
    )
    at = chance.choice((one.start, one.end))
    return data[:at] + opening * depth + closing * chance.choice((depth, depth - 1, depth + 1)) + data[at:]


def _cut(chance: random.Random, data: bytes, _coding: Coding, one: Element, _found: list[Element]) -> bytes:
    return data[: chance.choice((one.start, one.length_at, one.value_at, one.end, chance.randrange(len(data) + 1)))]


_WAYS: tuple[Way, ...] = (
    _length, _length, _length, _tag, _tag, _vr, _vr, _drop, _repeat, _repeat, _swap, _swap, _value, _value, _value,
    _number, _nest, _cut,
)  # fmt: skip
