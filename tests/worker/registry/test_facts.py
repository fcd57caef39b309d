"""What may be given: every fact that can't be right is refused by name, and no value is quoted."""

from __future__ import annotations

import pytest

from pirtad.inference.report.registry_text import HISTORY_MAX, PRESENTATION_MAX, history_text, presentation_text
from pirtad.inference.report.report import Registry
from pirtad.worker.registry.facts import MAX_HISTORY, MAX_PRESENTATION, FactsRefused, GivenFacts, given_facts


def test_facts_come_back_as_they_were_given() -> None:
    raw = {"age_years": 75, "sex": "Female", "nihss": 12.0, "presentation": "Aphasia,\n since 9:00", "history": "HTN"}
    facts = given_facts(raw)
    assert facts == GivenFacts(75, "Female", "Aphasia, since 9:00", 12, "HTN")
    assert given_facts(facts.to_dict()) == facts
    assert facts.names() == ("age", "sex", "presentation", "NIHSS", "history")


def test_zero_is_a_fact() -> None:
    assert given_facts({"nihss": 0, "age_years": 0}).names() == ("age", "NIHSS")


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ({"nihss": 43}, "nihss"),
        ({"nihss": -1}, "nihss"),
        ({"nihss": 3.5}, "nihss"),
        ({"nihss": True}, "nihss"),
        ({"nihss": "12"}, "nihss"),
        ({"nihss": float("nan")}, "nihss"),
        ({"age_years": float("inf")}, "age_years"),
        ({"age_years": 131}, "age_years"),
        ({"sex": "female"}, "sex"),
        ({"sex": ["Female"]}, "sex"),
        ({"presentation": "x" * (MAX_PRESENTATION + 1)}, "presentation"),
        ({"history": "x" * (MAX_HISTORY + 1)}, "history"),
        ({"history": "a\x00b"}, "history"),
        ({"history": "a\x1b[2Jb"}, "history"),
        ({"history": "no\u202estroke"}, "history"),
        ({"history": "a\u200bb"}, "history"),
        ({"history": "\ud800a"}, "history"),
        ({"history": " - "}, "history"),
        ({"history": ""}, "history"),
        ({"history": {"a": 1}}, "history"),
        ({"patient_id": "PID-1"}, "patient_id"),
        ({"NIHSS": 4}, "unknown"),
    ],
)
def test_what_can_not_be_right_is_refused(raw: dict, field: str) -> None:
    with pytest.raises(FactsRefused, match=field) as refused:
        given_facts(raw)
    for value in raw.values():
        assert str(value) not in str(refused.value) or str(value) in ("", " - ")


def test_the_longest_text_that_is_taken_is_shown_whole() -> None:
    assert (MAX_PRESENTATION, MAX_HISTORY) == (PRESENTATION_MAX, HISTORY_MAX)
    longest = given_facts({"presentation": "p" * MAX_PRESENTATION, "history": "h" * MAX_HISTORY})
    registry = Registry(presentation=longest.presentation, history=longest.history)
    assert presentation_text(registry) == longest.presentation
    assert history_text(registry) == longest.history


def test_a_repr_names_the_facts_alone() -> None:
    assert repr(given_facts({"age_years": 75, "history": "HTN"})) == "GivenFacts(age, history)"
