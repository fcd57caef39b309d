"""Siemens' CSA image header (0029,1010), read with nibabel; a broken one says nothing.

Format as nipy.org/nibabel/dicom/siemens_csa.html describes it.
"""

from __future__ import annotations

import math
import struct
import warnings

from pirtad.inference.dicom.meaning.vendors.private import PrivateElements

with warnings.catch_warnings():
    # nibabel calls all of its DICOM part experimental on import; its reader of the CSA header is ten years old.
    warnings.simplefilter("ignore", UserWarning)
    from nibabel.nicom import csareader

_BROKEN = (
    *(csareader.CSAReadError, ValueError, TypeError, LookupError, ArithmeticError),
    *(AssertionError, struct.error, EOFError, MemoryError),
)


def csa_octets(private: PrivateElements) -> bytes:
    """The CSA image header as it is stored; b"" where there is none."""
    return private.octets(0x0029, "SIEMENS CSA HEADER", 0x10)


def csa_tags(octets: bytes) -> dict[str, list[object]]:
    """Tag name to its values; empty where there is no header or it cannot be read."""
    if not octets:
        return {}
    try:
        return {name: list(tag["items"]) for name, tag in csareader.read(octets)["tags"].items()}
    except _BROKEN:
        return {}


def csa_numbers(tags: dict[str, list[object]], name: str) -> tuple[float, ...]:
    """All values of a tag as finite numbers; () where it is absent or one of them is none."""
    try:
        found = tuple(float(str(value)) for value in tags.get(name, []))
    except ValueError:
        return ()
    return found if all(math.isfinite(value) for value in found) else ()
