"""Which source is believed, and when none is."""

from __future__ import annotations

import pytest

from pirtad.inference.report.report import Registry
from pirtad.worker.registry.merge import HEADER, WORKLIST, Source, merge

GIVEN = "the hospital's interface"


def merged(given: Registry, worklist: Registry, header: Registry) -> tuple[Registry, tuple[str, ...]]:
    return merge([Source(GIVEN, given), Source(WORKLIST, worklist), Source(HEADER, header)])


def test_the_header_alone_is_as_ever_and_needs_no_word() -> None:
    header = Registry(70, "Male", "Aphasia", None, "HTN")
    assert merge([Source(HEADER, header)]) == (header, ())


def test_what_is_given_comes_before_the_worklist_and_that_before_the_header() -> None:
    registry, notes = merged(
        Registry(presentation="given", nihss=12),
        Registry(None, "Female", "planned", None, "planned"),
        Registry(70, "Female", "seen", None, "seen"),
    )
    assert registry == Registry(70, "Female", "given", 12, "planned")
    assert notes == (
        "Registry: age from the images' header; sex and history from the worklist; "
        "presentation and NIHSS from the hospital's interface.",
    )


@pytest.mark.parametrize("header_age", [69, 71])
def test_a_birthday_apart_is_no_contradiction(header_age: int) -> None:
    registry, _ = merged(Registry(70), Registry(), Registry(header_age))
    assert registry.age_years == 70


@pytest.mark.parametrize(("given", "header"), [(70, 68), (18, 17), (17, 18), (0, 130)])
def test_ages_that_contradict_each_other_are_left_out_with_a_note(given: int, header: int) -> None:
    registry, notes = merged(Registry(given, nihss=3), Registry(), Registry(header, "Male"))
    assert registry == Registry(None, "Male", nihss=3)
    assert notes[0] == (
        f"Registry: {GIVEN} and the images' header contradict each other in the patient's age, which was left out."
    )
    assert str(given) not in notes[0]


def test_one_of_three_that_contradicts_is_enough() -> None:
    registry, notes = merged(Registry(sex="Male"), Registry(sex="Male"), Registry(sex="Female"))
    assert registry == Registry()
    assert "sex" in notes[0]


def test_a_source_that_contradicts_the_images_in_age_and_sex_is_about_somebody_else() -> None:
    registry, notes = merged(
        Registry(40, "Male", "given", 20, "given"), Registry(history="plan"), Registry(70, "Female")
    )
    assert registry == Registry(history="plan")
    assert [note for note in notes if "as another patient would" in note] != []


def test_nothing_is_invented() -> None:
    assert merged(Registry(), Registry(), Registry()) == (Registry(), ())
