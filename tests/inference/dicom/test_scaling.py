"""What a header says about its values, and which of several statements counts."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom import Dataset

from pirtad.inference.dicom.frames import Scaling
from pirtad.inference.dicom.reading.scaling import scaling_of
from pirtad.inference.dicom.volumes.stacked import adc_volume_of, volume_of
from pirtad.inference.errors import StudyNotUsable


def mapping(unit: str, slope: float, intercept: float = 0.0) -> Dataset:
    code, item = Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = unit, "UCUM", unit
    item.MeasurementUnitsCodeSequence = [code]
    item.RealWorldValueSlope, item.RealWorldValueIntercept = slope, intercept
    item.RealWorldValueFirstValueMapped, item.RealWorldValueLastValueMapped = 0, 65535
    return item


def test_nothing_stated_is_one_and_zero() -> None:
    assert scaling_of(Dataset()) == Scaling()


def test_rescale_and_its_unit() -> None:
    header = Dataset()
    header.RescaleSlope, header.RescaleIntercept, header.RescaleType = "0.5", "-3", "10^-6 mm2/s"
    assert scaling_of(header) == Scaling(0.5, -3.0, pytest.approx(1e-6))


def test_a_slope_alone_will_do() -> None:
    header = Dataset()
    header.RescaleSlope = "2"
    assert scaling_of(header) == Scaling(2.0, 0.0)


@pytest.mark.parametrize(
    ("slope", "intercept"), [("0", "0"), ("-1", "0"), (None, "5"), ("1", None), ("nan", "0"), ("x", "0")]
)
def test_half_a_rescale_is_a_problem_and_no_error(slope: str | None, intercept: str | None) -> None:
    header = Dataset()
    header.SOPInstanceUID = "1.2.3"
    for keyword, tag, value in (("RescaleSlope", 0x00281053, slope), ("RescaleIntercept", 0x00281052, intercept)):
        if value in {"nan", "x"}:
            header.add_new(tag, "LO", value)
        else:
            setattr(header, keyword, value)

    problem = scaling_of(header).problem

    assert problem is not None
    assert problem.code == "broken_rescale"
    assert "1.2.3" in problem.reason


def test_the_mapping_to_a_diffusivity_is_found_among_others() -> None:
    header = Dataset()
    header.RescaleSlope, header.RescaleIntercept = "17", "0"
    header.RealWorldValueMappingSequence = [mapping("1", 3.0), mapping("um2/s", 0.5, 1.0), mapping("mm2/s", 9.0)]

    scaling = scaling_of(header)

    assert scaling.diffusivity == (0.5, 1.0, pytest.approx(1e-6))
    assert (scaling.slope, scaling.intercept) == (17.0, 0.0)


def test_a_mapping_without_a_slope_is_none() -> None:
    header = Dataset()
    header.RealWorldValueMappingSequence = [mapping("mm2/s", 0.0), Dataset()]
    assert scaling_of(header).diffusivity is None


def test_each_slice_has_its_own_rescale(study) -> None:
    before = volume_of(study.series()[2].frames).array
    study.put([sorted(study.of_role("dwi"))[2]], RescaleSlope="2.5", RescaleIntercept="-3")

    after = volume_of(study.series()[2].frames).array

    np.testing.assert_allclose(after[:, :, 2], before[:, :, 2] * 2.5 - 3, rtol=1e-6)
    np.testing.assert_array_equal(np.delete(after, 2, axis=2), np.delete(before, 2, axis=2))


def test_the_mapping_takes_the_place_of_the_rescale_for_an_adc_map_alone(study) -> None:
    # Given stored values in 1e-6 mm2/s, a mapping that says so, and a rescale that says something else
    study.edit("adc", lambda dataset: setattr(dataset, "RealWorldValueMappingSequence", [mapping("um2/s", 1.0)]))
    study.put("adc", RescaleSlope="17")
    frames = study.series()[3].frames

    volume, unit_mm2_per_s = adc_volume_of(frames)

    assert unit_mm2_per_s == pytest.approx(1e-6)
    np.testing.assert_allclose(volume.array * 1e-6, study.adc.array, rtol=1e-5)
    np.testing.assert_allclose(volume_of(frames).array, volume.array * 17)


def test_a_map_that_states_no_unit(study) -> None:
    volume, unit_mm2_per_s = adc_volume_of(study.series()[3].frames)

    assert unit_mm2_per_s is None
    np.testing.assert_allclose(volume.array * 1e-6, study.adc.array, rtol=1e-5)


def test_slices_in_different_units_are_refused(study) -> None:
    study.put(study.of_role("adc")[:1], RescaleType="um2/s")

    with pytest.raises(StudyNotUsable) as caught:
        adc_volume_of(study.series()[3].frames)
    assert caught.value.code == "adc_unit"


def test_a_slope_of_zero_stops_the_volume_it_belongs_to(study) -> None:
    study.put(study.of_role("adc")[3:4], RescaleSlope="0")
    found = study.series()

    for assemble in (volume_of, adc_volume_of):
        with pytest.raises(StudyNotUsable) as caught:
            assemble(found[3].frames)
        assert caught.value.code == "broken_rescale"
    assert volume_of(found[2].frames).array.shape == study.dwi.array.shape
