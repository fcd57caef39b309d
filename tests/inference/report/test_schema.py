from __future__ import annotations

import json

import jsonschema
import pytest

from pirtad.inference.errors import LanguageModelUnavailable
from pirtad.inference.findings import NORMAL_FINDING, Territory
from pirtad.inference.report.evidence import FINDING_OF_SENTENCE, weigh
from pirtad.inference.report.fake_model import first_instance
from pirtad.inference.report.report import Registry
from pirtad.inference.report.schema import SECTIONS, possible_answers, supported_answers
from pirtad.inference.report.wording import impressions


@pytest.fixture
def allowed(registry, table_3):
    return supported_answers(registry, weigh(table_3), acute=True)


@pytest.fixture
def good(allowed):
    return first_instance(allowed.json_schema())


def test_the_schema_is_a_valid_one_and_closed(allowed, good):
    schema = allowed.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(good, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**good, "comment": ""}, schema)


def test_registry_sections_are_constants_and_findings_the_cases_sentences(allowed, table_3):
    properties = allowed.json_schema()["properties"]
    assert properties["clinical_presentation"]["const"] == "A 75-year-old Female patient with Altered Mentality."
    assert properties["nihss"]["const"] == "32.0"
    assert properties["past_medical_history"]["const"] == "HTN, Afib"
    assert set(properties["findings"]["enum"]) == {case.finding for case in table_3}


def test_a_normal_study_can_only_be_reported_with_the_normal_finding(registry, case):
    properties = supported_answers(registry, weigh([case(Territory.NORMAL)]), acute=False).json_schema()["properties"]
    assert properties["findings"]["const"] == NORMAL_FINDING
    assert NORMAL_FINDING in properties["impression"]["enum"]


def test_the_first_question_leaves_room_to_be_wrong(registry):
    options = possible_answers(registry).options
    assert set(options["findings"]) == set(FINDING_OF_SENTENCE)
    for territory in Territory:
        assert set(impressions(territory, acute=True)) <= set(options["impression"])
    # But the registry's sections have one wording each
    assert all(len(options[section]) == 1 for section in ("clinical_presentation", "nihss", "past_medical_history"))


@pytest.mark.parametrize("territory", Territory)
def test_impressions_name_their_territory_and_no_diagnosis_as_certain(territory):
    for text in impressions(territory, acute=True):
        assert "not exclude" in text
        assert (territory.phrase in text) == (territory is not Territory.NORMAL)


def test_an_allowed_answer_is_read_whatever_its_layout(allowed, good):
    draft = allowed.parse(json.dumps(dict(reversed(good.items())), indent=2))
    assert {section: getattr(draft, section) for section in SECTIONS} == good


def _with(section, value):
    return lambda good: json.dumps({**good, section: value})


@pytest.mark.parametrize(
    "spoil",
    [
        lambda good: "",
        lambda good: "null",
        lambda good: json.dumps([good]),
        lambda good: json.dumps(good)[:-2],
        lambda good: json.dumps(good) + " I hope this helps",
        lambda good: "```json\n" + json.dumps(good) + "\n```",
        lambda good: json.dumps({key: value for key, value in good.items() if key != "nihss"}),
        lambda good: '{"nihss": "1.0", ' + json.dumps(good)[1:],
        lambda good: "[" * 200_000,
        _with("nihss", 32.0),
        _with("nihss", None),
        _with("findings", ["There is"]),
        _with("findings", "There is strong small lacune diffusion restriction in the posterior circulation territory."),
        _with("clinical_presentation", "A 75-year-old Male patient with Altered Mentality."),
        _with("impression", "Acute infarction"),
        _with("extra", "x"),
    ],
)
def test_anything_else_is_refused_without_quoting_the_patient(allowed, good, spoil):
    with pytest.raises(LanguageModelUnavailable) as caught:
        allowed.parse(spoil(good))
    assert caught.value.code == "llm_invalid_answer"
    for secret in ("75", "Altered", "HTN"):
        assert secret not in caught.value.reason


def test_the_token_bound_covers_the_longest_answer_in_bytes(table_3):
    # Given text of three UTF-8 bytes a character, and a server that writes \u escapes
    allowed = supported_answers(
        Registry(presentation="의식 " * 90, history="고혈압 " * 200), weigh(table_3), acute=True
    )
    longest = {section: max(texts, key=len) for section, texts in allowed.options.items()}
    assert len(json.dumps(longest, indent=2, ensure_ascii=True)) <= allowed.max_tokens


def test_the_patient_stays_out_of_repr(allowed, good):
    for text in (repr(allowed), repr(allowed.parse(json.dumps(good)))):
        assert "Altered" not in text
        assert "HTN" not in text
