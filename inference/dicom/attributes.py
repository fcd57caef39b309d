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
from pydicom.errors import BytesLengthException
from pydicom.multival import MultiValue

# pydicom would warn about every value that breaks the rules of its VR and quote the value, be it the patient's name.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

_MALFORMED = (
    *(ValueError, TypeError, LookupError, ArithmeticError, NotImplementedError, EOFError),
    *(struct.error, BytesLengthException),
)


def _values(dataset: Dataset, keyword: str) -> list[object]:
    try:
        value = dataset.get(keyword)
    except _MALFORMED:
        return []
    if value is None:
        return []
    return list(value) if isinstance(value, MultiValue | list | tuple) else [value]


def texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Every value as text without surrounding blanks and NULs; () where absent or malformed."""
    try:
        return tuple(str(value).strip(" \0\t\r\n") for value in _values(dataset, keyword))
    except _MALFORMED:
        return ()


def text(dataset: Dataset, keyword: str) -> str:
    """The first value as text; "" where absent, empty or malformed."""
    found = texts(dataset, keyword)
    return found[0] if found else ""


def numbers(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Exactly `count` finite numbers, or None."""
    try:
        found = tuple(float(str(value)) for value in _values(dataset, keyword))
    except _MALFORMED:
        return None
    return found if len(found) == count and all(math.isfinite(value) for value in found) else None


def number(dataset: Dataset, keyword: str) -> float | None:
    """One finite number, or None."""
    found = numbers(dataset, keyword, 1)
    return found[0] if found else None


def whole(dataset: Dataset, keyword: str) -> int | None:
    """One whole number, or None."""
    found = number(dataset, keyword)
    return int(found) if found is not None and found.is_integer() else None


def items(dataset: Dataset, keyword: str) -> Iterable[Dataset]:
    """The items of a sequence; none where it is absent or malformed."""
    try:
        value = dataset.get(keyword)
    except _MALFORMED:
        return []
    return [item for item in value if isinstance(item, Dataset)] if value is not None else []
