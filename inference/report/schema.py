"""The statements a report may make, as a JSON schema for the model and as a check of its answer's form.

Sections that come from the registry are constants; findings are sentences of table 1, impressions phrases about a
territory. `possible_answers` holds all of them, so that the model can be wrong and is found out (fact_check.py);
`supported_answers` holds those that the evidence supports, for a second answer (ADR 0005). No statement names a side, a
size, a vessel or haemorrhage.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from typing import Any

from pirtad.inference.errors import LanguageModelUnavailable
from pirtad.inference.report.evidence import FINDING_OF_SENTENCE, Evidence
from pirtad.inference.report.registry_text import history_text, nihss_text, presentation_sentence
from pirtad.inference.report.report import Registry
from pirtad.inference.report.wording import ALL_IMPRESSIONS, impressions

INVALID_ANSWER = "llm_invalid_answer"
_INVALID_HINT = (
    "check that the language model's server honours the JSON schema it is sent (language_model.schema_dialect)"
)

# Keys, commas and whitespace of an answer, beside its strings; a grammar may allow line breaks and indentation.
_LAYOUT_BYTES = 256


@dataclass(frozen=True, slots=True)
class Draft:
    """The model's part of a report; every string is one of the allowed."""

    clinical_presentation: str = field(repr=False)
    nihss: str = field(repr=False)
    past_medical_history: str = field(repr=False)
    findings: str
    impression: str


SECTIONS = tuple(one.name for one in fields(Draft))


@dataclass(frozen=True, slots=True)
class AllowedAnswers:
    """For each section of `Draft` the strings it may hold, at least one each."""

    options: dict[str, tuple[str, ...]] = field(repr=False)

    def json_schema(self) -> dict[str, Any]:
        """JSON schema of the answer. Constants and enumerations bound every string, so `maxLength` adds nothing
        (and strict modes of some servers refuse it)."""
        properties: dict[str, Any] = {}
        for section, texts in self.options.items():
            limit = {"const": texts[0]} if len(texts) == 1 else {"enum": list(texts)}
            properties[section] = {"type": "string", **limit}
        return {
            "type": "object",
            "properties": properties,
            "required": list(self.options),
            "additionalProperties": False,
        }

    @property
    def max_tokens(self) -> int:
        """No tokeniser needs more tokens than the longest answer has bytes (with \\u escapes, where it uses them)."""
        return _LAYOUT_BYTES + sum(
            len(json.dumps(section)) + max(len(json.dumps(text)) for text in texts)
            for section, texts in self.options.items()
        )

    def parse(self, answer: str) -> Draft:
        """The answer as a Draft. Raises LanguageModelUnavailable for anything but exactly the allowed sections, each
        with an allowed string: a server may have ignored the schema. The error does not quote the answer."""
        try:
            raw = json.loads(answer, object_pairs_hook=_without_repeats)
        # RecursionError: brackets nested deeper than the parser goes.
        except (ValueError, RecursionError):
            raise invalid_answer("is not one JSON object without repeated keys") from None
        if not isinstance(raw, dict) or set(raw) != set(self.options):
            raise invalid_answer(f"has not exactly the sections {', '.join(self.options)}")
        for section, texts in self.options.items():
            if raw[section] not in texts:
                raise invalid_answer(f"states in {section} what is none of the {len(texts)} supported statements")
        return Draft(**raw)


def possible_answers(registry: Registry) -> AllowedAnswers:
    """Whatever the vocabulary can say, right or wrong: the model has to choose, and the fact check judges."""
    return _answers(registry, tuple(FINDING_OF_SENTENCE), ALL_IMPRESSIONS)


def supported_answers(registry: Registry, evidence: Evidence, *, acute: bool) -> AllowedAnswers:
    """What may be said about this patient on this evidence. acute: a lesion with reduced ADC was measured."""
    return _answers(registry, evidence.sentences, impressions(evidence.territory, acute=acute))


def _answers(registry: Registry, findings: tuple[str, ...], impression: tuple[str, ...]) -> AllowedAnswers:
    return AllowedAnswers(
        {
            "clinical_presentation": (presentation_sentence(registry),),
            "nihss": (nihss_text(registry),),
            "past_medical_history": (history_text(registry),),
            "findings": findings,
            "impression": impression,
        }
    )


def invalid_answer(what: str) -> LanguageModelUnavailable:
    """The error for an answer that can't be used; `what` continues 'the language model's answer ...'."""
    return LanguageModelUnavailable(INVALID_ANSWER, f"the language model's answer {what}", _INVALID_HINT)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The last of two equal keys would win silently."""
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("repeated key")
    return result
