"""What the header says about the patient, as far as the report wants to know it (PIRTA table 3)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from datetime import date, datetime

from pydicom import Dataset

from pirtad.inference.dicom.attributes import items, text, texts
from pirtad.inference.report.report import Registry

MAX_TEXT_LENGTH = 1024
"""Longest text handed on, in characters; keeps a runaway header out of the prompt. Chosen."""
MAX_AGE_YEARS = 130

_SEXES = {"F": "Female", "M": "Male", "O": "Other"}
_PER_YEAR = {"D": 365.25, "W": 365.25 / 7, "M": 12.0, "Y": 1.0}


def registry_of(dataset: Dataset) -> Registry:
    """Read the registry from one image header of the study. What the header does not say stays None.

    age_years: PatientAge (0010,1010), else from PatientBirthDate and StudyDate. sex: PatientSex (0010,0040).
    presentation: the first stated of ReasonForTheRequestedProcedure (0040,1002), on its own or in the Request
        Attributes Sequence, its code sequence, ReasonForStudy (0032,1030), AdmittingDiagnosesDescription (0008,1080).
    history: AdditionalPatientHistory (0010,21B0) and MedicalAlerts (0010,2000).
    nihss: None, for no header attribute carries it.
    """
    presentation = next((found for found in map(clean, _presentations(dataset)) if found), None)
    history = clean(" ".join((text_of(dataset, "AdditionalPatientHistory"), text_of(dataset, "MedicalAlerts"))))
    return Registry(_age_years(dataset), _SEXES.get(text(dataset, "PatientSex").upper()), presentation, None, history)


def clean(raw: str) -> str | None:
    """One line of at most MAX_TEXT_LENGTH characters, control and formatting characters gone; None if it says nothing.

    Unicode categories Cc, Cf, Cs and Co go (with them bidirectional overrides and zero-width characters); a text
    without a single letter or digit ('-', '...') counts as nothing.
    """
    spaced = "".join(" " if character.isspace() else character for character in raw)
    kept = "".join(character for character in spaced if unicodedata.category(character)[0] != "C")
    line = " ".join(kept.split())
    if not any(character.isalnum() for character in line):
        return None
    return line if len(line) <= MAX_TEXT_LENGTH else line[: MAX_TEXT_LENGTH - 1].rstrip() + "…"


def text_of(dataset: Dataset, keyword: str) -> str:
    """All values of an attribute as one text; several are separated by "; "."""
    return "; ".join(value for value in texts(dataset, keyword) if value)


def _presentations(dataset: Dataset) -> Iterator[str]:
    requests = (dataset, *items(dataset, "RequestAttributesSequence"))
    for request in requests:
        yield _said("reason for examination", text_of(request, "ReasonForTheRequestedProcedure"))
    for request in requests:
        codes = items(request, "ReasonForRequestedProcedureCodeSequence")
        meanings = "; ".join(meaning for meaning in (text(code, "CodeMeaning") for code in codes) if meaning)
        yield _said("reason for examination", meanings)
    yield _said("reason for examination", text_of(dataset, "ReasonForStudy"))
    yield _said("admitting diagnosis", text_of(dataset, "AdmittingDiagnosesDescription"))


def _said(what: str, stated: str) -> str:
    """A question put to the radiologist ('exclude haemorrhage') must not read as a fact about the patient."""
    return f"stated {what}: {stated}" if clean(stated) else ""


def _age_years(dataset: Dataset) -> int | None:
    stated = re.fullmatch(r"(\d{3})([DWMY])", text(dataset, "PatientAge").upper())
    # "000Y" is what de-identification and careless registration leave; infants are stated in days, weeks or months.
    if stated and stated[0] != "000Y":
        years = int(int(stated[1]) / _PER_YEAR[stated[2]])
    else:
        born, studied = _date(text(dataset, "PatientBirthDate")), _date(text(dataset, "StudyDate"))
        if born is None or studied is None:
            return None
        years = studied.year - born.year - ((studied.month, studied.day) < (born.month, born.day))
    return years if 0 <= years <= MAX_AGE_YEARS else None


def _date(stated: str) -> date | None:
    """A DA value (PS3.5 6.2), with the dots of ACR-NEMA tolerated."""
    try:
        return datetime.strptime(stated.replace(".", ""), "%Y%m%d").date()  # noqa: DTZ007 - a calendar date
    except ValueError:
        return None
