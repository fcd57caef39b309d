from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pirtad.inference.errors import LanguageModelUnavailable, ModelMismatch
from pirtad.inference.findings import NORMAL_FINDING, Finding, InfarctType, SignalClass, Territory
from pirtad.inference.report import generate as generate_module
from pirtad.inference.report.evidence import FINDING_OF_SENTENCE, TERRITORY_OF_SENTENCE, Evidence, weigh
from pirtad.inference.report.fake_model import FakeLanguageModel, first_instance
from pirtad.inference.report.generate import Generator, Sources
from pirtad.inference.report.prompt import chat_messages, prompt_sha256
from pirtad.inference.report.report import Basis, Registry, Report, SimilarCase
from pirtad.inference.report.schema import SECTIONS, possible_answers, supported_answers
from pirtad.inference.report.wording import reading

SOURCES = Sources("vit-b", "e" * 64, "pre-1", "c" * 64, "0.1.0")
NEVER_STATED = re.compile(
    r"\b(left|right|bilateral|lt|rt|haemorrhag\w*|hemorrhag\w*|artery|mca|pca|\d+ ?mm)\b", re.IGNORECASE
)

registries = st.builds(
    Registry,
    st.none() | st.integers(0, 120),
    st.none() | st.sampled_from(["Female", "Male", "Other"]),
    st.none() | st.text(),
    st.none() | st.floats(0, 42),
    st.none() | st.text(),
)
retrieved = st.lists(
    st.builds(
        lambda item, similarity: SimilarCase("c", similarity, item[1], item[0]),
        st.sampled_from(sorted(TERRITORY_OF_SENTENCE.items())),
        st.floats(-1, 1),
    ),
    min_size=1,
    max_size=5,
)


def test_the_report_is_table_3s_with_neighbours_and_provenance(registry, table_3, found, lesion):
    # Given a model that answers the first statements it may make
    model = FakeLanguageModel()
    # When a report is generated
    report = Generator(model, SOURCES, timeout_s=7).generate(registry, found(table_3, lesion))
    # Then its sections come from registry and evidence, its neighbours from retrieval
    assert report.territory is Territory.ANTERIOR
    assert report.clinical_presentation == "A 75-year-old Female patient with Altered Mentality."
    assert report.nihss == "32.0"
    assert report.past_medical_history == "HTN, Afib"
    assert report.findings == (
        "Diffusion restriction in the anterior circulation territory. In the similar cases: mildly hyperintense on "
        "DWI, wedge-shaped vascular territorial pattern."
    )
    assert report.basis is Basis.SECOND_ANSWER
    assert report.impression == (
        "Diffusion restriction in the anterior circulation territory; acute infarction is one cause, others not "
        "excluded. Territory supported by 5 of 5 similar cases. The measured lesion is on the left."
    )
    assert report.similar == tuple(table_3)
    # And what made it can be audited
    assert report.provenance.prompt_sha256 == prompt_sha256(chat_messages(registry, table_3))
    assert (report.provenance.language_model, report.provenance.language_model_digest) == (model.name, model.digest)
    assert report.provenance.case_base_sha256 == SOURCES.case_base_sha256
    assert model.requests[0].timeout_s == 7
    assert Report.from_json(report.to_json()) == report


def test_only_the_five_most_similar_count(registry, case, found):
    # Given five anterior cases, and more posterior ones that are less similar
    similar = [case(Territory.POSTERIOR, 0.5)] * 20 + [case(Territory.ANTERIOR, 0.6)] * 5
    report = Generator(FakeLanguageModel(), SOURCES).generate(registry, found(similar))
    # Then what is weighed is what the reader sees
    assert report.territory is Territory.ANTERIOR
    assert len(report.similar) == 5


def test_disagreeing_neighbours_are_told(registry, case, found):
    similar = [case(Territory.NORMAL, 0.9), case(Territory.NORMAL, 0.8), case(Territory.POSTERIOR, 0.7)]
    report = Generator(FakeLanguageModel(), SOURCES).generate(registry, found(similar))
    assert report.findings == NORMAL_FINDING
    assert report.impression == f"{NORMAL_FINDING} Territory supported by 2 of 3 similar cases."


@pytest.mark.parametrize("answer", ["", '{"findings": "all good"}', "Acute infarction of the left MCA territory."])
def test_two_answers_outside_the_schema_leave_the_template(registry, table_3, found, answer):
    model = FakeLanguageModel([answer, answer])
    report = Generator(model, SOURCES).generate(registry, found(table_3))
    assert report.basis is Basis.TEMPLATE
    assert report.findings.startswith(reading(FINDING_OF_SENTENCE[weigh(table_3).sentences[0]]))
    assert len(model.requests) == 2
    assert "template" in report.text()


def test_an_unsupported_first_answer_gets_a_second_limited_one(registry, table_3, found):
    # Given a model that at first states another territory than its neighbours
    first = first_instance(possible_answers(registry).json_schema())
    posterior = Finding(Territory.POSTERIOR, SignalClass.STRONG, InfarctType.SMALL_LACUNE).sentence()
    model = FakeLanguageModel([json.dumps({**first, "findings": posterior})])
    report = Generator(model, SOURCES).generate(registry, found(table_3))
    # Then the second question leaves it nothing else to say
    assert report.basis is Basis.SECOND_ANSWER
    asked = [set(request.json_schema["properties"]["findings"]["enum"]) for request in model.requests]
    assert posterior in asked[0]
    assert asked[1] == {case.finding for case in table_3}


def test_a_supported_first_answer_stands(registry, table_3, found, lesion):
    evidence = weigh(table_3)
    answer = first_instance(supported_answers(registry, evidence, acute=True).json_schema())
    model = FakeLanguageModel([json.dumps(answer)])
    report = Generator(model, SOURCES).generate(registry, found(table_3, lesion))
    assert report.basis is Basis.ANSWER
    assert len(model.requests) == 1
    assert report.measured == (
        "Reduced ADC, measured by software and not verified: left, 145.3 ml in 2 foci, mean ADC 0.51 x 10^-3 mm2/s "
        "(58 % of the opposite side).",
        "Share of the measured volume: anterior circulation (86 %), deep gray matter (14 %).",
        "1 bright spot on DWI without reduced ADC: may be subacute, T2 shine-through or artefact.",
    )
    assert report.lesion == lesion


def test_the_models_own_failure_is_passed_on(registry, table_3, found):
    down = LanguageModelUnavailable("llm_unreachable", "down")
    with pytest.raises(LanguageModelUnavailable) as caught:
        Generator(FakeLanguageModel([down]), SOURCES).generate(registry, found(table_3))
    assert caught.value is down


def test_no_case_no_report_and_no_question_to_the_model(registry, table_3, found):
    model = FakeLanguageModel()
    with pytest.raises(ModelMismatch):
        Generator(model, SOURCES).generate(registry, replace(found(table_3), similar=()))
    assert model.requests == []


@pytest.mark.parametrize(
    ("claimed", "sentence_of"),
    [
        (Territory.NORMAL, Territory.ANTERIOR),
        (Territory.ANTERIOR, Territory.NORMAL),
        (Territory.DEEP_GRAY_MATTER, Territory.POSTERIOR),
    ],
)
def test_the_last_look_catches_evidence_that_contradicts_itself(
    monkeypatch, registry, case, found, claimed, sentence_of
):
    # Given a defect that lets a sentence of one territory pass as evidence for another
    wrong = Evidence(claimed, (case(sentence_of).finding,), 1, 1, 0.8)
    monkeypatch.setattr(generate_module, "weigh", lambda similar: wrong)
    # Then there is no report
    with pytest.raises(ModelMismatch) as caught:
        Generator(FakeLanguageModel(), SOURCES).generate(registry, found([case(sentence_of)]))
    assert caught.value.code == "report_contradicts_evidence"


@pytest.mark.parametrize(
    "cases",
    [
        [(Territory.NORMAL, 0.95), (Territory.ANTERIOR, 0.9), (Territory.ANTERIOR, 0.89), (Territory.NORMAL, 0.8),
         (Territory.POSTERIOR, 0.7)],
        [(Territory.ANTERIOR, -0.1), (Territory.ANTERIOR, -0.2), (Territory.ANTERIOR, -0.3)],
    ],
    ids=["no majority", "nothing similar"],
)  # fmt: skip
def test_weak_evidence_gives_no_draft_and_no_question_to_the_model(registry, case, cases, found):
    similar = [case(territory, similarity) for territory, similarity in cases]
    model = FakeLanguageModel()
    report = Generator(model, SOURCES).generate(registry, found(similar))
    assert not report.is_draft
    assert report.conclusion == "no_draft"
    assert "support no one territory" in report.abstained_because[0]
    assert model.requests == []
    assert report.provenance.language_model == ""
    # And the evidence is listed
    assert len(report.similar) == len(similar)
    assert Report.from_json(report.to_json()) == report


@given(registries, retrieved, st.data())
def test_whatever_is_answered_only_the_supported_territory_is_stated(found, registry, similar, data):
    # Given any registry and any neighbours, and any two answers, within the vocabulary or not
    options = possible_answers(registry).options
    within = st.fixed_dictionaries({section: st.sampled_from(texts) for section, texts in options.items()})
    anything = st.dictionaries(st.sampled_from((*SECTIONS, "extra")), st.text() | st.none())
    answers = [json.dumps(data.draw(within | anything)) for _ in range(2)]
    report = Generator(FakeLanguageModel(answers), SOURCES).generate(registry, found(similar))
    evidence = weigh(similar)
    # Then findings and impression name that territory and nothing that can't be known
    stated = f"{report.findings} {report.impression}"
    others = {one.phrase for one in Territory if one is not Territory.NORMAL} - {evidence.territory.phrase}
    assert not any(phrase in stated for phrase in others)
    assert not NEVER_STATED.search(stated)
    if report.is_draft:
        assert (evidence.territory.phrase in stated) == (evidence.territory is not Territory.NORMAL)
        assert report.findings.startswith(tuple(reading(FINDING_OF_SENTENCE[case.finding]) for case in similar))
    # And the neighbours are those retrieved, untouched
    assert sorted(report.similar, key=repr) == sorted(similar, key=repr)
