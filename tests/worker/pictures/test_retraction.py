"""A withdrawn result: what the archive is told to hide, and what a reader sees."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    KeyObjectSelectionDocumentStorage,
    SecondaryCaptureImageStorage,
)

from pirtad.worker.errors import NonConformant
from pirtad.worker.sr.evidence import Reference, references
from pirtad.worker.sr.identity import NARRATIVE
from pirtad.worker.sr.narrative import compose_narrative
from pirtad.worker.sr.picture import PICTURE, compose_picture, serialise_object
from pirtad.worker.sr.retraction import RejectionReason, compose_retraction, retraction_identity

NOW = datetime(2026, 3, 5, 9, 0, 0, tzinfo=UTC)
WHY = "The side is wrong."


@pytest.fixture
def withdrawn(result, identity) -> list[Reference]:
    """Narrative, measurements and picture of one result."""
    one = result()
    narrative = compose_narrative(one.report, one.source, identity=identity(NARRATIVE))
    picture = compose_picture(one.report, one.source, identity=identity(PICTURE), pair=one.pair, lesion_mask=one.lesion)
    made: list[Reference] = [
        (str(d.StudyInstanceUID), str(d.SeriesInstanceUID), str(d.SOPClassUID), str(d.SOPInstanceUID))
        for d in (narrative, picture)
    ]
    measurements = identity("measurements").sop_instance_uid
    return [made[0], (*made[0][:2], str(Comprehensive3DSRStorage), measurements), made[1]]


@pytest.fixture
def retract(result, withdrawn: list[Reference]) -> Callable[..., Dataset]:
    def make(reason=RejectionReason.PATIENT_SAFETY, description=WHY, rejected=None, **attributes) -> Dataset:
        one = result(**attributes)
        rejected = withdrawn if rejected is None else rejected
        identity = retraction_identity(rejected, reason, description, content_datetime=NOW)
        return compose_retraction(
            rejected, one.source, reason, description, provenance=one.report.provenance, identity=identity
        )

    return make


@pytest.mark.parametrize("reason", RejectionReason)
def test_validators_find_no_error(retract, errors_of, reason: RejectionReason) -> None:
    assert errors_of(serialise_object(retract(reason)), "KeyObjectSelectionDocument") == []


@pytest.mark.parametrize(
    ("reason", "title"),
    [
        (RejectionReason.PATIENT_SAFETY, ("113037", "DCM", "Rejected for Patient Safety Reasons")),
        (RejectionReason.QUALITY, ("113001", "DCM", "Rejected for Quality Reasons")),
    ],
)
def test_the_reason_chooses_the_title(retract, reason: RejectionReason, title: tuple[str, str, str]) -> None:
    note = dcmread(BytesIO(serialise_object(retract(reason))))
    code = note.ConceptNameCodeSequence[0]
    assert (code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning) == title
    assert (note.SOPClassUID, note.Modality) == (KeyObjectSelectionDocumentStorage, "KO")


def test_every_object_of_the_result_is_rejected_and_no_other(retract, withdrawn: list[Reference]) -> None:
    note = retract(rejected=[*withdrawn, withdrawn[0]])
    assert set(references(note.CurrentRequestedProcedureEvidenceSequence)) == set(withdrawn)
    pointed = [
        (item.ValueType, sop.ReferencedSOPClassUID, sop.ReferencedSOPInstanceUID)
        for item in note.ContentSequence
        for sop in item.get("ReferencedSOPSequence", [])
    ]
    kinds = {
        BasicTextSRStorage: "COMPOSITE",
        Comprehensive3DSRStorage: "COMPOSITE",
        SecondaryCaptureImageStorage: "IMAGE",
    }
    assert pointed == [(kinds[sop_class], sop_class, sop) for *_, sop_class, sop in withdrawn]


def test_a_reader_sees_why_and_whose(retract, dsrdump) -> None:
    printed = dsrdump(
        serialise_object(
            retract(
                description="Die Seite ist falsch.\n좌우가 바뀜",
                PatientName="김^민수",
                SpecificCharacterSet="ISO_IR 192",
            )
        )
    )
    for text in ("AI DRAFT WITHDRAWN", "김^민수", "Rejected for Patient Safety Reasons", "좌우가 바뀜", "SC image"):
        assert text in printed
    assert not [line for line in printed.splitlines() if line.startswith("E:")]


def test_patient_study_and_order_are_the_sources(retract) -> None:
    note = retract()
    assert (note.PatientName, note.PatientID, note.IssuerOfPatientID) == ("Specimen^Ada", "PID-1", "HOSPITAL")
    assert (note.AccessionNumber, note.ReferencedRequestSequence[0].AccessionNumber) == ("ACC-1", "ACC-1")


def test_words_outside_the_sources_character_set_survive(retract) -> None:
    note = dcmread(BytesIO(serialise_object(retract(description="오류"))))
    assert note.SpecificCharacterSet == "ISO_IR 192"
    texts = [item.TextValue for item in note.ContentSequence if item.ValueType == "TEXT"]
    assert "오류" in texts


def test_asked_twice_it_is_the_same_note(retract, withdrawn: list[Reference]) -> None:
    first, second = (serialise_object(retract()) for _ in range(2))
    assert first == second
    again = retraction_identity(withdrawn[::-1], RejectionReason.PATIENT_SAFETY, WHY, content_datetime=NOW)
    assert again.sop_instance_uid == retract().SOPInstanceUID
    # and another reason, or another result, is another note in a series of its own
    others = [retract(RejectionReason.QUALITY), retract(description="x"), retract(rejected=withdrawn[:1])]
    for attribute in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert len({str(note[attribute].value) for note in (retract(), *others)}) == 4


def test_nothing_without_reason_object_or_in_another_study(retract, withdrawn: list[Reference]) -> None:
    with pytest.raises(NonConformant, match="reason"):
        retract(description=" \n\x1b")
    with pytest.raises(NonConformant, match="0 objects"):
        retract(rejected=[])
    with pytest.raises(NonConformant, match="lacks a UID"):
        retract(rejected=[(*withdrawn[0][:3], "")])
    with pytest.raises(NonConformant, match="not of the study"):
        retract(rejected=[("1.2.3", *withdrawn[0][1:])])
