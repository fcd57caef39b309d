"""Single standard attributes of the default character set, as carefully as `attributes` reads them, a few times faster.

For UIDs, code strings, numbers, dates and times: their bytes are read as they stand in the file. What a person typed
(LO, PN and the like) needs the header's character set and goes through `attributes`.
"""

from __future__ import annotations

from functools import cache

from pydicom import Dataset
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.tag import BaseTag

from pirtad.inference.dicom.attributes import raw_numbers, raw_texts


def plain_texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Every value as text; () where absent or malformed."""
    return raw_texts(dataset, *_known(keyword))


def plain_text(dataset: Dataset, keyword: str) -> str:
    """The first value as text; "" where absent, empty or malformed."""
    found = raw_texts(dataset, *_known(keyword))
    return found[0] if found else ""


def plain_numbers(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Exactly `count` finite numbers, or None."""
    found = raw_numbers(dataset, *_known(keyword))
    return found if len(found) == count else None


def plain_number(dataset: Dataset, keyword: str) -> float | None:
    """One finite number, or None."""
    found = raw_numbers(dataset, *_known(keyword))
    return found[0] if len(found) == 1 else None


def plain_whole(dataset: Dataset, keyword: str) -> int | None:
    """One whole number, or None."""
    found = plain_number(dataset, keyword)
    return int(found) if found is not None and found.is_integer() else None


@cache
def _known(keyword: str) -> tuple[BaseTag, str]:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"no standard attribute has the keyword {keyword}")
    return BaseTag(tag), dictionary_VR(tag)
