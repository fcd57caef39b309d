"""Pixels and planes to volumes: against the written truth, SimpleITK and nibabel."""

from __future__ import annotations

import random
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.uid import ImplicitVRLittleEndian
from support.soop import soop_sub3_nifti, soop_sub3_volume, write_soop_sub3

from pirtad.inference.dicom.choosing.rules import SelectionRules, SeriesRule
from pirtad.inference.dicom.choosing.select import choose_pair, inspect_series
from pirtad.inference.dicom.reading.headers import read_series
from pirtad.inference.dicom.volumes.assemble import assemble_pair
from pirtad.inference.errors import StudyNotUsable
from pirtad.inference.simulation.dicom_writer import write_study
from pirtad.inference.volume import Volume


def test_an_oblique_study_comes_back_voxel_for_voxel(study) -> None:
    pair = study.assembled()

    assert pair.b_value_s_per_mm2 == 1000
    for found, written in ((pair.dwi, study.dwi), (pair.adc_mm2_per_s, study.adc)):
        assert found.array.dtype == np.float32
        np.testing.assert_allclose(found.array, written.array, rtol=1e-6)
        np.testing.assert_allclose(found.affine, written.affine, atol=1e-4)


def test_the_affine_agrees_with_itk(study) -> None:
    # Given ITK's own reading of the same files, its slices sorted by ITK
    directory = str(study.files[0].parent)
    trace_uid = dcmread(study.of_role("dwi")[0]).SeriesInstanceUID
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(directory, trace_uid)
    theirs = Volume.from_sitk(sitk.ReadImage(names))

    ours = study.assembled().dwi

    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-3)
    np.testing.assert_array_equal(ours.array, theirs.array)


def test_implicit_vr_gives_the_same_volumes(study, tmp_path: Path) -> None:
    implicit = write_study(tmp_path / "implicit", study.dwi, study.adc, study.header, ImplicitVRLittleEndian)

    one, other = study.assembled(), assemble_pair(choose_pair(read_series(implicit)))

    np.testing.assert_array_equal(one.dwi.array, other.dwi.array)
    np.testing.assert_array_equal(one.adc_mm2_per_s.array, other.adc_mm2_per_s.array)
    np.testing.assert_array_equal(one.dwi.affine, other.dwi.affine)


def test_instance_numbers_do_not_matter(study) -> None:
    numbers = list(range(1, len(study.files) + 1))
    random.Random(1).shuffle(numbers)
    before = study.assembled()

    def scramble(dataset: Dataset) -> None:
        dataset.InstanceNumber = numbers.pop()

    study.edit(study.files, scramble)

    np.testing.assert_array_equal(study.assembled().dwi.array, before.dwi.array)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.randoms(use_true_random=False))
def test_file_order_never_matters(study, seed: random.Random) -> None:
    shuffled = list(study.files)
    seed.shuffle(shuffled)

    series, again = study.series(), read_series(shuffled)
    one, other = assemble_pair(choose_pair(series)), assemble_pair(choose_pair(again))

    assert inspect_series(series) == inspect_series(again)
    np.testing.assert_array_equal(one.dwi.array, other.dwi.array)
    np.testing.assert_array_equal(one.adc_mm2_per_s.array, other.adc_mm2_per_s.array)
    np.testing.assert_array_equal(one.adc_mm2_per_s.affine, other.adc_mm2_per_s.affine)


def test_rescale_may_differ_between_slices(study) -> None:
    # Given a DWI whose slices were scaled one by one, as Philips does
    before = study.assembled().dwi.array
    third = sorted(study.of_role("dwi"))[2]

    def rescale(dataset: Dataset) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = "2.5", "-3"

    study.edit([third], rescale)

    after = study.assembled().dwi.array
    np.testing.assert_allclose(after[:, :, 2], before[:, :, 2] * 2.5 - 3, rtol=1e-6)
    np.testing.assert_array_equal(np.delete(after, 2, axis=2), np.delete(before, 2, axis=2))


def test_signed_twelve_bit_pixels_are_read_as_such(study) -> None:
    # Given 12 stored bits, signed, with rubbish in the four unused ones
    before = study.assembled().dwi.array

    def narrow(dataset: Dataset) -> None:
        shifted = (dataset.pixel_array.astype(np.int32) - 1000) & 0x0FFF | 0x5000
        dataset.PixelData = shifted.astype("<u2").tobytes()
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, 1

    study.edit("dwi", narrow)

    np.testing.assert_array_equal(study.assembled().dwi.array, before - 1000)


def cut_pixels(path: Path, keep: float) -> None:
    content = path.read_bytes()
    pixel_bytes = len(dcmread(path).PixelData)
    path.write_bytes(content[: len(content) - round(pixel_bytes * (1 - keep))])


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.999])
def test_truncated_pixel_data_is_refused_by_name(study, keep: float) -> None:
    victim = study.of_role("adc")[5]
    uid = dcmread(victim).SOPInstanceUID
    cut_pixels(victim, keep)

    with pytest.raises(StudyNotUsable) as caught:
        study.assembled()

    assert caught.value.code == "truncated_instance"
    assert uid in caught.value.reason
    assert "DOE" not in caught.value.reason


def test_a_file_exchanged_after_the_headers_were_read_is_refused(study) -> None:
    choice = choose_pair(study.series())
    first, second = study.of_role("dwi")[:2]
    first.write_bytes(second.read_bytes())

    with pytest.raises(StudyNotUsable) as caught:
        assemble_pair(choice)
    assert caught.value.code == "changed_instance"


def test_a_file_that_vanished_is_no_fault_of_the_study(study) -> None:
    choice = choose_pair(study.series())
    study.of_role("dwi")[0].unlink()

    # A disk that is away: the study must wait, not be set aside.
    with pytest.raises(FileNotFoundError):
        assemble_pair(choice)


def test_a_blank_dwi_is_refused(study) -> None:
    def blank(dataset: Dataset) -> None:
        dataset.PixelData = bytes(len(dataset.PixelData))

    study.edit("dwi", blank)

    with pytest.raises(StudyNotUsable) as caught:
        study.assembled()
    assert caught.value.code == "blank_image"


@pytest.mark.parametrize("implicit", [False, True], ids=["explicit", "implicit"])
def test_a_real_stroke_equals_its_nifti(tmp_path: Path, implicit: bool) -> None:
    # Given a real study as its Philips scanner would send it
    files = write_soop_sub3(tmp_path, implicit)

    pair = assemble_pair(choose_pair(read_series(files)))

    # Then every voxel is the NIfTI's, ADC in mm2/s and not in 1e-6 mm2/s
    for found, name, unit in ((pair.dwi, "TRACE", 1.0), (pair.adc_mm2_per_s, "ADC", 1e-6)):
        expected = soop_sub3_volume(name)
        np.testing.assert_allclose(found.array, expected.array * unit, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(found.affine, expected.affine, atol=1e-3)
        # and lies where nibabel puts it (RAS), whatever the order of the rows
        image: nibabel.Nifti1Image = soop_sub3_nifti(name)
        ours = nibabel.Nifti1Image(found.array, np.diag([-1.0, -1.0, 1.0, 1.0]) @ found.affine)
        flip = nibabel.orientations.ornt_transform(
            nibabel.io_orientation(ours.affine), nibabel.io_orientation(image.affine)
        )
        as_theirs = ours.as_reoriented(flip)
        np.testing.assert_allclose(as_theirs.affine, image.affine, atol=1e-3)
        np.testing.assert_allclose(as_theirs.get_fdata(), image.get_fdata()[..., 0] * unit, rtol=1e-5, atol=1e-9)


def test_a_rule_about_the_unit_wins_over_a_real_world_value_mapping(study) -> None:
    # Given a map in 1e-6 mm2/s whose mapping says that its values are mm2/s as they stand
    def map_wrongly(dataset: Dataset) -> None:
        unit = Dataset()
        unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "mm2/s", "UCUM", "mm2/s"
        mapping = Dataset()
        mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = 1.0, 0.0
        mapping.MeasurementUnitsCodeSequence = [unit]
        dataset.RealWorldValueMappingSequence = [mapping]

    study.edit("adc", map_wrongly)
    with pytest.raises(StudyNotUsable) as caught:
        study.assembled()
    assert caught.value.code == "adc_unit"

    # When the site says what the unit is, then the map is read by it
    rules = SelectionRules(series=(SeriesRule(description="adc", adc_unit_mm2_per_s=1e-6),))
    pair = assemble_pair(choose_pair(study.series(), rules))
    np.testing.assert_allclose(pair.adc_mm2_per_s.array, study.adc.array, rtol=1e-5)
