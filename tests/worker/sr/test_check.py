"""Every way of being wrong is caught before sending."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from highdicom.sr import ImageContentItem
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import MRImageStorage

from pirtad.inference.report.report import Report
from pirtad.worker.errors import NonConformant, Permanent
from pirtad.worker.sr import check as checks
from pirtad.worker.sr.check import check, dciodvfy_errors, serialise
from pirtad.worker.sr.identity import SrIdentity
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
        (lambda d: delattr(d, "CompletionFlag"), "CompletionFlag is not COMPLETE"),
        (lambda d: setattr(d, "SeriesDescription", "Report"), "SeriesDescription is not"),
        (lambda d: setattr(d, "SOPClassUID", MRImageStorage), "SOPClassUID is not"),
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
