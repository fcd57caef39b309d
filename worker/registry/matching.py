"""Which entry of a worklist is about these images, and what it says of the patient. Pure.

An entry counts when it states the images' PatientID and either their Study Instance UID or their accession number,
and contradicts them in none of issuer, birth date and sex. Every doubt leaves the worklist's facts out.
"""

from __future__ import annotations

import copy
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from pydicom import Dataset

from pirtad.inference.dicom.attributes import text
from pirtad.inference.dicom.identity import PatientIdentity, patient_identity
from pirtad.inference.dicom.registry import registry_of
from pirtad.inference.report.report import Registry


@dataclass(frozen=True, slots=True, repr=False)
class Asked:
    """What the images say of patient and study; "" is not said. Patient data: no repr."""

    identity: PatientIdentity
    sex: str
    study_uid: str
    accession_number: str
    study_date: str

    @property
    def patient_id(self) -> str:
        """The images' PatientID."""
        return self.identity.patient_id


def asked_of(header: Dataset) -> Asked:
    """Read from the header of one of the images."""
    return Asked(
        identity=patient_identity(header),
        sex=text(header, "PatientSex").upper(),
        study_uid=text(header, "StudyInstanceUID"),
        accession_number=_accession(header),
        study_date=text(header, "StudyDate"),
    )


def fitting(entries: Iterable[Dataset], asked: Asked) -> tuple[Registry | None, tuple[str, ...]]:
    """What the worklist says of the patient, or None; and what a reader of the report must know, a sentence each."""
    notes: list[str] = []
    fit: list[tuple[bool, Registry]] = []
    for entry in entries:
        same_study = text(entry, "StudyInstanceUID") == asked.study_uid
        # A second procedure under one order has the same accession number and may have been given another UID.
        same_order = asked.accession_number != "" and _accession(entry) == asked.accession_number
        if not (same_study or same_order):
            continue
        if differing := _differing(entry, asked):
            notes.append(
                f"The worklist's entry for this study differs from the images in {differing}; it was not used."
            )
        else:
            fit.append((same_study, _registry(entry, asked)))
    if any(same_study for same_study, _ in fit):
        fit = [one for one in fit if one[0]]
    said = {registry for _, registry in fit}
    if len(said) > 1:
        notes.append(f"The worklist has {len(fit)} entries for this study that say different things; none was used.")
    return said.pop() if len(said) == 1 else None, tuple(dict.fromkeys(notes))


def _differing(entry: Dataset, asked: Asked) -> str:
    """Which attribute makes it somebody else's entry; "" if none does. A missing PatientID is another's."""
    theirs = patient_identity(entry)
    if theirs.patient_id != asked.patient_id:
        return "PatientID"
    for name, one, other in (
        ("the issuer of the PatientID", theirs.issuer, asked.identity.issuer),
        ("the birth date", theirs.birth_date, asked.identity.birth_date),
        ("the sex", text(entry, "PatientSex").upper(), asked.sex),
    ):
        if one and other and one != other:
            return name
    return ""


def _registry(entry: Dataset, asked: Asked) -> Registry:
    """As from an image's header: the same attributes mean the same. The age is that on the day of the images."""
    dated = copy.copy(entry)
    dated.StudyDate = asked.study_date
    return registry_of(dated)


def _accession(dataset: Dataset) -> str:
    return unicodedata.normalize("NFKC", text(dataset, "AccessionNumber"))
