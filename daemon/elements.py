"""Walks the top-level elements of an encoded dataset without decoding any (PS3.5 section 7).

Written for bytes from the network: it copies and recurses nowhere, skips values by their length, and any malformation
is `Malformed`, whatever the bytes. Elements must stand in ascending order (PS3.5 section 7.1), so that a second Study
Instance UID further down can't contradict the first.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_UNDEFINED = 0xFFFFFFFF  # PS3.5 section 7.1.1
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD  # PS3.5 table 7.5-3
# PS3.5 table 7.1-1: these have two reserved bytes and a length of four bytes; every other VR has two bytes of length.
_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
# By whether it is little endian: an element's start, PS3.5 sections 7.1.2 and 7.1.3.
_EXPLICIT = (struct.Struct(">HH2sH"), struct.Struct("<HH2sH"))
_IMPLICIT = (struct.Struct(">HHI"), struct.Struct("<HHI"))
_LENGTH = (struct.Struct(">I"), struct.Struct("<I"))


class Malformed(ValueError):
    """Not a dataset in this encoding; the text holds tags and positions, no values."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a dataset is encoded."""

    is_explicit_vr: bool
    is_little_endian: bool


_IMPLICIT_LITTLE = Encoding(is_explicit_vr=False, is_little_endian=True)


def walk(data: bytes, encoding: Encoding) -> Iterator[tuple[int, int, int]]:
    """(tag, start, end) of each top-level element with a value of defined length, in order; others are skipped.

    A tag is (group << 16) | element; start and end are byte positions of the value in `data`.
    """
    position, previous = 0, -1
    while position < len(data):
        tag, start, length, inner = _header(data, position, encoding)
        if tag <= previous:
            raise Malformed(f"element {tag:08X} at byte {position} is out of order")
        previous = tag
        if length == _UNDEFINED:
            position = _after_sequence(data, start, inner)
            continue
        position = start + length
        if position > len(data):
            raise Malformed(f"element {tag:08X} ends {position - len(data)} bytes after the dataset")
        yield tag, start, position


def _header(data: bytes, position: int, encoding: Encoding) -> tuple[int, int, int, Encoding]:
    """(tag, start of the value, length, encoding of what is inside) of the element at this position."""
    try:
        if not encoding.is_explicit_vr:
            group, element, length = _IMPLICIT[encoding.is_little_endian].unpack_from(data, position)
            return group << 16 | element, position + 8, length, encoding
        group, element, vr, length = _EXPLICIT[encoding.is_little_endian].unpack_from(data, position)
        tag = group << 16 | element
        if not (vr.isalpha() and vr.isupper()):
            raise Malformed(f"element {tag:08X} at byte {position} has no value representation")
        if vr not in _LONG_VRS:
            return tag, position + 8, length, encoding
        (length,) = _LENGTH[encoding.is_little_endian].unpack_from(data, position + 8)
    except struct.error:
        raise _cut_off(data) from None
    # PS3.5 section 6.2.2, note 2: inside UN of undefined length everything is implicit VR little endian.
    return tag, position + 12, length, _IMPLICIT_LITTLE if vr == b"UN" else encoding


def _after_sequence(data: bytes, position: int, encoding: Encoding) -> int:
    """The position after a sequence of undefined length whose first item starts at `position` (PS3.5 section 7.5)."""
    open_parts: list[tuple[bool, Encoding]] = [(True, encoding)]  # (is a sequence; else an item, its encoding)
    while open_parts:
        is_sequence, encoding = open_parts[-1]
        order = "<" if encoding.is_little_endian else ">"
        group, element = _unpack(order + "HH", data, position)
        tag = group << 16 | element
        if tag == (_SEQUENCE_END if is_sequence else _ITEM_END):
            open_parts.pop()
            position += 8
        elif is_sequence:
            if tag != _ITEM:
                raise Malformed(f"{tag:08X} at byte {position} where an item should be")
            (length,) = _unpack(order + "I", data, position + 4)
            position += 8
            if length == _UNDEFINED:
                open_parts.append((False, encoding))
            else:
                position += length
        else:
            _, start, length, inner = _header(data, position, encoding)
            position = start
            if length == _UNDEFINED:
                open_parts.append((True, inner))
            else:
                position += length
    if position > len(data):
        raise Malformed("the dataset ends inside a sequence")
    return position


def _unpack(layout: str, data: bytes, position: int) -> tuple[int, ...]:
    try:
        return struct.unpack_from(layout, data, position)
    except struct.error:
        raise _cut_off(data) from None


def _cut_off(data: bytes) -> Malformed:
    return Malformed(f"the dataset ends at byte {len(data)} inside an element")
