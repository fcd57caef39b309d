"""Whose images these are, in a form that can be compared between headers."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from pydicom import Dataset

from pirtad.inference.dicom.attributes import text


class PatientIdentity(NamedTuple):
    """Normalised identity; "" means the header does not say. Patient data: never log it."""

    patient_id: str
    issuer: str
    birth_date: str
    name_alphabetic: str
    name_ideographic: str
    name_phonetic: str

    def __repr__(self) -> str:
        return "PatientIdentity(...)"


def patient_identity(dataset: Dataset) -> PatientIdentity:
    """PatientID, IssuerOfPatientID, PatientBirthDate and the three groups of PatientName (PS3.5 6.2.1.2).

    Names are compared without case, width variants, the caret between components and repeated blanks:
    'DOE^JANE' and 'Doe^Jane^^^' are one person. Spelling is not: 'MUELLER' and 'MÜLLER' differ.
    """
    groups = [_plain(group) for group in text(dataset, "PatientName").split("=")[:3]]
    groups += [""] * (3 - len(groups))
    return PatientIdentity(
        unicodedata.normalize("NFKC", text(dataset, "PatientID")),
        unicodedata.normalize("NFKC", text(dataset, "IssuerOfPatientID")),
        text(dataset, "PatientBirthDate").replace(".", ""),
        *groups,
    )


_ATTRIBUTES = ("PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientName", "PatientName", "PatientName")


def conflicting_attributes(identities: Iterable[PatientIdentity]) -> tuple[str, ...]:
    """The keywords whose stated values differ; empty means one patient.

    A value that one header lacks is no conflict: maps and presentation states made by workstations often leave
    out the birth date or the issuer.
    """
    distinct = set(identities)
    found: list[str] = []
    for position, keyword in enumerate(_ATTRIBUTES):
        stated = {identity[position] for identity in distinct} - {""}
        if len(stated) > 1 and keyword not in found:
            found.append(keyword)
    return tuple(found)


def _plain(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().replace("^", " ").split())
