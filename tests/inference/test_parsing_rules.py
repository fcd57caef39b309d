"""What holds for any report, not for one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pirtad.inference.datasets.record import report_of
from pirtad.inference.findings import Finding, InfarctType, SignalClass, Territory
from pirtad.inference.parsing.parsed import Candidate, Confidence, ParsedReport
from pirtad.inference.parsing.rules import parse_report
from pirtad.inference.parsing.sentences import sentences

EVERY_FINDING = [
    Finding(Territory.NORMAL),
    *(
        Finding(territory, signal, kind)
        for territory in (Territory.ANTERIOR, Territory.DEEP_GRAY_MATTER, Territory.POSTERIOR)
        for signal in SignalClass
        for kind in InfarctType
    ),
]

LESION = st.sampled_from(
    ["restricted diffusion", "diffusion restriction", "acute infarct", "acute infarction", "recent ischemic stroke",
     "markedly restricted diffusion", "strong wedge-shaped diffusion restriction", "small diffusion restriction",
     "acute lacunar infarct", "DWI hyperintensity", "acute territorial infarct"]
)  # fmt: skip
PLACE = st.sampled_from(
    ["", " in the left MCA territory", " in the right thalamus", " in the pons", " in either cerebellar hemisphere",
     " within the frontal lobes", " of the basal ganglia", " in the left insula, putamen or occipital lobe"]
)  # fmt: skip
BEFORE = st.sampled_from(
    ["No {}.", "There is no {}.", "No evidence of {}.", "Without evidence of {}.", "Negative for {}.", "Absence of {}.",
     "There is no convincing evidence of {}.", "DWI shows no {}.",
     "DWI: negative for {}.", "No MR evidence of {}.", "Not {}.",
     "The study fails to show {}.", "No hemorrhage, mass effect or {}.", "There is neither hemorrhage nor {}."]
)  # fmt: skip
AFTER = st.sampled_from(
    ["{} is not seen.", "{} was not identified.", "{} is absent.", "{} has resolved.", "{}: none.", "{} is ruled out.",
     "{} is no longer present.", "{} has been excluded.", "{} is not clearly demonstrated."]
)  # fmt: skip


@pytest.mark.parametrize("finding", EVERY_FINDING, ids=lambda finding: finding.sentence())
def test_every_template_sentence_is_read_back(finding: Finding) -> None:
    for text in (finding.sentence(), report_of(finding), f"FINDINGS:\n{finding.sentence()}\n"):
        read = parse_report(text)
        assert (read.finding, read.confidence) == (finding, Confidence.CERTAIN), read.reasons
        assert [one.territory for one in read.candidates] == [finding.territory]


@given(
    lesion=LESION, place=PLACE, frame=BEFORE | AFTER, heading=st.sampled_from(["", "Findings: ", "IMPRESSION:\n1. "])
)
@settings(max_examples=300, deadline=None)
def test_a_negated_sentence_never_yields_a_lesion(lesion: str, place: str, frame: str, heading: str) -> None:
    said = lesion + place
    text = heading + frame.format(said.capitalize() if frame.startswith("{") else said)
    assert all(one.territory is Territory.NORMAL for one in parse_report(text).candidates), text


@given(lesion=LESION, place=PLACE, frame=BEFORE)
@settings(max_examples=100, deadline=None)
def test_what_is_denied_at_one_place_is_not_normal(lesion: str, place: str, frame: str) -> None:
    read = parse_report(frame.format(lesion + place))
    if place:
        assert read.confidence is Confidence.REVIEW
        assert not any(one.territory is Territory.NORMAL and not read.reasons for one in read.candidates)


@given(
    st.lists(
        st.sampled_from(
            ["No ", "acute infarct ", "restricted diffusion ", "in the left MCA ", "pons, ", "old ", "3.5 cm ", ". ",
             "\n- ", "\n\n", "Impression: ", "HISTORY: ", "possible ", "wedge-shaped ", "markedly ", "thalamus; ",
             "but ", "T2 shine-through ", "hemorrhage ", "unchanged", "ADC low ", "→ ", "Dr. ", "뇌경색 ",
             "é", "\r\n", "1. "]
        ),
        max_size=25,
    ).map("".join)
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_and_its_evidence_is_verbatim(text: str) -> None:
    read = parse_report(text)
    for found in (*read.evidence, *(one for candidate in read.candidates for one in candidate.evidence)):
        assert found.text
        assert text[found.start : found.end] == found.text
        assert found.sentence in text
    for sentence in sentences(text):
        assert text[sentence.start :].startswith(sentence.text)
    assert (read.confidence is Confidence.CERTAIN) == (not read.reasons)


def test_sentences_survive_measures_and_titles() -> None:
    text = "Seen with Dr. Example. A 3.5 cm lesion in the rt. MCA territory\nof approx. 2.0 mm depth. No edema"
    assert [one.text for one in sentences(text)] == [
        "Seen with Dr. Example.",
        "A 3.5 cm lesion in the rt. MCA territory\nof approx. 2.0 mm depth.",
        "No edema",
    ]


def test_history_does_not_count_and_impression_goes_first() -> None:
    # Given a history that names a stroke elsewhere, and findings in another order than the impression
    read = parse_report(
        "HISTORY: Acute infarct in the left thalamus.\nFINDINGS: Restricted diffusion in the pons. Restricted "
        "diffusion in the left insula.\nIMPRESSION: Acute infarct in the left insula. Acute infarct in the pons."
    )
    # Then the history's territory is not there, and the impression's first is the dominant one
    assert [one.territory for one in read.candidates] == [Territory.ANTERIOR, Territory.POSTERIOR]
    assert read.dominant is not None
    assert read.dominant.in_impression
    assert "several territories are named" in read.reasons


@pytest.mark.parametrize(
    "said",
    ["severe", "mild mass effect, acute", "moderately severe", "mildly symptomatic", "marked atrophy and acute"],
)
def test_severity_is_not_signal(said: str) -> None:
    read = parse_report(f"There is {said} infarct in the left insula with restricted diffusion.")
    assert [(one.territory, one.signal_class) for one in read.candidates] == [(Territory.ANTERIOR, None)]


@pytest.mark.parametrize(
    "text",
    ["\n" * 19_000 + "infarct", "no " * 6_000 + "infarct", "acute infarct " * 1_400, "a" * 30_000, "(1 x " * 4_000],
)
def test_a_text_that_is_no_report_costs_little_and_is_not_certain(text: str) -> None:
    assert parse_report(text).confidence is Confidence.REVIEW


def test_certain_needs_a_whole_finding_and_its_evidence() -> None:
    with pytest.raises(ValueError, match="certain"):
        ParsedReport((Candidate(Territory.ANTERIOR, None, None, True, ()),), Confidence.CERTAIN, (), ())
    with pytest.raises(ValueError, match="reason"):
        ParsedReport((), Confidence.REVIEW, (), ())


def test_no_report_in_a_repr() -> None:
    read = parse_report("Acute infarct in the left pons of Mrs Example.")
    assert read.evidence
    assert "Example" not in repr(read)
