"""Walk the elements of a header once, without building what nobody asks for.

pydicom's own reader builds every item of every sequence of undefined length, which takes most of the time that a study
of many files takes; here a sequence stays a run of bytes until somebody touches it (pydicom then parses it): a Philips
header of 440 elements takes a quarter of the time. Only headers in little endian byte order that follow PS3.5 section 7
to the letter are walked; at anything else the walk gives up, and pydicom reads the file and has its word on it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache

from pydicom.charset import convert_encodings
from pydicom.dataelem import RawDataElement, empty_value_for_VR
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

PIXEL_TAGS = 0x7FE00001
"""First of the tags that end a header: extended offsets, float and integer pixel data."""

_LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
"""Value representations with a length of four bytes (PS3.5 table 7.1-1)."""
_SHORT = frozenset(
    {
        *(b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO"),
        *(b"LT", b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"),
    }
)
_NAMES = {vr: vr.decode("ascii") for vr in _LONG | _SHORT}
_EMPTY = {None: empty_value_for_VR(None, raw=True)} | {
    name: empty_value_for_VR(name, raw=True) for name in _NAMES.values()
}
_COMPRESSED = ("1.2.840.10008.1.2.4.", "1.2.840.10008.1.2.5")
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_MOST_NESTED = 32
"""Chosen: real headers nest six deep."""
_explicit = struct.Struct("<HH2sH").unpack_from
_implicit = struct.Struct("<HHL").unpack_from
_length = struct.Struct("<L").unpack_from
_new = tuple.__new__


class Unscannable(Exception):
    """Not a header this module walks, or one whose end lies beyond the bytes given."""


@dataclass(frozen=True, slots=True, eq=False)
class Scanned:
    """File meta information and the elements before the pixel data; `has_pixels`: whether these follow."""

    meta: Dataset
    header: Dataset
    has_pixels: bool


def scan(content: bytes, whole: bool) -> Scanned:
    """The header in the first bytes of a Part 10 file.

    whole: whether `content` is the whole file, so that its end may be the header's.

    Raises:
        Unscannable: give more bytes, or leave the file to pydicom.
    """
    try:
        return _scan(content, whole)
    except (struct.error, ValueError, LookupError) as error:
        raise Unscannable from error


def _scan(content: bytes, whole: bool) -> Scanned:
    if content[128:132] != b"DICM":
        raise Unscannable
    meta, position, _ = _elements(content, 132, implicit=False, only_group=2)
    syntax = (meta[_tag(0x00020010)].value or b"").decode("ascii").strip(" \0")
    # Compressed syntaxes code their header as explicit little endian does; big endian and deflated ones are left out.
    implicit = syntax == ImplicitVRLittleEndian
    if not implicit and syntax != ExplicitVRLittleEndian and not syntax.startswith(_COMPRESSED):
        raise Unscannable
    header, position, has_pixels = _elements(content, position, implicit)
    if not has_pixels and not (whole and position == len(content)):
        raise Unscannable
    made = Dataset(header)
    charset = header.get(_tag(0x00080005))
    stated = (charset.value or b"").decode("ascii") if charset else ""
    made.set_original_encoding(implicit, True, list(_encodings(stated)))
    return Scanned(Dataset(meta), made, has_pixels)


@lru_cache(maxsize=1024)
def _tag(number: int) -> BaseTag:
    return BaseTag(number)


@lru_cache(maxsize=64)
def _encodings(stated: str) -> tuple[str, ...]:
    return tuple(convert_encodings([part.strip(" \0") for part in stated.split("\\")]))


def _elements(
    content: bytes, position: int, implicit: bool, only_group: int | None = None
) -> tuple[dict[BaseTag, RawDataElement], int, bool]:
    """The elements from `position` on up to the pixel data, the end or another group; where that is, and whether it
    is pixel data."""
    size = len(content)
    found: dict[BaseTag, RawDataElement] = {}
    last = 0
    while position < size:
        group, number, length = _implicit(content, position)
        tag = group << 16 | number
        if tag >= PIXEL_TAGS:
            return found, position, True
        if only_group is not None and group != only_group:
            break
        if tag <= last:
            # Out of order: damaged, or the item of a sequence that was torn apart.
            raise Unscannable
        last = tag
        start = position + 8
        vr: str | None = None
        if not implicit:
            code = content[position + 4 : start - 2]
            vr = _NAMES[code]
            if code in _LONG:
                (length,) = _length(content, start)
                start += 4
            else:
                length >>= 16
        if length == _UNDEFINED:
            if vr not in {"SQ", None}:
                raise Unscannable
            end = _end_of_sequence(content, start, implicit, 0)
            # Its contents are handed on as if their length had been stated; the delimiter is left out.
            length = end - 8 - start
            vr = "SQ"
        else:
            end = start + length
        if end > size:
            raise Unscannable
        value = content[start : start + length] if length else _EMPTY[vr]
        base = _tag(tag)
        # RawDataElement(base, vr, length, value, start, implicit, is_little_endian=True), without its Python wrapper
        found[base] = _new(RawDataElement, (base, vr, length, value, start, implicit, True, True, False))
        position = end
    return found, position, False


def _end_of_sequence(content: bytes, position: int, implicit: bool, depth: int) -> int:
    """Where a sequence of undefined length ends, its delimiter included."""
    if depth > _MOST_NESTED:
        raise Unscannable
    while True:
        group, number, length = _implicit(content, position)
        tag = group << 16 | number
        position += 8
        if tag == _SEQUENCE_END:
            return position
        if tag != _ITEM:
            raise Unscannable
        position = _end_of_item(content, position, implicit, depth) if length == _UNDEFINED else position + length


def _end_of_item(content: bytes, position: int, implicit: bool, depth: int) -> int:
    while True:
        if implicit:
            group, number, length = _implicit(content, position)
            nests = True
        else:
            group, number, code, length = _explicit(content, position)
            if group == 0xFFFE:
                return _delimited(group << 16 | number, position)
            if code in _LONG:
                position += 4
                (length,) = _length(content, position + 4)
            elif code not in _SHORT:
                raise Unscannable
            nests = code == b"SQ"
        position += 8
        if group == 0xFFFE:
            return _delimited(group << 16 | number, position - 8)
        if length != _UNDEFINED:
            position += length
        elif nests:
            position = _end_of_sequence(content, position, implicit, depth + 1)
        else:
            raise Unscannable


def _delimited(tag: int, position: int) -> int:
    if tag != _ITEM_END:
        raise Unscannable
    return position + 8
