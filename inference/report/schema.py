"""The statements a report may make, as a JSON schema for the model and as a check of its answer.

The model is free to choose among supported statements and in nothing else (ADR 0005): sections that come from the
registry are constants, findings are sentences of the retrieved cases, impressions are phrases about the territory the
evidence supports. No statement names a side, a size, a vessel or haemorrhage.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from typing import Any

from pirtad.inference.errors import LanguageModelUnavailable
from pirtad.inference.findings import NORMAL_FINDING, Territory
from pirtad.inference.report.evidence import Evidence
from pirtad.inference.report.registry_text import history_text, nihss_text, presentation_sentence
from pirtad.inference.report.report import Registry

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


def allowed_answers(registry: Registry, evidence: Evidence) -> AllowedAnswers:
    """What may be said about this patient on this evidence."""
    return AllowedAnswers(
        {
            "clinical_presentation": (presentation_sentence(registry),),
            "nihss": (nihss_text(registry),),
            "past_medical_history": (history_text(registry),),
            "findings": evidence.sentences,
            "impression": impressions(evidence.territory),
        }
    )


def impressions(territory: Territory) -> tuple[str, ...]:
    """The impressions for a territory: equal in meaning, none a diagnosis (diffusion restriction has many causes)."""
    if territory is Territory.NORMAL:
        return (
            NORMAL_FINDING,
            "No diffusion restriction detected within the coverage; acute ischaemic stroke is not excluded.",
        )
    where = f"in the {territory.phrase} territory"
    return (
        f"Diffusion restriction {where}; acute infarction is one cause, others not excluded.",
        f"Possible acute infarction {where}; other causes of diffusion restriction are not excluded.",
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
