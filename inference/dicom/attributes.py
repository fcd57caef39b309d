"""Careful reading of single attributes: absent, empty and malformed values all come back as "nothing".

pydicom converts a raw value when it is first touched, so a malformed one raises there and not at dcmread. Clinical
headers carry such values in places nobody needs; only the attributes a decision rests on may stop a study, and the
code that takes the decision says so itself.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable

import pydicom.config
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.errors import BytesLengthException
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

# pydicom would warn about every value that breaks the rules of its VR and quote the value, be it the patient's name.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

# OSError is what pydicom raises for a sequence that ends too early. The disk has no part in it: headers are read whole.
MALFORMED = (
    *(ValueError, TypeError, LookupError, ArithmeticError, NotImplementedError, EOFError, OSError),
    *(struct.error, BytesLengthException),
)


def _values(dataset: Dataset, keyword: str) -> list[object]:
    try:
        value = dataset.get(keyword)
    except MALFORMED:
        return []
    if value is None:
        return []
    return list(value) if isinstance(value, MultiValue | list | tuple) else [value]


def texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Every value as text without surrounding blanks and NULs; () where absent or malformed."""
    try:
        return tuple(str(value).strip(" \0\t\r\n") for value in _values(dataset, keyword))
    except MALFORMED:
        return ()


def text(dataset: Dataset, keyword: str) -> str:
    """The first value as text; "" where absent, empty or malformed."""
    found = texts(dataset, keyword)
    return found[0] if found else ""


def items(dataset: Dataset, keyword: str) -> Iterable[Dataset]:
    """The items of a sequence; none where it is absent or malformed."""
    try:
        value = dataset.get(keyword)
    except MALFORMED:
        return []
    return [item for item in value if isinstance(item, Dataset)] if value is not None else []


_STRUCT = {"FD": "d", "FL": "f", "SS": "h", "US": "H", "SL": "i", "UL": "I"}
"""Binary numbers, PS3.5 table 6.2-1, by the letter `struct` has for them."""
_UNTYPED = {None, "", "UN", "OB", "OW"}


def raw_values(dataset: Dataset, tag: BaseTag, vr: str) -> list[object]:
    """The values of an element whose type is known, without pydicom's conversion; [] where absent or malformed.

    vr: what the element holds where the file does not say: Implicit VR has no VR at all, and what passed through a
        system that did not know a private element is UN (PS3.5 section 6.2.2). A VR that the file states wins.
    Text comes back without surrounding blanks and NULs, bytes in the byte order they were read in. This costs a
    tenth of a conversion, and study after study of ten thousand headers needs a dozen of these each.
    """
    element = dataset.get_item(tag, keep_deferred=True)
    if element is None or element.value is None:
        return []
    value = element.value
    if not isinstance(value, bytes):
        return list(value) if isinstance(value, MultiValue | list | tuple) else [value]
    held = vr if element.VR in _UNTYPED else str(element.VR)
    letter = _STRUCT.get(held)
    if letter is None:
        return [part.strip(" \0\t\r\n") for part in value.decode("latin-1").split("\\")]
    count, rest = divmod(len(value), struct.calcsize(letter))
    if rest:
        return []
    little = element.is_little_endian if isinstance(element, RawDataElement) else dataset.original_encoding[1]
    return list(struct.unpack(f"{'>' if little is False else '<'}{count}{letter}", value))


def raw_texts(dataset: Dataset, tag: BaseTag, vr: str = "CS") -> tuple[str, ...]:
    """Code strings and other text of the default character set, as `raw_values` finds them."""
    try:
        return tuple(str(value).strip(" \0\t\r\n") for value in raw_values(dataset, tag, vr))
    except MALFORMED:
        return ()


def raw_numbers(dataset: Dataset, tag: BaseTag, vr: str) -> tuple[float, ...]:
    """All values as finite numbers; () where absent, or where one of them is no number."""
    try:
        found = tuple(float(str(value)) for value in raw_values(dataset, tag, vr))
    except MALFORMED:
        return ()
    return found if all(math.isfinite(value) for value in found) else ()
