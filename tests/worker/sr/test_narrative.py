"""The narrative as other software and a radiologist see it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import config, dcmread, dcmwrite
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import BasicTextSRStorage, ExplicitVRLittleEndian

from pirtad.inference.report.report import DRAFT_MARK, NOT_ASSESSED, NOT_PROVIDED, Report
from pirtad.worker.errors import NonConformant
from pirtad.worker.sr.check import dciodvfy_errors, serialise
from pirtad.worker.sr.evidence import references
from pirtad.worker.sr.identity import Predecessor, SrIdentity
from pirtad.worker.sr.narrative import compose_narrative
from pirtad.worker.sr.source import SourceStudy

MakeReport = Callable[..., Report]
MakeStudy = Callable[..., SourceStudy]
MakeIdentity = Callable[..., SrIdentity]
Compose = Callable[..., Dataset]


@pytest.fixture
def compose(report: MakeReport, study: MakeStudy, identity: MakeIdentity) -> Compose:
    def make(source: SourceStudy | None = None, **changes: object) -> Dataset:
        document = compose_narrative(report(**changes), source or study(), identity=identity())
        return dcmread(BytesIO(serialise(document)))

    return make


def sections(document: Dataset) -> dict[str, list[tuple[str, str]]]:
    """Heading -> (name, text) of its items, in order."""
    return {
        item.ConceptNameCodeSequence[0].CodeMeaning: [
            (child.ConceptNameCodeSequence[0].CodeMeaning, child.TextValue) for child in item.ContentSequence
        ]
        for item in document.ContentSequence
        if item.ValueType == "CONTAINER"
    }


def test_validators_find_no_error(compose: Compose, tmp_path: Path, image: Callable[..., Dataset]) -> None:
    # Given a study with all that can be copied
    order = image(0, 0)
    request = Dataset()
    request.AccessionNumber = "ACC-1"
    request.RequestedProcedureID = "RP-1"
    issuer = Dataset()
    issuer.UniversalEntityID, issuer.UniversalEntityIDType = "1.2.3", "ISO"
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "MRB", "99HOSP", "MR brain"
    extra = {
        "RequestAttributesSequence": DicomSequence([request]),
        "IssuerOfAccessionNumberSequence": DicomSequence([issuer]),
        "ProcedureCodeSequence": DicomSequence([code]),
        "TimezoneOffsetFromUTC": "+0900",
        "SpecificCharacterSet": "ISO_IR 192",
        "PatientAge": "071Y",
    }
    images = [image(series, n, **extra) for series in (4, 5) for n in (1, 2)]
    document = compose(SourceStudy(images[:2], images[2:]))
    assert order.AccessionNumber == document.AccessionNumber
    # When every dciodvfy here reads it
    path = tmp_path / "sr.dcm"
    document.save_as(path)
    validators = [p for p in (None, Path("/usr/bin/dciodvfy")) if p is None or p.exists()]
    # Then none has an error
    assert [dciodvfy_errors(path, validator) for validator in validators] == [[] for _ in validators]


def test_dciodvfy_is_really_asked(compose: Compose, tmp_path: Path) -> None:
    document = compose()
    del document.CompletionFlag
    document.save_as(tmp_path / "broken.dcm")
    assert any("CompletionFlag" in e.replace(" ", "") for e in dciodvfy_errors(tmp_path / "broken.dcm"))
    (tmp_path / "empty.dcm").write_bytes(b"")
    assert dciodvfy_errors(tmp_path / "empty.dcm")


def test_a_radiologist_reads_the_mark_first_and_every_section(
    compose: Compose, tmp_path: Path, dcmtk: Callable[[str], str]
) -> None:
    compose().save_as(tmp_path / "sr.dcm")
    printed = subprocess.run(
        [dcmtk("dsrdump"), "+Pl", tmp_path / "sr.dcm"], capture_output=True, check=True, text=True, timeout=30
    )
    # Then DCMTK, which knows Basic Text SR's relationships, has nothing to complain of
    assert not printed.stderr
    # and the text comes in the order of reading, the mark before all of it
    contained = [line.strip() for line in printed.stdout.splitlines() if "<contains TEXT" in line]
    assert contained[0] == f'<contains TEXT:(,,"Summary")="{DRAFT_MARK}">'
    assert [f'<contains TEXT:(,,"Summary")="{one}">' for one in ("Not for diagnosis.", NOT_ASSESSED)] == contained[1:3]
    wanted = (
        *(f"Series              : {DRAFT_MARK}", "Specimen^Ada", "Preliminary Flag    : PRELIMINARY"),
        *("Completion Flag     : COMPLETE", "Verification Flag   : UNVERIFIED", "MRI Head Report", "Device"),
        *("Summary", "Patient Presentation", "weakness of the right arm", 'NIH Stroke Scale]")="7"', "History"),
        *("Atrial fibrillation", "Finding", "wedge-shaped vascular territorial", "Impression"),
        *("Similar Reference Case", "[1] Similarity Score: 0.97 (case c-0412)", "[2] Similarity Score: 0.95"),
        *("series 4, 3 images, b = 1000 s/mm2", "Image encoder: pirta-vit-base"),
        "Language model: SmolLM2-135M-Instruct",
    )
    positions = [printed.stdout.find(text, 0) for text in wanted]
    assert -1 not in positions
    order = [printed.stdout.index(text) for text in wanted[-8:]]
    assert order == sorted(order)


def test_sections_hold_the_report(compose: Compose) -> None:
    found = sections(compose())
    assert list(found) == [
        *("Summary", "Clinical Information", "History", "Findings", "Impressions"),
        *("Similar Reference Cases", "Current Procedure Descriptions"),
    ]
    assert found["History"] == [("History", "Hypertension.\r\nAtrial fibrillation.")]
    assert found["Impressions"][0][1].startswith("Acute infarction")


def test_what_is_not_known_is_not_said(compose: Compose, study: MakeStudy, report: MakeReport) -> None:
    provenance = replace(report().provenance, language_model="")
    document = compose(study(b_value_s_per_mm2=None), similar=(), nihss="", provenance=provenance)
    found = sections(document)
    assert "Similar Reference Cases" not in found
    assert dict(found["Clinical Information"])["Total score [NIH Stroke Scale]"] == NOT_PROVIDED
    about = " ".join(text for _, text in found["Current Procedure Descriptions"])
    assert "b =" not in about
    assert "Language model" not in about
    assert len(document.ContributingEquipmentSequence) == 1


def test_control_characters_do_not_reach_the_document(compose: Compose) -> None:
    history = dict(sections(compose(past_medical_history="a\x00b\x1b$Bc\x07\rd\n"))["History"])
    assert history["History"] == "a b $Bc \r\nd"


def test_evidence_is_every_used_image_once(compose: Compose, study: MakeStudy) -> None:
    source = study()
    repeated = SourceStudy([*source.dwi, source.dwi[0]], source.adc)
    document = compose(repeated)
    listed = [uid for *_, uid in references(document.CurrentRequestedProcedureEvidenceSequence)]
    assert sorted(listed) == sorted({str(i.SOPInstanceUID) for i in source.images()})
    assert len(document.CurrentRequestedProcedureEvidenceSequence) == 1
    assert len(document.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence) == 2


def test_patient_and_study_are_the_sources(compose: Compose, study: MakeStudy) -> None:
    lead = study().lead
    document = compose()
    for keyword in (
        *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID"),
        *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName", "StudyDescription"),
        "InstitutionName",
    ):
        assert document[keyword].value == lead[keyword].value, keyword
    assert document.SeriesInstanceUID not in {i.SeriesInstanceUID for i in study().images()}


def test_the_order_is_referred_to_when_known(compose: Compose, study: MakeStudy) -> None:
    assert compose().ReferencedRequestSequence[0].AccessionNumber == "ACC-1"
    assert "ReferencedRequestSequence" not in compose(study(AccessionNumber=""))


def test_two_orders_keep_their_own_accession_numbers(compose: Compose, study: MakeStudy) -> None:
    orders = [Dataset(), Dataset()]
    orders[0].AccessionNumber = "ACC-1"
    orders[0].RequestedProcedureID = "1"
    orders[1].RequestedProcedureID = "2"  # its accession number is not known: the study's is another order's
    items = compose(study(RequestAttributesSequence=DicomSequence(orders))).ReferencedRequestSequence
    assert [(i.RequestedProcedureID, i.AccessionNumber) for i in items] == [("1", "ACC-1"), ("2", "")]


@pytest.mark.parametrize(
    ("offset", "date", "time"),
    [(None, "20260304", "233005"), ("+0900", "20260305", "083005"), ("-0330", "20260304", "200005")],
)
def test_dates_are_in_the_sources_time_zone(
    compose: Compose, study: MakeStudy, offset: str | None, date: str, time: str
) -> None:
    document = compose(study(TimezoneOffsetFromUTC=offset) if offset else study())
    assert document.get("TimezoneOffsetFromUTC") == offset
    assert (document.ContentDate, document.ContentTime) == (date, time)
    assert document.ContributingEquipmentSequence[0].ContributionDateTime.startswith(date + time)


def test_another_model_is_another_device(compose: Compose, report: MakeReport) -> None:
    def devices(document: Dataset) -> list[str]:
        observer = next(i.UID for i in document.ContentSequence if i.ValueType == "UIDREF")
        return [observer, *(item.DeviceUID for item in document.ContributingEquipmentSequence)]

    other = compose(provenance=replace(report().provenance, encoder_sha256="e" * 64))
    assert devices(compose()) == devices(compose())
    changed = [a != b for a, b in zip(devices(compose()), devices(other), strict=True)]
    assert changed == [True, True, False]  # the observer and the encoder, not the language model


def test_the_same_arguments_give_the_same_bytes(report: MakeReport, study: MakeStudy, identity: MakeIdentity) -> None:
    made = {serialise(compose_narrative(report(), study(), identity=identity())) for _ in range(2)}
    assert len(made) == 1
    file = dcmread(BytesIO(made.pop()))
    assert file.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert file.file_meta.MediaStorageSOPClassUID == BasicTextSRStorage
    assert file.file_meta.MediaStorageSOPInstanceUID == file.SOPInstanceUID == identity().sop_instance_uid


def test_a_later_version_names_the_earlier(report: MakeReport, study: MakeStudy, identity: MakeIdentity) -> None:
    earlier = Predecessor("1.2", "1.2.3", str(BasicTextSRStorage), "1.2.3.4")
    document = compose_narrative(report(), study(), identity=identity(predecessor=earlier))
    assert list(references(document.PredecessorDocumentsSequence)) == [
        ("1.2", "1.2.3", str(BasicTextSRStorage), "1.2.3.4")
    ]


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        *(("PatientBirthDate", "0000"), ("PatientSex", "UNKNOWN"), ("StudyTime", "12:30"), ("StudyDate", "2026")),
        *(("PatientAge", "71"), ("PatientBirthTime", "noon"), ("PatientIdentityRemoved", "YES")),
    ],
)
def test_a_value_that_dicom_forbids_is_not_copied_and_not_printed(
    compose: Compose, image: Callable[..., Dataset], tmp_path: Path, keyword: str, value: str
) -> None:
    # Given such headers read from files (warnings, which would print the value, are errors here)
    headers = [read_from_file(image(series, 1), {keyword: value}) for series in (4, 5)]
    document = compose(SourceStudy(headers[:1], headers[1:]))
    # Then it is empty where it must be there, and the object is right
    assert not document.get(keyword)
    document.save_as(tmp_path / "sr.dcm")
    assert dciodvfy_errors(tmp_path / "sr.dcm") == []


def test_an_identifier_is_copied_however_long(compose: Compose, image: Callable[..., Dataset]) -> None:
    long = {"PatientID": "P" * 70, "AccessionNumber": "A" * 20}
    headers = [read_from_file(image(series, 1), long) for series in (4, 5)]
    document = compose(SourceStudy(headers[:1], headers[1:]))
    assert {keyword: document.get_item(keyword).value.decode() for keyword in long} == long


def read_from_file(image: Dataset, wrong: dict[str, str]) -> Dataset:
    for keyword, value in wrong.items():
        tag = tag_for_keyword(keyword)
        assert tag is not None
        image.add(DataElement(tag, dictionary_VR(tag), value, validation_mode=config.IGNORE))
    buffer = BytesIO()
    dcmwrite(buffer, image, implicit_vr=False, little_endian=True)
    return dcmread(BytesIO(buffer.getvalue()), force=True)


def test_a_multiframe_object_says_what_it_holds(compose: Compose, image: Callable[..., Dataset]) -> None:
    document = compose(SourceStudy([image(4, 1, NumberOfFrames=26)], [image(5, 1)]))
    caution, about = (line for _, line in sections(document)["Current Procedure Descriptions"][:2])
    assert caution == "Not for diagnosis."
    assert "series 4, 1 object of 26 frames" in about
    assert "series 5, 1 image)" in about


def test_absent_attributes_of_type_2_are_there_and_empty(
    report: MakeReport, study: MakeStudy, identity: MakeIdentity
) -> None:
    source = study()
    for keyword in ("PatientBirthDate", "ReferringPhysicianName", "StudyID", "AccessionNumber", "IssuerOfPatientID"):
        for image in source.images():
            delattr(image, keyword)
    document = compose_narrative(report(), source, identity=identity())
    assert document["ReferringPhysicianName"].is_empty
    assert document["AccessionNumber"].is_empty
    assert "IssuerOfPatientID" not in document


@pytest.mark.parametrize(
    ("keyword", "value", "code"),
    [
        ("StudyInstanceUID", "1.2.3.9", "source-mixed"),
        ("PatientID", "PID-2", "source-patient"),
        ("IssuerOfPatientID", "ELSEWHERE", "source-patient"),
        ("PatientBirthDate", "19550103", "source-patient"),
        ("PatientName", "Specimen^Eve", "source-patient"),
        ("PatientName", ["Specimen^Ada", "Specimen^Eve"], "source-patient"),
        ("SOPInstanceUID", "", "source-incomplete"),
    ],
)
def test_images_that_contradict_each_other_are_refused(
    image: Callable[..., Dataset], keyword: str, value: object, code: str
) -> None:
    with pytest.raises(NonConformant) as caught:
        SourceStudy([image(4, 1), image(4, 2)], [image(5, 1, **{keyword: value})])
    assert caught.value.code == code
    assert not {"PID-2", "Eve", "19550103"} & set(caught.value.reason.split())


def test_one_patient_may_be_written_in_two_ways(image: Callable[..., Dataset]) -> None:
    adc = image(5, 1, PatientName="SPECIMEN^ADA^^^", IssuerOfPatientID="")
    assert SourceStudy([image(4, 1, PatientName="Specimen^Ada=洪^吉洞")], [adc]).lead.PatientID == "PID-1"


def test_a_source_without_images_of_one_kind_is_refused(image: Callable[..., Dataset]) -> None:
    with pytest.raises(NonConformant, match="1 DWI and 0 ADC"):
        SourceStudy([image(4, 1)], [])


def test_a_study_does_not_show_its_patient(study: MakeStudy) -> None:
    assert "Ada" not in repr(study())
