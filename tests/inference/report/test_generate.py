from __future__ import annotations

import json
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pirtad.inference.errors import LanguageModelUnavailable, ModelMismatch, StudyNotUsable
from pirtad.inference.findings import NORMAL_FINDING, Territory
from pirtad.inference.report import generate as generate_module
from pirtad.inference.report.evidence import TERRITORY_OF_SENTENCE, Evidence, weigh
from pirtad.inference.report.fake_model import FakeLanguageModel
from pirtad.inference.report.generate import Generator, Sources
from pirtad.inference.report.prompt import chat_messages, prompt_sha256
from pirtad.inference.report.report import Registry, Report, SimilarCase
from pirtad.inference.report.schema import SECTIONS, allowed_answers

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


def test_the_report_is_table_3s_with_neighbours_and_provenance(registry, table_3):
    # Given a model that answers the first statements it may make
    model = FakeLanguageModel()
    # When a report is generated
    report = Generator(model, SOURCES, timeout_s=7).generate(registry, table_3)
    # Then its sections come from registry and evidence, its neighbours from retrieval
    assert report.territory is Territory.ANTERIOR
    assert report.clinical_presentation == "A 75-year-old Female patient with Altered Mentality."
    assert report.nihss == "32.0"
    assert report.past_medical_history == "HTN, Afib"
    assert report.findings == table_3[0].finding
    assert report.impression == (
        "Diffusion restriction in the anterior circulation territory; acute infarction is one cause, others not "
        "excluded. Supported by 5 of 5 similar cases."
    )
    assert report.similar == tuple(table_3)
    # And what made it can be audited
    assert report.provenance.prompt_sha256 == prompt_sha256(chat_messages(registry, table_3))
    assert (report.provenance.language_model, report.provenance.language_model_digest) == (model.name, model.digest)
    assert report.provenance.case_base_sha256 == SOURCES.case_base_sha256
    assert model.requests[0].timeout_s == 7
    assert Report.from_json(report.to_json()) == report


def test_only_the_five_most_similar_count(registry, case):
    # Given five anterior cases, and more posterior ones that are less similar
    similar = [case(Territory.POSTERIOR, 0.5)] * 20 + [case(Territory.ANTERIOR, 0.6)] * 5
    report = Generator(FakeLanguageModel(), SOURCES).generate(registry, similar)
    # Then what is weighed is what the reader sees
    assert report.territory is Territory.ANTERIOR
    assert len(report.similar) == 5


def test_disagreeing_neighbours_are_told(registry, case):
    similar = [case(Territory.NORMAL, 0.9), case(Territory.NORMAL, 0.8), case(Territory.POSTERIOR, 0.7)]
    report = Generator(FakeLanguageModel(), SOURCES).generate(registry, similar)
    assert report.findings == NORMAL_FINDING
    assert report.impression == f"{NORMAL_FINDING} Supported by 2 of 3 similar cases."


@pytest.mark.parametrize("answer", ["", '{"findings": "all good"}', "Acute infarction of the left MCA territory."])
def test_an_answer_outside_the_schema_makes_no_report(registry, table_3, answer):
    with pytest.raises(LanguageModelUnavailable) as caught:
        Generator(FakeLanguageModel([answer]), SOURCES).generate(registry, table_3)
    assert caught.value.code == "llm_invalid_answer"


def test_the_models_own_failure_is_passed_on(registry, table_3):
    down = LanguageModelUnavailable("llm_unreachable", "down")
    with pytest.raises(LanguageModelUnavailable) as caught:
        Generator(FakeLanguageModel([down]), SOURCES).generate(registry, table_3)
    assert caught.value is down


def test_no_case_no_report_and_no_question_to_the_model(registry):
    model = FakeLanguageModel()
    with pytest.raises(ModelMismatch):
        Generator(model, SOURCES).generate(registry, [])
    assert model.requests == []


@pytest.mark.parametrize(
    ("claimed", "sentence_of"),
    [
        (Territory.NORMAL, Territory.ANTERIOR),
        (Territory.ANTERIOR, Territory.NORMAL),
        (Territory.DEEP_GRAY_MATTER, Territory.POSTERIOR),
    ],
)
def test_the_last_look_catches_evidence_that_contradicts_itself(monkeypatch, registry, case, claimed, sentence_of):
    # Given a defect that lets a sentence of one territory pass as evidence for another
    wrong = Evidence(claimed, (case(sentence_of).finding,), 1, 1, 0.8)
    monkeypatch.setattr(generate_module, "weigh", lambda similar: wrong)
    # Then there is no report
    with pytest.raises(ModelMismatch) as caught:
        Generator(FakeLanguageModel(), SOURCES).generate(registry, [case(sentence_of)])
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
def test_weak_evidence_gives_no_report(registry, case, cases):
    similar = [case(territory, similarity) for territory, similarity in cases]
    with pytest.raises(StudyNotUsable) as caught:
        Generator(FakeLanguageModel(), SOURCES).generate(registry, similar)
    assert caught.value.code == "weak_evidence"


@given(registries, retrieved, st.data())
def test_whatever_allowed_answer_is_given_only_the_supported_territory_is_stated(registry, similar, data):
    # Given any registry and any neighbours, and any answer that conforms to the schema
    evidence = weigh(similar)
    assume(not evidence.is_weak)
    options = allowed_answers(registry, evidence).options
    answer = {section: data.draw(st.sampled_from(texts)) for section, texts in options.items()}
    report = Generator(FakeLanguageModel([json.dumps(answer)]), SOURCES).generate(registry, similar)
    # Then findings and impression name that territory and nothing that can't be known
    stated = f"{report.findings} {report.impression}"
    others = {one.phrase for one in Territory if one is not Territory.NORMAL} - {evidence.territory.phrase}
    assert not any(phrase in stated for phrase in others)
    assert (evidence.territory.phrase in stated) == (evidence.territory is not Territory.NORMAL)
    assert not NEVER_STATED.search(stated)
    assert report.findings in {case.finding for case in similar}
    # And the neighbours are those retrieved, untouched
    assert sorted(report.similar, key=repr) == sorted(similar, key=repr)


@given(registries, retrieved, st.dictionaries(st.sampled_from((*SECTIONS, "extra")), st.text() | st.none()))
def test_whatever_other_answer_is_given_there_is_no_report(registry, similar, answer):
    evidence = weigh(similar)
    assume(not evidence.is_weak)
    options = allowed_answers(registry, evidence).options
    conforms = set(answer) == set(options) and all(answer[key] in options[key] for key in options)
    if not conforms:
        with pytest.raises(LanguageModelUnavailable):
            Generator(FakeLanguageModel([json.dumps(answer)]), SOURCES).generate(registry, similar)
