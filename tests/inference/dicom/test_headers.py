"""Files to series, and files that cannot be trusted."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    EnhancedMRColorImageStorage,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    MediaStorageDirectoryStorage,
    SecondaryCaptureImageStorage,
)
from support.shared import shared_data

from pirtad.inference.dicom.kinds import Kind
from pirtad.inference.dicom.reading import headers
from pirtad.inference.dicom.reading.headers import read_series
from pirtad.inference.dicom.reading.part10 import read_header
from pirtad.inference.dicom.reading.scan import Unscannable, scan
from pirtad.inference.dicom.registry import registry_of
from pirtad.inference.dicom.volumes.stacked import volume_of
from pirtad.inference.errors import StudyNotUsable


def test_series_come_in_the_order_of_their_numbers(study) -> None:
    found = study.series()

    assert [one.description for one in found] == ["Localizer", "AX T2 TSE", "sB1000", "dADC"]
    assert [one.kind for one in found] == [Kind.OTHER, Kind.OTHER, Kind.TRACE, Kind.ADC]
    assert [len(one.instances) for one in found] == [3, 12, 12, 12]
    assert [one.b_values_s_per_mm2 for one in found] == [(), (), (1000.0,), ()]
    assert [len(one.frames) for one in found] == [3, 12, 12, 12]
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
    assert volume_of(study.series()[2].frames).array.shape == study.dwi.array.shape


def test_a_malformed_place_is_a_problem_of_its_frame_alone(study) -> None:
    spoil(study.of_role("dwi")[0], "28003000")  # PixelSpacing

    found = study.series()

    with pytest.raises(StudyNotUsable) as caught:
        volume_of(found[2].frames)
    assert caught.value.code == "broken_geometry"
    assert "PixelSpacing" in caught.value.reason
    assert volume_of(found[3].frames).array.shape == study.adc.array.shape


def test_values_that_break_the_rules_are_not_quoted_in_the_log(study, caplog: pytest.LogCaptureFixture) -> None:
    # Given a birth date and an age as people type them, which pydicom would complain about word by word
    for path in study.files:
        content = path.read_bytes()
        path.write_bytes(content.replace(b"DA\x08\x0019600229", b"DA\x08\x0029.02.60").replace(b"065Y", b"65 Y"))

    study.series()
    read = read_header(study.files[0])
    assert read is not None
    registry_of(read.header)

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
            (found,) = read_series([victim])
            ends.add("unusable" if found.instances[0].problem else "read")
        except StudyNotUsable as error:
            ends.add(error.code)
    assert ends == {"unreadable_instance", "unusable", "read"}


def test_a_second_copy_of_a_file_is_passed_over(study, tmp_path: Path) -> None:
    copy = tmp_path / "copy.dcm"
    copy.write_bytes(study.files[9].read_bytes())

    assert [len(one.frames) for one in read_series([*study.files, copy])] == [3, 12, 12, 12]
    assert [len(one.frames) for one in read_series([copy, *study.files])] == [3, 12, 12, 12]


def test_two_files_that_claim_to_be_one_instance_are_refused(study, tmp_path: Path) -> None:
    # Given the same instance with one pixel changed
    victim = study.of_role("dwi")[4]
    other = tmp_path / "other.dcm"
    content = bytearray(victim.read_bytes())
    content[-1] ^= 1
    other.write_bytes(content)

    with pytest.raises(StudyNotUsable) as caught:
        read_series([*study.files, other])

    assert caught.value.code == "conflicting_duplicates"
    assert dcmread(victim).SOPInstanceUID in caught.value.reason


def test_the_order_of_files_never_shows(study) -> None:
    shuffled = list(study.files)
    random.Random(3).shuffle(shuffled)

    one, other = read_series(study.files), read_series(shuffled)

    assert [series.instances for series in one] == [series.instances for series in other]
    assert [[frame.diffusion for frame in series.frames] for series in one] == [
        [frame.diffusion for frame in series.frames] for series in other
    ]


def test_several_processes_read_the_same(study, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = study.series()
    monkeypatch.setattr(headers, "MANY_FILES", 10)
    monkeypatch.setattr(headers, "_CHUNK", 7)

    together = study.series()

    assert [one.instances for one in together] == [one.instances for one in alone]
    # and frames still belong to the instances they came with
    for series in together:
        assert {id(frame.instance) for frame in series.frames} == {id(one) for one in series.instances}


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ({"SOPClassUID": SecondaryCaptureImageStorage}, "secondary_capture"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.2"}, "secondary_capture"),
        ({"ConversionType": "WSD"}, "secondary_capture"),
        ({"SOPClassUID": EnhancedMRColorImageStorage}, "unsupported_sop_class"),
        ({"BurnedInAnnotation": "YES"}, "burned_in"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "not_grey"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "not_grey"),
        ({"NumberOfFrames": 12}, "unsupported_layout"),
    ],
)
def test_what_speaks_against_an_image_is_said(study, attributes: dict[str, object], code: str) -> None:
    study.put("adc", **attributes)

    maps = study.series()[3]

    assert {instance.problem.code for instance in maps.instances if instance.problem} == {code}
    assert all(instance.problem for instance in maps.instances)
    # Even so it is known what they show
    assert maps.kind is Kind.ADC


def test_an_object_without_pixels_has_no_frames(study) -> None:
    def to_presentation_state(dataset: Dataset) -> None:
        dataset.SOPClassUID = GrayscaleSoftcopyPresentationStateStorage
        dataset.Modality = "PR"
        for keyword in ("PixelData", "Rows", "Columns"):
            del dataset[keyword]

    study.edit(study.of_role("t2")[:1], to_presentation_state)

    (state,) = [one for one in study.series() if one.modality == "PR"]
    assert state.frames == ()
    assert state.kind is Kind.OTHER
    assert state.instances[0].problem.code == "unsupported_sop_class"


def test_the_walk_finds_what_pydicom_finds(study) -> None:
    for path in [*study.of_role("dwi")[:2], *study.of_role("adc")[:2]]:
        found = scan(path.read_bytes(), True)
        expected = dcmread(path, stop_before_pixels=True)
        assert found.has_pixels
        assert found.header == expected
        assert found.meta.TransferSyntaxUID == expected.file_meta.TransferSyntaxUID


@pytest.mark.parametrize("archive", ["philips_classic", "siemens_e11_mosaic", "uih_vframe", "siemens_xa30_enhanced"])
def test_the_walk_finds_what_pydicom_finds_in_real_headers(tmp_path: Path, archive: str) -> None:
    with zipfile.ZipFile(shared_data(f"dicom/{archive}.zip")) as packed:
        members = [name for name in packed.namelist() if not name.endswith("/")]
        packed.extractall(tmp_path, members[:: max(1, len(members) // 2)])

    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        content = path.read_bytes()
        found = scan(content, True)
        assert found.header == dcmread(path, stop_before_pixels=True)
        # With every part of the header alone it asks for more
        for share in (0.1, 0.5, 0.9):
            with pytest.raises(Unscannable):
                scan(content[: round((len(content) - len(dcmread(path).get("PixelData", b""))) * share)], False)


def test_sequences_of_undefined_length_are_walked(study) -> None:
    # Given a private and a standard sequence, nested, without lengths
    def nest(dataset: Dataset) -> None:
        inner, outer = Dataset(), Dataset()
        inner.CodeValue = "T-A0100"
        outer.ConceptCodeSequence = [inner, inner]
        dataset.AnatomicRegionSequence = [outer, Dataset()]
        block = dataset.private_block(0x2005, "Philips MR Imaging DD 005", create=True)
        block.add_new(0x0F, "SQ", [outer])
        for sequence in (dataset["AnatomicRegionSequence"], block[0x0F], outer["ConceptCodeSequence"]):
            sequence.is_undefined_length = True
            for item in sequence.value:
                item.is_undefined_length_sequence_item = True

    path = study.of_role("dwi")[0]
    study.edit([path], nest)

    found = scan(path.read_bytes(), True)

    assert b"\xfe\xff\xdd\xe0" in path.read_bytes()
    assert found.header == dcmread(path, stop_before_pixels=True)
    assert found.header.AnatomicRegionSequence[0].ConceptCodeSequence[1].CodeValue == "T-A0100"


def test_what_another_process_refuses_is_refused(study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "MANY_FILES", 10)
    victim = study.files[20]
    victim.write_bytes(victim.read_bytes()[:500])

    assert victim.name in refused(study.files).reason or "2.25." in refused(study.files).reason
