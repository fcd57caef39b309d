"""Files to series, and files that cannot be trusted."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from pirtad.inference.dicom.diffusion import Kind
from pirtad.inference.dicom.headers import read_series
from pirtad.inference.dicom.registry import registry_of
from pirtad.inference.dicom.select import choose_pair, inspect_series
from pirtad.inference.errors import StudyNotUsable


def test_series_come_in_the_order_of_their_numbers(study) -> None:
    found = study.series()

    assert [one.description for one in found] == ["Localizer", "AX T2 TSE", "sB1000", "dADC"]
    assert [one.kind for one in found] == [Kind.OTHER, Kind.OTHER, Kind.DWI, Kind.ADC]
    assert [len(one.instances) for one in found] == [3, 12, 12, 12]
    assert [one.b_value for one in found] == [None, None, 1000.0, None]
    assert {one.modality for one in found} == {"MR"}


def refused(files: list[Path]) -> StudyNotUsable:
    with pytest.raises(StudyNotUsable) as caught:
        read_series(files)
    assert caught.value.code == "unreadable_instance"
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("kept", [0, 100, 140, 300])
def test_a_file_cut_before_its_uid_is_named_by_its_file(study, kept: int) -> None:
    victim = study.files[7]
    victim.write_bytes(victim.read_bytes()[:kept])
    assert victim.name in refused(study.files).reason or "2.25." in refused(study.files).reason


@pytest.mark.filterwarnings("ignore:Unknown encoding:UserWarning")
def test_a_file_cut_anywhere_in_its_header_is_refused(study) -> None:
    # Given truncated headers of many lengths
    victim = study.of_role("dwi")[0]
    uid = str(dcmread(victim).SOPInstanceUID)
    whole = victim.read_bytes()
    header_length = len(whole) - len(dcmread(victim).PixelData)
    for kept in range(0, header_length - 12, 11):
        victim.write_bytes(whole[:kept])
        error = refused([victim])
        assert victim.name in error.reason or uid in error.reason
        assert "DOE" not in error.reason
        assert "19600229" not in error.reason


def test_a_file_that_is_no_dicom_is_refused(study, tmp_path: Path) -> None:
    stray = tmp_path / "readme.txt"
    stray.write_text("no images here\n" * 100)
    assert "readme.txt" in refused([*study.files, stray]).reason


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"])
def test_an_instance_without_its_uids_is_refused(study, keyword: str) -> None:
    victim = study.files[0]
    dataset = dcmread(victim)
    del dataset[keyword]
    dataset.save_as(victim)
    assert keyword in refused(study.files).reason


def test_a_dicomdir_is_passed_over(study, tmp_path: Path) -> None:
    directory, meta = Dataset(), FileMetaDataset()
    meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    directory.file_meta = meta
    directory.FileSetID = "CD"
    directory.save_as(tmp_path / "DICOMDIR", enforce_file_format=True)

    assert len(read_series([*study.files, tmp_path / "DICOMDIR"])) == 4


def test_a_missing_file_is_no_fault_of_the_study(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_series([tmp_path / "gone.dcm"])


def test_nothing_of_the_patient_shows_in_a_repr(study) -> None:
    shown = repr(study.series())
    for private in ("DOE", "ID-1", "19600229"):
        assert private not in shown


def spoil(path: Path, tag: str) -> None:
    """Overwrite the value of a DS attribute, in place, with letters that a strict writer would refuse."""
    content = path.read_bytes()
    found = content.index(bytes.fromhex(tag) + b"DS") + 6
    length = int.from_bytes(content[found : found + 2], "little")
    path.write_bytes(content[: found + 2] + b"x" * length + content[found + 2 + length :])


def test_a_malformed_value_nobody_needs_does_no_harm(study) -> None:
    spoil(study.of_role("dwi")[0], "18008000")  # RepetitionTime
    assert study.inspect()["refused"] is None


def test_a_malformed_value_a_decision_rests_on_refuses(study) -> None:
    spoil(study.of_role("dwi")[0], "28003000")  # PixelSpacing

    refusal = study.inspect()["refused"]
    assert refusal["code"] == "broken_geometry"
    assert "PixelSpacing" in refusal["reason"]


def test_values_that_break_the_rules_are_not_quoted_in_the_log(study, caplog: pytest.LogCaptureFixture) -> None:
    # Given a birth date and an age as people type them, which pydicom would complain about word by word
    for path in study.files:
        content = path.read_bytes()
        path.write_bytes(content.replace(b"DA\x08\x0019600229", b"DA\x08\x0029.02.60").replace(b"065Y", b"65 Y"))

    read = study.series()
    choose_pair(read)
    registry_of(read[2].instances[0].header)

    assert "29.02.60" not in caplog.text
    assert "65 Y" not in caplog.text


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_bytes_never_end_in_another_error(study) -> None:
    # Given headers with a few bytes overwritten at random
    victim = study.of_role("dwi")[0]
    whole = victim.read_bytes()
    header_length = len(whole) - len(dcmread(victim).PixelData)
    draw = random.Random(7)
    ends = set()
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(draw.randint(1, 8)):
            damaged[draw.randrange(128, header_length)] = draw.randrange(256)
        victim.write_bytes(damaged)
        try:
            found = read_series([victim])
        except StudyNotUsable as error:
            ends.add(error.code)
        else:
            refused_later = inspect_series(found).refused
            ends.add("refused later" if refused_later else "usable")
    assert ends == {"unreadable_instance", "refused later"}
