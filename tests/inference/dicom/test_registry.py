"""The registry is what the header says, and nothing else."""

from __future__ import annotations

import io

import pytest
from pydicom import Dataset, dcmread, dcmwrite

from pirtad.inference.dicom.registry import MAX_TEXT_LENGTH, clean, registry_of
from pirtad.inference.report.report import Registry


def header(**attributes: object) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def test_an_empty_header_gives_an_empty_registry() -> None:
    assert registry_of(Dataset()) == Registry()


@pytest.mark.parametrize(
    ("attributes", "years"),
    [
        ({"PatientAge": "065Y"}, 65),
        ({"PatientAge": "018M"}, 1),
        ({"PatientAge": "011M"}, 0),
        ({"PatientAge": "012W"}, 0),
        ({"PatientAge": "400D"}, 1),
        ({"PatientBirthDate": "19600229", "StudyDate": "20260228"}, 65),
        ({"PatientBirthDate": "19600228", "StudyDate": "20260228"}, 66),
        ({"PatientAge": "070Y", "PatientBirthDate": "19600101", "StudyDate": "20260228"}, 70),
        ({"PatientAge": "000Y", "PatientBirthDate": "19600101", "StudyDate": "20260228"}, 66),
        ({"PatientAge": "000Y"}, None),
        ({"PatientBirthDate": "19600101"}, None),
        ({"PatientBirthDate": "20270101", "StudyDate": "20260228"}, None),
        ({"PatientBirthDate": "18000101", "StudyDate": "20260228"}, None),
        ({"PatientBirthDate": "", "StudyDate": "20260228"}, None),
        ({"PatientAge": ""}, None),
    ],
)
def test_age(attributes: dict[str, object], years: int | None) -> None:
    assert registry_of(header(**attributes)).age_years == years


@pytest.mark.parametrize(("code", "sex"), [("F", "Female"), ("M", "Male"), ("O", "Other"), ("", None), ("U", None)])
def test_sex(code: str, sex: str | None) -> None:
    assert registry_of(header(PatientSex=code)).sex == sex


def test_the_reason_of_the_request_comes_first() -> None:
    request = header(ReasonForTheRequestedProcedure="Sudden left weakness")
    made = header(RequestAttributesSequence=[request], AdmittingDiagnosesDescription=["Stroke", "Diabetes"])
    assert registry_of(made).presentation == "stated reason for examination: Sudden left weakness"
    del made.RequestAttributesSequence
    assert registry_of(made).presentation == "stated admitting diagnosis: Stroke; Diabetes"


def test_a_coded_reason() -> None:
    code = header(CodeValue="1", CodingSchemeDesignator="99X", CodeMeaning="Aphasia")
    assert (
        registry_of(header(ReasonForRequestedProcedureCodeSequence=[code])).presentation
        == "stated reason for examination: Aphasia"
    )


def test_a_procedure_is_no_presentation() -> None:
    made = header(StudyDescription="MRI BRAIN", RequestedProcedureDescription="MRI BRAIN")
    assert registry_of(made) == Registry()


def test_history() -> None:
    made = header(AdditionalPatientHistory="Hypertension.\r\nAtrial fibrillation", MedicalAlerts=["pacemaker"])
    assert registry_of(made).history == "Hypertension. Atrial fibrillation pacemaker"


@pytest.mark.parametrize("raw", ["", "   ", "-", "...", "\x00\x07", "\u202e\u200b"])
def test_a_text_that_says_nothing_is_none(raw: str) -> None:
    assert clean(raw) is None


def test_control_characters_go_and_length_is_bounded() -> None:
    assert clean("left\x1b[31m\x00 arm\n\n\tweak\u202eness") == "left[31m arm weakness"
    long = clean("word " * 1000)
    assert long is not None
    assert len(long) <= MAX_TEXT_LENGTH
    assert long.endswith("…")


@pytest.mark.parametrize(
    ("character_set", "history"),
    [
        ("ISO_IR 100", "Schwäche links"),
        ("ISO_IR 192", "Schwäche, 뇌경색"),
        ("ISO_IR 144", "Инсульт"),
        (["", "ISO 2022 IR 149"], "뇌경색"),
    ],
)
def test_the_character_set_is_respected(character_set: object, history: str) -> None:
    # Given bytes as they come over the wire
    buffer = io.BytesIO()
    made = header(SpecificCharacterSet=character_set, AdditionalPatientHistory=history)
    dcmwrite(buffer, made, implicit_vr=False, little_endian=True)
    buffer.seek(0)

    read = dcmread(buffer, force=True)
    assert registry_of(read).history == history


def test_nothing_shows_in_the_repr() -> None:
    assert "weak" not in repr(registry_of(header(AdditionalPatientHistory="weak", ReasonForStudy="weak")))
