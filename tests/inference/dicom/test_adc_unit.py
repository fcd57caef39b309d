"""ADC maps in the three conventions all come out in mm2/s, or not at all."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom import Dataset

from pirtad.inference.dicom.reading.units import parse_unit
from pirtad.inference.dicom.volumes.adc_unit import unit_of
from pirtad.inference.errors import StudyNotUsable


@pytest.mark.parametrize("slope", ["1", "0.001", "0.000001"], ids=["1e-6", "1e-3", "1"])
def test_the_unit_is_found_from_the_tissue(study, slope: str) -> None:
    # Given a map whose header says nothing about the unit; stored values are in 1e-6 mm2/s
    def rescale(dataset: Dataset) -> None:
        dataset.RescaleSlope = slope

    study.edit("adc", rescale)

    np.testing.assert_allclose(study.assembled().adc_mm2_per_s.array, study.adc.array, rtol=1e-6)


@pytest.mark.parametrize(
    ("slope", "unit"), [("1", "10-6.mm2/s"), ("1", "um2/s"), ("0.001", "10*-3.mm2/s"), ("0.000001", "mm2/s")]
)
def test_a_stated_unit_is_taken(study, slope: str, unit: str) -> None:
    # Given a real world value mapping beside a rescale that would mean nothing
    def map_values(dataset: Dataset) -> None:
        code, item = Dataset(), Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = unit, "UCUM", unit
        item.MeasurementUnitsCodeSequence = [code]
        item.RealWorldValueSlope, item.RealWorldValueIntercept = float(slope), 0.0
        item.RealWorldValueFirstValueMapped, item.RealWorldValueLastValueMapped = 0, 65535
        dataset.RealWorldValueMappingSequence = [item]
        dataset.RescaleSlope = "17"

    study.edit("adc", map_values)

    np.testing.assert_allclose(study.assembled().adc_mm2_per_s.array, study.adc.array, rtol=1e-6)


@pytest.mark.parametrize(
    ("slope", "stated"), [("0.1", ""), ("40", ""), ("1", "mm2/s")], ids=["too low", "too high", "contradicts"]
)
def test_no_unit_is_guessed(study, slope: str, stated: str) -> None:
    def spoil(dataset: Dataset) -> None:
        dataset.RescaleSlope = slope
        dataset.RescaleType = stated or "US"

    study.edit("adc", spoil)

    with pytest.raises(StudyNotUsable) as caught:
        study.assembled()
    assert caught.value.code == "adc_unit"


def test_one_slice_in_another_unit_is_refused(study) -> None:
    def state(dataset: Dataset) -> None:
        dataset.RescaleType = "um2/s"

    study.edit(study.of_role("adc")[:1], state)

    with pytest.raises(StudyNotUsable) as caught:
        study.assembled()
    assert caught.value.code == "adc_unit"


def test_negative_values_survive(study) -> None:
    def shift(dataset: Dataset) -> None:
        dataset.RescaleIntercept = "-20"

    study.edit("adc", shift)

    np.testing.assert_allclose(study.assembled().adc_mm2_per_s.array, study.adc.array - 20e-6, atol=1e-9)


def test_a_slope_of_zero_is_refused(study) -> None:
    def spoil(dataset: Dataset) -> None:
        dataset.RescaleSlope = "0"

    study.edit(study.of_role("adc")[3:4], spoil)

    with pytest.raises(StudyNotUsable) as caught:
        study.assembled()
    assert caught.value.code == "broken_rescale"


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("mm2/s", 1.0),
        ("10^-6 mm²/s", 1e-6),
        ("1E-3 mm2/s", 1e-3),
        ("* 10^-6 mm2/sec", 1e-6),
        ("µm2/s", 1e-6),
        ("10-3.mm2/s", 1e-3),
        ("s/mm2", None),
        ("US", None),
        ("", None),
        ("mm", None),
    ],
)
def test_units_are_parsed(stated: str, expected: float | None) -> None:
    found = parse_unit(stated)
    assert found == (None if expected is None else pytest.approx(expected))


def test_too_little_tissue_tells_no_unit() -> None:
    with pytest.raises(StudyNotUsable):
        unit_of(np.full(999, 800.0), None)
