"""Every way of being wrong is caught before sending."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from highdicom.sr import ImageContentItem
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import Comprehensive3DSRStorage, MRImageStorage, SecondaryCaptureImageStorage

from pirtad.inference.lesion.measurement import LesionMeasurement
from pirtad.inference.report.report import Report
from pirtad.worker.errors import NonConformant, Permanent
from pirtad.worker.sr import check as checks
from pirtad.worker.sr.check import check, dciodvfy_errors, serialise
from pirtad.worker.sr.identity import SrIdentity
from pirtad.worker.sr.measurements import compose_measurements
from pirtad.worker.sr.narrative import compose_narrative
from pirtad.worker.sr.source import SourceStudy

SOURCE_IMAGE = Code("121324", "DCM", "Source image")


@pytest.fixture
def document(
    report: Callable[[], Report], study: Callable[[], SourceStudy], identity: Callable[[], SrIdentity]
) -> Dataset:
    return compose_narrative(report(), study(), identity=identity())


def section(document: Dataset, number: int) -> Dataset:
    containers = [i for i in document.ContentSequence if i.ValueType == "CONTAINER"]
    item: Dataset = containers[number]
    return item


def _number(document: Dataset) -> None:
    section(document, 1).ContentSequence[1].ValueType = "NUM"


def _relationship(document: Dataset) -> None:
    section(document, 1).ContentSequence[1].RelationshipType = "HAS PROPERTIES"


def _no_mark(document: Dataset) -> None:
    section(document, 0).ContentSequence[0].TextValue = "Draft"


def _mark_not_first(document: Dataset) -> None:
    document.ContentSequence.append(document.ContentSequence.pop(-7))


def _empty_text(document: Dataset) -> None:
    section(document, 3).ContentSequence[0].TextValue = ""


def _no_name(document: Dataset) -> None:
    del section(document, 3).ContentSequence[0].ConceptNameCodeSequence


def _image(document: Dataset) -> None:
    image = ImageContentItem(SOURCE_IMAGE, MRImageStorage, "1.2.3", relationship_type="CONTAINS")
    section(document, 3).ContentSequence.append(image)


def _evidence_without_series(document: Dataset) -> None:
    del document.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].SeriesInstanceUID


def _evidence_twice(document: Dataset) -> None:
    sops = document.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    sops.append(sops[0])


def _nested_uid(document: Dataset) -> None:
    next(i for i in document.ContentSequence if i.ValueType == "UIDREF").UID = "1.02.3"


def _characters(document: Dataset) -> None:
    section(document, 3).ContentSequence[0].TextValue = "가"


def _replacement(document: Dataset) -> None:
    document.SpecificCharacterSet = "ISO_IR 192"
    document.PatientName = "J\N{REPLACEMENT CHARACTER}r"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda d: setattr(d, "VerificationFlag", "VERIFIED"), "VerificationFlag is not UNVERIFIED"),
        (lambda d: setattr(d, "PreliminaryFlag", "FINAL"), "PreliminaryFlag is not PRELIMINARY"),
        (lambda d: delattr(d, "CompletionFlag"), "CompletionFlag is neither COMPLETE nor"),
        (lambda d: setattr(d, "CompletionFlag", "PARTIAL"), "CompletionFlag is neither COMPLETE nor"),
        (lambda d: setattr(d, "SeriesDescription", "Report"), "SeriesDescription is not"),
        (lambda d: setattr(d, "SOPClassUID", MRImageStorage), "SOPClassUID is not of an object"),
        (lambda d: setattr(d, "SOPClassUID", Comprehensive3DSRStorage), "does not name template 1500"),
        (lambda d: delattr(d, "DeviceSerialNumber"), "DeviceSerialNumber is missing"),
        (lambda d: setattr(d, "StudyInstanceUID", ""), "StudyInstanceUID is missing"),
        (lambda d: delattr(d, "PatientName"), "PatientName is absent"),
        (lambda d: delattr(d, "PerformedProcedureCodeSequence"), "PerformedProcedureCodeSequence is absent"),
        (lambda d: delattr(d, "ContributingEquipmentSequence"), "ContributingEquipmentSequence is missing"),
        (lambda d: setattr(d, "SpecificCharacterSet", "ISO 2022 IR 149"), "SpecificCharacterSet is not a combination"),
        (_characters, "TextValue holds text outside"),
        (_replacement, "PatientName holds text outside"),
        (_number, "value type NUM is not allowed"),
        (_relationship, "CONTAINER HAS PROPERTIES TEXT is not allowed"),
        (_no_mark, "the first text is not the draft mark"),
        (_mark_not_first, "the first text is not the draft mark"),
        (_empty_text, "TEXT without a value"),
        (_no_name, "no concept name"),
        (_image, "not in the evidence"),
        (_evidence_without_series, "the evidence is incomplete"),
        (_evidence_twice, "names an instance twice"),
        (_nested_uid, "UID is not a valid UID"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_spoilt_document_is_not_sent(document: Dataset, spoil: Callable[[Dataset], None], said: str) -> None:
    check(document)  # Given a document that is right
    spoil(document)
    with pytest.raises(NonConformant) as caught:
        check(document)
    assert said in caught.value.reason
    with pytest.raises(NonConformant):
        serialise(document)


def test_all_problems_are_listed(document: Dataset) -> None:
    document.VerificationFlag = "VERIFIED"
    _no_mark(document)
    with pytest.raises(NonConformant) as caught:
        check(document)
    assert caught.value.reason.count(";") == 1
    assert isinstance(caught.value, Permanent)
    assert "Ada" not in caught.value.reason


@pytest.mark.parametrize("keyword", ["PatientID", "PatientName", "StudyInstanceUID", "AccessionNumber"])
def test_another_patient_or_study_is_caught(document: Dataset, study: Callable[[], SourceStudy], keyword: str) -> None:
    setattr(document, keyword, "1.9")
    with pytest.raises(NonConformant, match=f"{keyword} is not the source's"):
        check(document, source=study())


def test_evidence_of_other_images_is_caught(
    document: Dataset, study: Callable[[], SourceStudy], image: Callable[..., Dataset]
) -> None:
    source = study()
    more = SourceStudy([*source.dwi, image(4, 99)], source.adc)
    fewer = SourceStudy(source.dwi[1:], source.adc)
    for other in (more, fewer):
        with pytest.raises(NonConformant, match="not exactly the used images"):
            check(document, source=other)


def test_file_meta_of_another_instance_is_caught(document: Dataset) -> None:
    document.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    with pytest.raises(NonConformant, match="another instance"):
        serialise(document)


def test_without_a_validator_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(checks, "find_dciodvfy", lambda: None)
    with pytest.raises(FileNotFoundError, match="dciodvfy"):
        dciodvfy_errors(tmp_path / "sr.dcm")


@pytest.fixture
def numbers(
    report: Callable[..., Report], study: Callable[[], SourceStudy], identity: Callable[..., SrIdentity]
) -> Dataset:
    lesion = LesionMeasurement(4.2, "left", 1, 0.0005, 0.0008, 0.625)
    return compose_measurements(report(lesion=lesion), study(), identity=identity(role="measurements"))


def _first_number(document: Dataset) -> Dataset:
    group = document.ContentSequence[-1].ContentSequence[0]
    item: Dataset = next(i for i in group.ContentSequence if i.ValueType == "NUM")
    return item


def _coordinates(document: Dataset) -> None:
    _first_number(document).ValueType = "SCOORD3D"


def _wrong_relationship(document: Dataset) -> None:
    _first_number(document).RelationshipType = "HAS CONCEPT MOD"


def _no_unit(document: Dataset) -> None:
    _first_number(document).MeasuredValueSequence[0].MeasurementUnitsCodeSequence = []


def _no_value(document: Dataset) -> None:
    _first_number(document).MeasuredValueSequence = []


def _two_values(document: Dataset) -> None:
    sequence = _first_number(document).MeasuredValueSequence
    sequence.append(sequence[0])


def _no_mark_in_numbers(document: Dataset) -> None:
    next(
        i for i in document.ContentSequence if i.ValueType == "TEXT" and i.RelationshipType == "CONTAINS"
    ).TextValue = "-"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_coordinates, "value type SCOORD3D is not allowed"),
        (_wrong_relationship, "CONTAINER HAS CONCEPT MOD NUM is not allowed"),
        (_no_unit, "NUM is not one finite value with its unit"),
        (_two_values, "NUM is not one finite value with its unit"),
        (_no_value, "NUM without a value"),
        (_no_mark_in_numbers, "the first text is not the draft mark"),
        (lambda d: setattr(d, "VerificationFlag", "VERIFIED"), "VerificationFlag is not UNVERIFIED"),
        (lambda d: delattr(d, "ContentTemplateSequence"), "does not name template 1500"),
        (_evidence_without_series, "the evidence is incomplete"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_spoilt_measurements_are_not_sent(numbers: Dataset, spoil: Callable[[Dataset], None], said: str) -> None:
    serialise(numbers)  # Given measurements that are right
    spoil(numbers)
    with pytest.raises(NonConformant) as caught:
        serialise(numbers)
    assert said in caught.value.reason


def test_measurements_of_another_patient_are_caught(numbers: Dataset, study: Callable[[], SourceStudy]) -> None:
    check(numbers, source=study())
    numbers.PatientID = "PID-2"
    with pytest.raises(NonConformant, match="PatientID is not the source's"):
        check(numbers, source=study())


def test_a_picture_is_held_against_its_patient_and_needs_pixels(
    document: Dataset, study: Callable[[], SourceStudy]
) -> None:
    # Given a picture with the narrative's header
    picture = Dataset()
    picture.update({e.tag: e for e in document if e.keyword not in ("ContentSequence", "ConceptNameCodeSequence")})
    picture.SOPClassUID, picture.Modality, picture.ConversionType = SecondaryCaptureImageStorage, "OT", "WSD"
    picture.Rows, picture.Columns, picture.PhotometricInterpretation = 1, 2, "RGB"
    picture.BurnedInAnnotation, picture.PixelData = "NO", b"\x00" * 6
    check(picture, source=study())
    # Then it is refused without pixels, without its mark, and under another patient
    for keyword, value, said in (
        ("PixelData", b"", "PixelData is missing"),
        ("SeriesDescription", "Report", "SeriesDescription is not"),
        ("PatientID", "PID-2", "PatientID is not the source's"),
    ):
        spoilt = Dataset()
        spoilt.update(picture)
        setattr(spoilt, keyword, value)
        with pytest.raises(NonConformant, match=said):
            check(spoilt, source=study())
