"""When two headers speak of one patient."""

from __future__ import annotations

import pytest
from pydicom import Dataset

from pirtad.inference.dicom.identity import conflicting_attributes, patient_identity


def header(**attributes: str) -> Dataset:
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"PatientName": "DOE^JANE"}, {"PatientName": "Doe^Jane^^^"}),
        ({"PatientName": "DOE^JANE"}, {"PatientName": "doe  jane"}),
        ({"PatientName": "MÜLLER^EVA"}, {"PatientName": "Mu\u0308ller^Eva"}),
        ({"PatientName": "Yamada^Tarou=山田^太郎"}, {"PatientName": "YAMADA^TAROU"}),
        ({"PatientID": "7 "}, {"PatientID": "7"}),
        ({"PatientID": "7", "PatientBirthDate": "19500101"}, {"PatientID": "7"}),
        ({}, {"PatientID": "7", "IssuerOfPatientID": "H"}),
    ],
)
def test_one_patient(one: dict[str, str], other: dict[str, str]) -> None:
    assert conflicting_attributes([patient_identity(header(**one)), patient_identity(header(**other))]) == ()


@pytest.mark.parametrize(
    ("one", "other", "keyword"),
    [
        ({"PatientID": "7"}, {"PatientID": "07"}, "PatientID"),
        ({"PatientName": "DOE^JANE"}, {"PatientName": "DOE^JOAN"}, "PatientName"),
        ({"PatientName": "A^B=山田^太郎"}, {"PatientName": "A^B=山田^次郎"}, "PatientName"),
        ({"PatientBirthDate": "19500101"}, {"PatientBirthDate": "19510101"}, "PatientBirthDate"),
        ({"IssuerOfPatientID": "A"}, {"IssuerOfPatientID": "B"}, "IssuerOfPatientID"),
    ],
)
def test_two_patients(one: dict[str, str], other: dict[str, str], keyword: str) -> None:
    identities = [patient_identity(header(**one)), patient_identity(header()), patient_identity(header(**other))]
    assert conflicting_attributes(identities) == (keyword,)


def test_the_repr_tells_nothing() -> None:
    shown = repr(patient_identity(header(PatientName="DOE^JANE", PatientID="7")))
    assert "doe" not in shown.lower()
    assert "7" not in shown
