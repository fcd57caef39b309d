"""Which pair is chosen, and that everything else is refused with its reason."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage, generate_uid

from pirtad.inference.dicom.choosing.rules import BValueLimits, SelectionRules
from pirtad.inference.dicom.choosing.select import choose_pair, inspect_series
from pirtad.inference.errors import StudyNotUsable
from pirtad.inference.simulation.dicom_writer import ADC, T2, ExtraSeries, SeriesHeader
from pirtad.inference.volume import Volume

TRACE = SeriesHeader("trace", 10, "sB1000", ("ORIGINAL", "PRIMARY", "M", "SE"), 1000.0)


def refusal(study) -> StudyNotUsable:
    """The refusal, raised and inspected alike."""
    with pytest.raises(StudyNotUsable) as caught:
        choose_pair(study.series())
    inspected = study.inspect()
    assert inspected["refused"] == {
        "code": caught.value.code,
        "reason": caught.value.reason,
        "hint": caught.value.hint,
    }
    assert (inspected["chosen"]["dwi"], inspected["chosen"]["adc"]) == (None, None)
    assert all(row["rejected_because"] for row in inspected["series"])
    assert caught.value.hint
    assert "DOE" not in caught.value.reason
    return caught.value


def chosen(study) -> tuple[str, str]:
    choice = choose_pair(study.series())
    return choice.dwi.series.description, choice.adc.series.description


def codes(study) -> dict[str, str]:
    return {one.description: one.code for one in choose_pair(study.series()).rejected}


def test_the_pair_and_a_reason_for_every_other_series(study) -> None:
    choice = choose_pair(study.series())

    assert chosen(study) == ("sB1000", "dADC")
    assert choice.b_value_s_per_mm2 == 1000
    assert choice.study_uid == study.header.study_uid
    assert codes(study) == {"Localizer": "not_diffusion", "AX T2 TSE": "not_diffusion"}
    assert all(one.reason for one in choice.rejected)


def test_inspection_is_json_with_every_series(study) -> None:
    found = json.loads(json.dumps(study.inspect()))

    assert set(found) == {"chosen", "series", "refused"}
    assert found["refused"] is None
    assert found["chosen"]["dwi"]["b_value"] == 1000
    assert found["chosen"]["adc"]["n_images"] == 12
    by_name = {row["description"]: row for row in found["series"]}
    assert by_name["sB1000"]["chosen_as"] == ["dwi"]
    assert by_name["sB1000"]["shape"] == [24, 20, 12]
    assert by_name["sB1000"]["spacing_mm"] == pytest.approx([8, 8, 6], abs=1e-3)
    assert by_name["dADC"]["chosen_as"] == ["adc"]
    assert by_name["dADC"]["rejected_because"] is None
    assert by_name["AX T2 TSE"]["chosen_as"] == []
    assert by_name["AX T2 TSE"]["rejected_because"]


def test_a_study_without_dwi(study) -> None:
    study.drop("dwi")
    error = refusal(study)
    assert error.code == "no_dwi"
    assert "no DWI series with b between 800 and 1500 s/mm2: 3 series looked at" in error.reason


def test_dwi_without_adc(study) -> None:
    study.drop("adc")
    assert refusal(study).code == "no_adc"


def test_a_b0_image_is_no_dwi(study) -> None:
    study.put("dwi", DiffusionBValue=0.0)
    error = refusal(study)
    assert error.code == "no_dwi"
    assert "b 0 s/mm2" in error.reason


def test_limits_are_the_callers(study) -> None:
    study.put("dwi", DiffusionBValue=2000.0)
    refusal(study)
    wide = SelectionRules(b_values=BValueLimits(800.0, 2500.0, 1000.0))
    assert choose_pair(study.series(), wide).b_value_s_per_mm2 == 2000


def test_the_name_tells_the_b_value_where_the_header_does_not(study) -> None:
    study.put("dwi", DiffusionBValue=None, ImageType=["ORIGINAL", "PRIMARY", "M", "SE"])
    assert choose_pair(study.series()).b_value_s_per_mm2 == 1000


def test_three_b_values_in_a_name_tell_none(study) -> None:
    name = "DWI Scans B0 B500 B1000"
    study.put("dwi", DiffusionBValue=None, SeriesDescription=name, ImageType=["ORIGINAL", "PRIMARY", "M", "ND"])
    assert refusal(study).code == "b_value_unknown"


def test_three_b_values_in_one_series_are_told_apart_by_the_images(study) -> None:
    # Given b 0, 500 and 1000 in one series, each image saying which in its sequence name
    name = "DWI Scans B0 B500 B1000"
    series_uid = study.series()[2].series_uid
    for b_value in (0, 500):
        other = Volume(study.dwi.array + 100, study.dwi.affine)
        added = study.add(f"b{b_value}", ExtraSeries(other, TRACE))
        study.put(
            added,
            SeriesInstanceUID=series_uid,
            SeriesDescription=name,
            DiffusionBValue=None,
            SequenceName=f"*ep_b{b_value}t",
            ImageType=["ORIGINAL", "PRIMARY", "M", "ND"],
        )
    study.put(
        "dwi",
        SeriesDescription=name,
        DiffusionBValue=None,
        SequenceName="*ep_b1000t",
        ImageType=["ORIGINAL", "PRIMARY", "M", "ND"],
    )

    # Then only the b 1000 images are assembled
    assert choose_pair(study.series()).b_value_s_per_mm2 == 1000
    np.testing.assert_array_equal(study.assembled().dwi.array, study.dwi.array)


def test_one_series_may_hold_dwi_and_adc(study) -> None:
    series_uid = study.series()[2].series_uid
    study.put("adc", SeriesInstanceUID=series_uid, SeriesDescription="DWI")
    study.put("dwi", SeriesDescription="DWI")

    np.testing.assert_array_equal(study.assembled().dwi.array, study.dwi.array)
    np.testing.assert_allclose(study.assembled().adc_mm2_per_s.array, study.adc.array, rtol=1e-6)
    assert [row["chosen_as"] for row in study.inspect()["series"]] == [(), (), ("dwi", "adc")]


def test_the_b_value_nearest_to_1000_is_preferred(study) -> None:
    other = replace(TRACE, description="sB1400", b_value_s_per_mm2=1400.0)
    study.add("more", ExtraSeries(study.dwi, other))
    assert chosen(study) == ("sB1000", "dADC")
    assert codes(study)["sB1400"] == "not_preferred"


def test_single_directions_are_no_trace(study) -> None:
    study.put("dwi", DiffusionDirectionality="DIRECTIONAL", ImageType=["ORIGINAL", "PRIMARY", "M", "SE"])
    assert refusal(study).code == "not_trace"


def test_unmarked_directions_are_no_trace(study) -> None:
    # Given three images a slice at b 1000 in one series, nothing telling them apart
    plain = {"ImageType": ["ORIGINAL", "PRIMARY", "M"], "SeriesDescription": "DWI"}
    series_uid = study.series()[2].series_uid
    for direction in ("x", "y"):
        added = study.add(direction, ExtraSeries(study.dwi, TRACE))
        study.put(added, SeriesInstanceUID=series_uid, **plain)
    study.put("dwi", **plain)

    error = refusal(study)
    assert error.code == "not_trace"
    assert "3 images of b 1000 at every slice position" in error.reason


def test_an_exponential_adc_is_not_taken(study) -> None:
    exponential = replace(ADC, description="eADC", image_type=("DERIVED", "PRIMARY", "EADC"))
    study.add("eadc", ExtraSeries(Volume(study.adc.array * 1e6, study.adc.affine), exponential))
    assert chosen(study) == ("sB1000", "dADC")
    assert codes(study)["eADC"] == "exponential_adc"

    study.drop("adc")
    assert refusal(study).code == "no_adc"


def test_two_patients(study) -> None:
    study.put(study.of_role("adc")[:1], PatientID="ID-2")
    error = refusal(study)
    assert error.code == "two_patients"
    assert "PatientID" in error.reason
    assert "ID-2" not in error.reason


@pytest.mark.parametrize(
    ("keyword", "value"), [("PatientBirthDate", "19600228"), ("PatientName", "DOE^JOHN"), ("IssuerOfPatientID", "B")]
)
def test_two_patients_by_other_attributes(study, keyword: str, value: str) -> None:
    study.put("dwi", IssuerOfPatientID="A")
    study.put("adc", **{keyword: value})
    error = refusal(study)
    assert (error.code, keyword in error.reason) == ("two_patients", True)


def test_one_patient_spelled_in_two_ways(study) -> None:
    study.put("adc", PatientName="Doe^Jane^^^", PatientBirthDate="")
    assert chosen(study) == ("sB1000", "dADC")


def test_two_studies(study) -> None:
    study.put("t2", StudyInstanceUID="1.2.3")
    assert refusal(study).code == "several_studies"


def test_a_ct_study(study) -> None:
    def to_ct(dataset: Dataset) -> None:
        dataset.Modality = "CT"
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage

    study.edit(study.files, to_ct)
    error = refusal(study)
    assert error.code == "not_mr"
    assert "CT" in error.reason


def test_no_instances_at_all() -> None:
    with pytest.raises(StudyNotUsable) as caught:
        choose_pair([])
    assert caught.value.code == "no_images"
    assert inspect_series([]).to_dict()["series"] == []


def test_too_few_slices(study) -> None:
    study.files = [path for path in study.files if path not in study.of_role("dwi")[:4]]
    error = refusal(study)
    assert error.code == "too_few_slices"
    assert "8 slices cover 48 mm" in error.reason


def test_a_missing_slice(study) -> None:
    study.files.remove(study.of_role("dwi")[1])
    assert refusal(study).code == "broken_geometry"


def test_a_missing_last_slice_shows_against_the_other_series(study) -> None:
    study.files.remove(study.of_role("adc")[-1])
    error = refusal(study)
    assert error.code == "broken_geometry"
    assert "DWI has 12 slices and ADC 11" in error.reason


def test_a_slice_sent_twice_under_another_uid(study) -> None:
    twin = study.of_role("dwi")[5]
    copy = twin.with_name("dwi_copy.dcm")
    copy.write_bytes(twin.read_bytes())

    def rename(dataset: Dataset) -> None:
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()

    study.edit([copy], rename)
    study.files.append(copy)
    assert refusal(study).code == "broken_geometry"


def test_series_of_another_frame_of_reference(study) -> None:
    study.put("adc", FrameOfReferenceUID="1.2.3")
    assert refusal(study).code == "pair_mismatch"


def test_series_that_hardly_overlap(study) -> None:
    def lift(dataset: Dataset) -> None:
        dataset.ImagePositionPatient[2] += 40

    study.edit("adc", lift)
    error = refusal(study)
    assert error.code == "pair_mismatch"
    assert "%" in error.reason


def test_a_repeated_acquisition_is_ambiguous(study) -> None:
    again = study.add("again", ExtraSeries(study.dwi, TRACE))
    study.put(again, ImageType=["DERIVED", "PRIMARY", "DIFFUSION", "TRACEW"])
    study.put("dwi", ImageType=["DERIVED", "PRIMARY", "DIFFUSION", "TRACEW"])
    error = refusal(study)
    assert error.code == "ambiguous"
    assert "2 DWI of series 3, 10, 1 ADC of series 4" in error.reason


def test_the_map_made_from_the_same_acquisition_is_preferred(study) -> None:
    # Given two ADC maps on one grid, one of them computed from another acquisition
    other = replace(ADC, description="ddADC")
    added = study.add("other", ExtraSeries(Volume(study.adc.array * 1e6, study.adc.affine), other))
    study.put(added, AcquisitionTime="130000")
    assert chosen(study) == ("sB1000", "dADC")
    assert codes(study)["ddADC"] == "not_preferred"


def test_axial_is_preferred_to_coronal(study) -> None:
    # Given a coronal DWI of the same box: rows to the feet, slices to the back
    axial = study.dwi.affine
    coronal = np.eye(4)
    coronal[:3, 0] = axial[:3, 0]
    coronal[:3, 1] = -axial[:3, 2] / 6.0 * 3.6
    coronal[:3, 2] = axial[:3, 1] / 8.0 * (160 / 12)
    middle = (np.array(study.dwi.array.shape) - 1) / 2
    coronal[:3, 3] = axial[:3, 3] + axial[:3, :3] @ middle - coronal[:3, :3] @ middle
    study.add("coronal", ExtraSeries(Volume(study.dwi.array, coronal), replace(TRACE, description="sB1000 cor")))

    assert chosen(study) == ("sB1000", "dADC")
    assert codes(study)["sB1000 cor"] == "not_preferred"

    # and is taken where there is nothing better
    study.drop("dwi")
    assert chosen(study) == ("sB1000 cor", "dADC")


def test_the_trace_is_taken_out_of_its_directions(study) -> None:
    # Given a series of three directions and their trace, as Philips sends it
    series_uid = study.series()[2].series_uid
    plain = {"SeriesDescription": "DWI", "ImageType": ["ORIGINAL", "PRIMARY", "M", "SE"]}
    for direction in ("x", "y", "z"):
        added = study.add(direction, ExtraSeries(Volume(study.dwi.array + 50, study.dwi.affine), TRACE))
        study.put(added, SeriesInstanceUID=series_uid, DiffusionDirectionality="DIRECTIONAL", **plain)
    study.put("dwi", DiffusionDirectionality="ISOTROPIC", **plain)

    np.testing.assert_array_equal(study.assembled().dwi.array, study.dwi.array)


def test_a_map_of_unclear_kind_is_told(study) -> None:
    study.put("adc", ImageType=["ORIGINAL", "PRIMARY", "M", "SE"])
    error = refusal(study)
    assert error.code == "no_adc"
    assert "unclear" in error.reason


def test_a_second_t2_changes_nothing(study) -> None:
    study.add("t2b", ExtraSeries(study.dwi, replace(T2, number=9)))
    assert chosen(study) == ("sB1000", "dADC")


@pytest.mark.parametrize(("part", "said"), [("PELVIS", "PELVIS"), ("DOE ABDOMEN", "ABDOMEN"), ("prostate", "PROSTATE")])
def test_diffusion_of_another_body_part(study, part: str, said: str) -> None:
    study.put("dwi", BodyPartExamined=part)
    study.put("adc", BodyPartExamined=part)
    error = refusal(study)
    assert error.code == "not_brain"
    assert f"another body part: {said}" in error.reason


@pytest.mark.parametrize("part", ["BRAIN", "HEAD", "TSPINE", "CSPINE", "NECK", ""])
def test_body_parts_that_real_brain_studies_state(study, part: str) -> None:
    study.put("dwi", BodyPartExamined=part)
    assert chosen(study) == ("sB1000", "dADC")
