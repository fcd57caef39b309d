"""Whose entry it is: nobody else's facts, and none where the worklist contradicts itself."""

from __future__ import annotations

import pytest
from support.worklist import entry, image

from pirtad.inference.report.report import Registry
from pirtad.worker.registry.matching import asked_of, fitting

FACTS = Registry(71, "Female", "stated reason for examination: Hemiparese links", None, "Vorhofflimmern, früher TIA")


def test_the_entry_says_what_the_header_would_have_said() -> None:
    assert fitting([entry()], asked_of(image())) == (FACTS, ())


def test_the_age_is_that_on_the_day_of_the_images() -> None:
    # Given a birthday between an earlier order and the images
    registry, _ = fitting([entry(StudyDate="20250101")], asked_of(image()))
    assert registry is not None
    assert registry.age_years == 71


def test_a_procedure_s_name_is_no_presentation() -> None:
    bare = entry(ReasonForTheRequestedProcedure=None, AdditionalPatientHistory=None)
    assert fitting([bare], asked_of(image()))[0] == Registry(71, "Female")


@pytest.mark.parametrize(
    ("theirs", "ours", "what"),
    [
        ({"PatientID": "PID-2"}, {}, "PatientID"),
        ({"PatientID": None}, {}, "PatientID"),
        ({"PatientID": "PID-1*"}, {}, "PatientID"),
        ({"IssuerOfPatientID": "A"}, {"IssuerOfPatientID": "B"}, "issuer"),
        ({"PatientBirthDate": "19550302"}, {}, "birth date"),
        ({"PatientSex": "M"}, {}, "sex"),
    ],
)
def test_somebody_else_s_entry_is_not_used_and_told_of(theirs: dict, ours: dict, what: str) -> None:
    registry, (note,) = fitting([entry(**theirs)], asked_of(image(**ours)))
    assert registry is None
    assert what in note
    assert "PID" not in note.replace("PatientID", "")


def test_what_one_side_does_not_say_is_no_contradiction() -> None:
    silent = {"IssuerOfPatientID": None, "PatientBirthDate": None, "PatientSex": None}
    registry, notes = fitting([entry(IssuerOfPatientID="A")], asked_of(image(**silent)))
    assert (registry, notes) == (FACTS, ())


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        # Another order of this patient's, as a worklist sends that ignores the accession number
        ({"AccessionNumber": "ACC-8", "StudyInstanceUID": "1.2.3"}, {}),
        # Two that know no accession number are not the same order
        ({"AccessionNumber": "", "StudyInstanceUID": "1.2.3"}, {"AccessionNumber": ""}),
        ({"AccessionNumber": None, "StudyInstanceUID": None}, {"AccessionNumber": None}),
    ],
)
def test_another_order_is_no_entry_for_this_study(theirs: dict, ours: dict) -> None:
    assert fitting([entry(**theirs)], asked_of(image(**ours))) == (None, ())


def test_the_accession_number_is_enough_and_the_study_s_own_entry_better() -> None:
    by_order = entry(StudyInstanceUID="1.2.3", AdditionalPatientHistory="of the CT")
    registry, _ = fitting([by_order], asked_of(image()))
    assert registry is not None
    assert registry.history == "of the CT"
    assert fitting([by_order, entry()], asked_of(image())) == (FACTS, ())


def test_entries_that_say_the_same_are_one_and_others_are_none() -> None:
    assert fitting([entry(), entry(RequestedProcedureID="RP2")], asked_of(image())) == (FACTS, ())
    registry, (note,) = fitting([entry(), entry(AdditionalPatientHistory="None")], asked_of(image()))
    assert registry is None
    assert "2 entries" in note
