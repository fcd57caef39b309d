"""How true values become stored ones: slope, intercept, sign, and where an ADC map's unit is stated, if at all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

Stored = NDArray[np.integer[Any]]


class Stated(StrEnum):
    """Where the unit of an ADC map is stated."""

    NOWHERE = "nowhere"
    RESCALE_TYPE = "rescale type"
    MAPPING = "real world value mapping"


_UCUM = {1e-6: "um2/s", 1e-3: "10*-3.mm2/s", 1.0: "mm2/s"}
_FREE = {1e-6: "10^-6 mm2/s", 1e-3: "10^-3 mm2/s", 1.0: "mm2/s"}


@dataclass(frozen=True)
class Encoding:
    """stored = round((value - intercept) / slope), value in `unit_mm2_per_s` for maps.

    signed: PixelRepresentation 1, with an intercept that makes many stored values negative. uneven: every slice has its
    own slope, where the packing allows it.
    """

    slope: float = 1.0
    intercept: float = 0.0
    signed: bool = False
    unit_mm2_per_s: float = 1e-6
    stated: Stated = Stated.NOWHERE
    uneven: bool = False

    def of_slice(self, index: int) -> Encoding:
        """The encoding of one slice."""
        return replace(self, slope=self.slope * (1.0 + 0.25 * (index % 3))) if self.uneven else self


def signal_encoding(*, slope: float = 1.0, signed: bool = False, uneven: bool = False) -> Encoding:
    """For weighted images."""
    return Encoding(slope, 700.0 * slope if signed else 0.0, signed, uneven=uneven)


def map_encoding(unit_mm2_per_s: float, stated: Stated, *, signed: bool = False, uneven: bool = False) -> Encoding:
    """For ADC maps: steps of 1e-6 mm2/s (up to 1.5e-6 where uneven) whatever the unit."""
    slope = 1e-6 / unit_mm2_per_s
    return Encoding(slope, 1000 * slope if signed else 0.0, signed, unit_mm2_per_s, stated, uneven)


def store(values: NDArray[np.float64], encoding: Encoding) -> Stored:
    """Stored values of the same shape."""
    stored = np.round((values - encoding.intercept) / encoding.slope)
    kind = np.int16 if encoding.signed else np.uint16
    limits = np.iinfo(kind)
    if stored.min() < limits.min or stored.max() > limits.max:
        raise ValueError("values do not fit the encoding")
    return stored.astype(kind)


def describe_pixels(dataset: Dataset, size: tuple[int, int], encoding: Encoding) -> None:
    """The Image Pixel module, without the pixels."""
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = size
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = int(encoding.signed)


def state_scaling(dataset: Dataset, encoding: Encoding, *, is_map: bool) -> None:
    """Rescale (PS3.3 C.11.1) and, where it says the unit, RescaleType or a Real World Value Mapping (C.7.6.16.2.11).

    `dataset`: an image, or the item of a Pixel Value Transformation.
    """
    if is_map and encoding.stated is Stated.MAPPING:
        # Pixels as stored; the mapping alone leads to diffusivity, as writers of parametric maps do it.
        dataset.RealWorldValueMappingSequence = [mapping(encoding)]
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = "1", "0", "US"
        return
    if not is_map and (encoding.slope, encoding.intercept) == (1.0, 0.0):
        return
    dataset.RescaleSlope, dataset.RescaleIntercept = _ds(encoding.slope), _ds(encoding.intercept)
    dataset.RescaleType = _FREE[encoding.unit_mm2_per_s] if is_map and encoding.stated is not Stated.NOWHERE else "US"


def mapping(encoding: Encoding) -> Dataset:
    """A Real World Value Mapping item in the encoding's unit."""
    unit = Dataset()
    unit.CodeValue = unit.CodeMeaning = _UCUM[encoding.unit_mm2_per_s]
    unit.CodingSchemeDesignator = "UCUM"
    item = Dataset()
    item.LUTExplanation = item.LUTLabel = "ADC"
    item.MeasurementUnitsCodeSequence = [unit]
    first, last = (-32768, 32767) if encoding.signed else (0, 65535)
    vr = "SS" if encoding.signed else "US"
    item.add_new(0x00409216, vr, first)
    item.add_new(0x00409211, vr, last)
    item.RealWorldValueSlope, item.RealWorldValueIntercept = encoding.slope, encoding.intercept
    return item


def _ds(value: float) -> str:
    return f"{value:.10g}"
