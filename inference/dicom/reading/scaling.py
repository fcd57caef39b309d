"""How stored values become meaningful ones, as the header of an image or a frame says it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag

from pirtad.inference.dicom.attributes import items
from pirtad.inference.dicom.frames import Problem, Scaling
from pirtad.inference.dicom.plain import plain_number, plain_text
from pirtad.inference.dicom.reading.units import parse_unit

_MAPPINGS = BaseTag(0x00409096)  # RealWorldValueMappingSequence


def scaling_of(header: Dataset) -> Scaling:
    """RescaleSlope and RescaleIntercept (PS3.3 C.11.1.1.2; per frame C.7.6.16.2.9), 1 and 0 where absent, and beside
    them what is stated about diffusivity: a Real World Value Mapping (C.7.6.16.2.11) in such a unit, RescaleType
    (0028,1054) or Units (0054,1001).

    A slope of zero or less, or one of the two without a value, is a problem ("broken_rescale") and no exception.
    """
    unit = parse_unit(plain_text(header, "RescaleType")) or parse_unit(plain_text(header, "Units"))
    mapped = _diffusivity(header)
    if "RescaleSlope" not in header and "RescaleIntercept" not in header:
        return Scaling(unit_mm2_per_s=unit, diffusivity=mapped)
    slope = plain_number(header, "RescaleSlope")
    intercept = plain_number(header, "RescaleIntercept") if "RescaleIntercept" in header else 0.0
    if slope is None or slope <= 0 or intercept is None:
        uid = plain_text(header, "SOPInstanceUID")
        broken = Problem("broken_rescale", f"instance {uid} has an unusable RescaleSlope or RescaleIntercept")
        return Scaling(unit_mm2_per_s=unit, diffusivity=mapped, problem=broken)
    return Scaling(slope, intercept, unit, mapped)


def _diffusivity(header: Dataset) -> tuple[float, float, float] | None:
    raw = header.get_item(_MAPPINGS)
    if isinstance(raw, RawDataElement) and raw.VR in {"SQ", None} and isinstance(raw.value, bytes):
        return _parsed(raw.value, raw.is_implicit_VR, raw.is_little_endian)
    return _found(items(header, "RealWorldValueMappingSequence"))


@lru_cache(maxsize=1024)
def _parsed(content: bytes, implicit: bool, little_endian: bool) -> tuple[float, float, float] | None:
    """The same from the sequence's bytes, which are those of hundreds of images of a series."""
    holder = Dataset()
    holder.set_original_encoding(implicit, little_endian, "iso8859")
    holder[_MAPPINGS] = RawDataElement(_MAPPINGS, "SQ", len(content), content, 0, implicit, little_endian)
    return _found(items(holder, "RealWorldValueMappingSequence"))


def _found(mappings: Iterable[Dataset]) -> tuple[float, float, float] | None:
    for item in mappings:
        slope, intercept = plain_number(item, "RealWorldValueSlope"), plain_number(item, "RealWorldValueIntercept")
        units = [parse_unit(plain_text(code, "CodeValue")) for code in items(item, "MeasurementUnitsCodeSequence")]
        if slope and slope > 0 and intercept is not None and units and units[0] is not None:
            return slope, intercept, units[0]
    return None
