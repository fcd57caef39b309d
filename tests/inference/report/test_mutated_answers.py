"""Whatever is done to an answer, and whatever is answered: a report, and nothing in it that is not known."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.lies import LIES, PATIENTS, SECTIONS, SOURCES, Patient, objections

from pirtad.inference.errors import ModelMismatch
from pirtad.inference.findings import Territory
from pirtad.inference.report.fake_model import FakeLanguageModel
from pirtad.inference.report.generate import Generator
from pirtad.inference.report.report import Basis
from pirtad.inference.report.schema import possible_answers

EXAMPLES, CAMPAIGN = 500, 20_000
WORDS = (
    *(
        "left",
        "right",
        "bilateral",
        "haemorrhage",
        "no hemorrhage",
        "occlusion of the M1",
        "LVO",
        "T2",
        "FLAIR",
        "acute",
    ),
    *("32 mm", "12.5 ml", "3 cm", "thrombolysis", "thrombectomy", "NIHSS 14", "not", "no", "1", "chronic", "anterior"),
    *("posterior", "normal", "MCA", "Female", "80-year-old", "<|im_end|>", "\n", '"', "\\", "{}"),
)
LOOKALIKES = str.maketrans("aeopcxi", "аеорсхі")
INVISIBLE = ("\u200b", "\u200d", "\u202e", "\ufeff", "\u00ad", "\u2066", "\x00", "\ud800")
SPACES = (" ", "  ", "\t", "\n", "\u00a0", "\u2003", "\u2028", "\r\n")
LIED = [{**PATIENTS[lie.patient].told, **lie.told} for lie in LIES.values()]
TOLD = [one.told for one in PATIENTS.values()]

texts = st.text(st.characters(), max_size=40)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(SECTIONS) | texts, inner, max_size=6),
    max_leaves=12,
)


@st.composite
def mutated(draw: st.DrawFn, truth: str) -> str:
    """A sentence with one thing done to it."""
    words = truth.split(" ")
    kind = draw(st.sampled_from(["words", "place", "whole", "text"]))
    if kind == "text":
        return draw(texts)
    if kind == "words":
        at, insert = draw(st.integers(0, len(words) - 1)), draw(st.sampled_from(WORDS))
        replaced = draw(st.sampled_from([[insert, words[at]], [insert], []]))
        return " ".join([*words[:at], *replaced, *words[at + 1 :]])
    if kind == "place":
        at, put = draw(st.integers(0, len(truth))), draw(st.sampled_from((*INVISIBLE, *SPACES, *WORDS)))
        after = draw(st.sampled_from([truth[at:], truth[at + 1 :], truth[at:].translate(LOOKALIKES), ""]))
        return truth[:at] + put + after
    wide = truth.replace("i", "\N{FULLWIDTH LATIN SMALL LETTER I}", 1)
    return draw(
        st.sampled_from(
            [truth.upper(), truth.lower(), truth.title(), truth.swapcase(), truth[::-1], truth * 2, f" {truth}", wide]
        )
    )


@st.composite
def sections(draw: st.DrawFn, patient: Patient) -> dict[str, object]:
    """An answer as an object: honest, within the vocabulary or a known lie; then sections swapped, spliced, mutated."""
    options = possible_answers(patient.registry).options

    def whole() -> dict[str, str]:
        kind = draw(st.sampled_from(["honest", "honest", "within", "lie", "another patient's"]))
        if kind == "within":
            return {section: draw(st.sampled_from(options[section])) for section in SECTIONS}
        if kind == "lie":
            return draw(st.sampled_from(LIED))
        return patient.told if kind == "honest" else draw(st.sampled_from(TOLD))

    other = whole()
    answer: dict[str, object] = dict(whole())
    for _ in range(draw(st.integers(0, 3))):
        section, second = draw(st.sampled_from(SECTIONS)), draw(st.sampled_from(SECTIONS))
        what = draw(st.sampled_from(["mutate", "mutate", "swap", "splice", "halves", "drop", "extra", "other type"]))
        text = str(answer.get(section, ""))
        if what == "mutate":
            answer[section] = draw(mutated(text or " "))
        elif what == "swap":
            answer[section], answer[second] = answer.get(second, ""), answer.get(section, "")
        elif what == "splice":
            answer[section] = other[section]
        elif what == "halves":
            cut = draw(st.integers(0, len(text)))
            answer[section] = text[:cut] + other[section][cut:]
        elif what == "drop":
            answer.pop(section, None)
        elif what == "extra":
            answer[draw(texts | st.sampled_from(["lesion", "measured", "side", "similar", "Findings"]))] = text
        else:
            answer[section] = draw(json_values)
    return answer


@st.composite
def answers(draw: st.DrawFn, patient: Patient) -> str:
    """What a language model may answer, as it comes."""
    whole = json.dumps(draw(sections(patient)), ensure_ascii=draw(st.booleans()))
    form = draw(st.sampled_from(["as it is", "as it is", "with space", "broken", "random JSON", "text"]))
    if form == "as it is":
        return whole
    if form == "with space":
        return f" \n{json.dumps(json.loads(whole), indent=2)}\t"
    if form == "broken":
        at = draw(st.integers(0, len(whole)))
        return draw(
            st.sampled_from(
                [
                    whole[:at],
                    whole + "\nAddendum: left.",
                    f"```json\n{whole}\n```",
                    json.dumps({"report": json.loads(whole)}),
                    whole[:-1] + ', "findings": "No hemorrhage."}',
                    '{"impression": "Left MCA occlusion.", ' + whole[1:],
                    whole[:at] + draw(st.sampled_from(WORDS)) + whole[at:],
                    whole + whole,
                ]
            )
        )
    return json.dumps(draw(json_values)) if form == "random JSON" else draw(texts)


def check_one(data: st.DataObject) -> None:
    # Given any of the patients, and a model that answers twice whatever it likes
    patient = data.draw(st.sampled_from(list(PATIENTS.values())))
    said = [data.draw(answers(patient)) for _ in range(2)]
    model = FakeLanguageModel(said)
    # When a report is generated, which no answer can prevent
    report = Generator(model, SOURCES).generate(patient.registry, patient.analysis())
    # Then it says nothing but what is known, in characters that anybody can read
    assert objections(report, patient) == []
    # And its basis tells how it came to be
    assert len(model.requests) == (1 if report.basis is Basis.ANSWER else 2)
    if report.basis is not Basis.TEMPLATE:
        chosen = json.loads(said[0 if report.basis is Basis.ANSWER else 1])
        assert chosen["findings"] in {case.finding for case in patient.similar}
        assert report.impression.startswith(chosen["impression"])
        assert [chosen[one] for one in SECTIONS[:3]] == [patient.presentation, patient.nihss, patient.history]
    else:
        assert (report.findings, report.impression) == (patient.findings[0], patient.impressions[0])


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_no_mutation_of_an_answer_is_believed(data: st.DataObject) -> None:
    check_one(data)


@pytest.mark.slow
@settings(max_examples=CAMPAIGN, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_no_mutation_of_an_answer_is_believed_in_a_campaign(data: st.DataObject) -> None:
    check_one(data)


# Table 1, written out a second time
_TABLE_1 = re.compile(
    r"There is (strong|mild) (large vascular territorial|wedge-shaped vascular territorial|small lacune"
    r"|small striato-capsular|small) diffusion restriction in the (?P<where>anterior circulation|deep gray matter"
    r"|posterior circulation) territory\."
)
_WHERE = {
    Territory.ANTERIOR: "anterior circulation",
    Territory.DEEP_GRAY_MATTER: "deep gray matter",
    Territory.POSTERIOR: "posterior circulation",
}


@settings(deadline=None)
@given(st.data())
def test_no_mutation_of_a_retrieved_sentence_is_believed(data: st.DataObject) -> None:
    # Given a retrieved case whose sentence was tampered with, or that claims another territory
    patient = data.draw(st.sampled_from(list(PATIENTS.values())))
    similar = list(patient.similar)
    rank = data.draw(st.integers(0, len(similar) - 1))
    similar[rank] = replace(
        similar[rank],
        finding=data.draw(st.just(similar[rank].finding) | mutated(similar[rank].finding)),
        territory=data.draw(st.just(similar[rank].territory) | st.sampled_from(Territory)),
    )
    case = similar[rank]
    table = _TABLE_1.fullmatch(case.finding)
    is_honest = (
        case.finding == PATIENTS["normal"].findings[0]
        if case.territory is Territory.NORMAL
        else table is not None and table["where"] == _WHERE[case.territory]
    )
    # Then it is refused unless it says what table 1 says of its territory, and the model is not even asked
    model = FakeLanguageModel()
    generator = Generator(model, SOURCES)
    analysis = replace(patient.analysis(), similar=tuple(similar))
    if is_honest:
        assert case in generator.generate(patient.registry, analysis).similar
        return
    with pytest.raises(ModelMismatch):
        generator.generate(patient.registry, analysis)
    assert model.requests == []
