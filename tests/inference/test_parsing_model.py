"""The language model's reading is held to the report's own words."""

from __future__ import annotations

import json

import jsonschema
import pytest

from pirtad.inference.errors import LanguageModelUnavailable
from pirtad.inference.findings import Finding, InfarctType, SignalClass, Territory
from pirtad.inference.parsing.model import json_schema, parse_with_model
from pirtad.inference.parsing.parsed import Confidence
from pirtad.inference.report.fake_model import FakeLanguageModel

GERMAN = "Kräftige, keilförmige Diffusionsrestriktion\nrechts parietal. Keine Blutung."


def answer(**changed: str) -> str:
    said = {
        "territory": "anterior",
        "signal_class": "strong",
        "infarct_type": "wedge-shaped vascular territorial",
        "quote": "keilförmige Diffusionsrestriktion rechts parietal",
    }
    return json.dumps(said | changed)


def test_a_supported_answer_is_a_proposal_with_its_quote() -> None:
    model = FakeLanguageModel([answer()])
    read = parse_with_model(GERMAN, model)
    assert read.finding == Finding(
        Territory.ANTERIOR, SignalClass.STRONG, InfarctType.WEDGE_SHAPED_VASCULAR_TERRITORIAL
    )
    assert read.confidence is Confidence.REVIEW
    (quote,) = read.evidence
    assert GERMAN[quote.start : quote.end] == quote.text == "keilförmige Diffusionsrestriktion\nrechts parietal"
    (request,) = model.requests
    assert GERMAN in request.messages[1]["content"]
    jsonschema.validate(json.loads(answer()), request.json_schema)


@pytest.mark.parametrize(
    "given",
    [
        answer(quote="Diffusionsrestriktion links parietal"),
        answer(quote=""),
        answer(quote=" . "),
        answer(quote="keilförmige Diffusionsrestriktion [...] parietal"),
        answer(territory="frontal"),
        answer(territory="normal"),
        answer(signal_class="severe"),
        json.dumps({"territory": "anterior"}),
        answer(extra="x"),
        answer().replace('"strong"', "1"),
        "[]",
        "not JSON",
        "[" * 100_000,
    ],
)
def test_an_answer_without_support_is_refused(given: str) -> None:
    with pytest.raises(LanguageModelUnavailable) as refused:
        parse_with_model(GERMAN, FakeLanguageModel([given]))
    assert refused.value.code == "llm_invalid_answer"
    assert "parietal" not in refused.value.reason


def test_not_told_is_an_answer() -> None:
    read = parse_with_model(GERMAN, FakeLanguageModel([answer(territory="not told", quote="")]))
    assert (read.candidates, read.confidence) == ((), Confidence.REVIEW)
    partly = parse_with_model(GERMAN, FakeLanguageModel([answer(signal_class="not told")]))
    assert partly.finding is None
    assert partly.dominant is not None
    assert partly.dominant.signal_class is None


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(answer(territory="left")), json_schema())
