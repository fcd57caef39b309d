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
from pirtad.worker.rejection import RejectionReason
from pirtad.worker.sr.check import serialise
from pirtad.worker.sr.evidence import references
from pirtad.worker.sr.identity import MEASUREMENTS, NARRATIVE
from pirtad.worker.sr.measurements import compose_measurements
from pirtad.worker.sr.narrative import compose_narrative
from pirtad.worker.sr.picture import PICTURE, compose_picture, serialise_object
from pirtad.worker.sr.retraction import compose_retraction, reference_to, retraction_identity

NOW = datetime(2026, 3, 5, 9, 0, 0, tzinfo=UTC)
WHY = "The side is wrong."


@pytest.fixture
def withdrawn(result, identity) -> Callable[..., list[Dataset]]:
    """Makes narrative, measurements and picture of one result as they were delivered; keywords as of `result`."""

    def make(**attributes: object) -> list[Dataset]:
        one = result(**attributes)
        composed = [
            compose_narrative(one.report, one.source, identity=identity(NARRATIVE)),
            compose_measurements(one.report, one.source, identity=identity(MEASUREMENTS, instance_number=2)),
            compose_picture(one.report, one.source, identity=identity(PICTURE), pair=one.pair, lesion_mask=one.lesion),
        ]
        sent = [serialise(composed[0], source=one.source), *map(serialise_object, composed[1:])]
        return [dcmread(BytesIO(content), stop_before_pixels=True) for content in sent]

    return make


@pytest.fixture
def retract(withdrawn: Callable[..., list[Dataset]]) -> Callable[..., Dataset]:
    def make(reason=RejectionReason.PATIENT_SAFETY, description=WHY, rejected=None, **attributes) -> Dataset:
        objects = withdrawn(**attributes) if rejected is None else rejected
        identity = retraction_identity(
            [reference_to(one) for one in objects], reason, description, content_datetime=NOW
        )
        return compose_retraction(objects, reason, description, pirtad_version="0.1.0", identity=identity)

    return make


@pytest.mark.parametrize("reason", RejectionReason)
def test_validators_find_no_error(retract, errors_of, reason: RejectionReason) -> None:
    assert errors_of(serialise_object(retract(reason)), "KeyObjectSelectionDocument") == []


@pytest.mark.parametrize(
    ("reason", "title"),
    [
        ("quality", ("113001", "DCM", "Rejected for Quality Reasons")),
        ("patient-safety", ("113037", "DCM", "Rejected for Patient Safety Reasons")),
        ("incorrect-worklist-entry", ("113038", "DCM", "Incorrect Modality Worklist Entry")),
        ("retention-expired", ("113039", "DCM", "Data Retention Policy Expired")),
    ],
)
def test_the_reason_chooses_the_title(retract, reason: str, title: tuple[str, str, str]) -> None:
    note = dcmread(BytesIO(serialise_object(retract(RejectionReason(reason)))))
    code = note.ConceptNameCodeSequence[0]
    assert (code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning) == title
    assert (note.SOPClassUID, note.Modality) == (KeyObjectSelectionDocumentStorage, "KO")


def test_every_object_of_the_result_is_rejected_and_no_other(retract, withdrawn) -> None:
    objects = withdrawn()
    expected = [reference_to(one) for one in objects]
    note = retract(rejected=[*objects, objects[0]])
    assert set(references(note.CurrentRequestedProcedureEvidenceSequence)) == set(expected)
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
    assert pointed == [(kinds[sop_class], sop_class, sop) for *_, sop_class, sop in expected]
    assert [kind for kind, *_ in pointed] == ["COMPOSITE", "COMPOSITE", "IMAGE"]


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


def test_patient_study_and_order_are_those_of_what_is_withdrawn(retract, withdrawn) -> None:
    note = retract(TimezoneOffsetFromUTC="+0900")
    assert (note.PatientName, note.PatientID, note.IssuerOfPatientID) == ("Specimen^Ada", "PID-1", "HOSPITAL")
    assert (note.AccessionNumber, note.ReferencedRequestSequence[0].AccessionNumber) == ("ACC-1", "ACC-1")
    # and the moment is told in their time zone
    assert (note.TimezoneOffsetFromUTC, note.ContentDate, note.ContentTime) == ("+0900", "20260305", "180000")
    # Without a narrative that arrived, they come from what did
    picture = retract(rejected=withdrawn()[2:])
    assert (picture.PatientID, picture.AccessionNumber) == ("PID-1", "ACC-1")


def test_no_model_is_said_to_have_had_a_part_in_it(retract) -> None:
    note = retract()
    assert "ContributingEquipmentSequence" not in note
    assert (note.Manufacturer, note.SoftwareVersions) == ("pirtad", "0.1.0")


def test_words_outside_the_sources_character_set_survive(retract) -> None:
    note = dcmread(BytesIO(serialise_object(retract(description="오류"))))
    assert note.SpecificCharacterSet == "ISO_IR 192"
    texts = [item.TextValue for item in note.ContentSequence if item.ValueType == "TEXT"]
    assert "오류" in texts


def test_asked_twice_it_is_the_same_note(retract, withdrawn) -> None:
    first, second = (serialise_object(retract()) for _ in range(2))
    assert first == second
    objects = withdrawn()
    backwards = [reference_to(one) for one in objects[::-1]]
    again = retraction_identity(backwards, RejectionReason.PATIENT_SAFETY, WHY, content_datetime=NOW)
    assert again.sop_instance_uid == retract().SOPInstanceUID
    # and another reason, or another result, is another note in a series of its own
    others = [retract(RejectionReason.QUALITY), retract(description="x"), retract(rejected=objects[:1])]
    for attribute in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert len({str(note[attribute].value) for note in (retract(), *others)}) == 4


def test_nothing_without_reason_object_or_in_another_study_or_patient(retract, withdrawn) -> None:
    with pytest.raises(NonConformant, match="reason"):
        retract(description=" \n\x1b")
    with pytest.raises(NonConformant, match="0 objects"):
        retract(rejected=[])
    nameless, other_study, other_patient = withdrawn(), withdrawn(), withdrawn()
    del nameless[1].SOPInstanceUID
    with pytest.raises(NonConformant, match="lacks a UID"):
        retract(rejected=nameless)
    other_study[1].StudyInstanceUID = "1.2.3"
    with pytest.raises(NonConformant, match="more than one study"):
        retract(rejected=other_study)
    other_patient[2].PatientID = "PID-2"
    with pytest.raises(NonConformant, match="PatientID"):
        retract(rejected=other_patient)


def test_one_note_rejects_a_report_and_the_one_that_it_revises(retract, withdrawn, errors_of) -> None:
    # Given six objects of two results, each result's in series of its own
    first = withdrawn()
    second = withdrawn()
    for one in second:
        one.SOPInstanceUID, one.SeriesInstanceUID = f"{one.SOPInstanceUID[:60]}.2", f"{one.SeriesInstanceUID[:60]}.2"
    note = retract(rejected=[*first, *second])
    # Then each is named once, under its own series, and the note is sound
    wanted = {reference_to(one) for one in (*first, *second)}
    named = [tuple(map(str, one)) for one in references(note.CurrentRequestedProcedureEvidenceSequence)]
    assert (len(wanted), len(named), set(named)) == (6, 6, wanted)
    content = [item.ReferencedSOPSequence[0] for item in note.ContentSequence if "ReferencedSOPSequence" in item]
    assert sorted(str(one.ReferencedSOPInstanceUID) for one in content) == sorted(uid for *_, uid in wanted)
    assert errors_of(serialise_object(note), "KeyObjectSelectionDocument") == []
