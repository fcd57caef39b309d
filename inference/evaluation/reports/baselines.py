"""What simpler systems write: the nearest case's report copied, the vote's template, a language model that sees no
retrieved case. None of them checks or abstains."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pirtad.inference.errors import LanguageModelUnavailable
from pirtad.inference.evaluation.reports.written import Written, sections
from pirtad.inference.report.evidence import FINDING_OF_SENTENCE, weigh
from pirtad.inference.report.language_model import LanguageModel, Message
from pirtad.inference.report.registry_text import history_text, nihss_text, presentation_sentence, registry_line
from pirtad.inference.report.report import Registry, SimilarCase
from pirtad.inference.report.schema import INVALID_ANSWER, SECTIONS
from pirtad.inference.report.wording import impressions, reading

# Characters of each section, chosen: what a template report needs, twice over. Bounds the time of a small model.
_LONGEST = {
    "clinical_presentation": 160,
    "nihss": 24,
    "past_medical_history": 120,
    "findings": 240,
    "impression": 120,
}
_TIMEOUT = "llm_timeout"
# UTF-8 bytes of a character at most; no tokeniser needs more tokens than bytes. The rest is keys and layout.
_MAX_TOKENS = 4 * sum(_LONGEST.values()) + 256
_SCHEMA = {
    "type": "object",
    "properties": {name: {"type": "string", "maxLength": _LONGEST[name]} for name in SECTIONS},
    "required": list(SECTIONS),
    "additionalProperties": False,
}
_SYSTEM = (
    "You draft reports on diffusion-weighted brain MRI for a radiologist to review. "
    "Answer with one JSON object with the keys clinical_presentation, nihss, past_medical_history, findings and "
    "impression. Findings name the territory of the diffusion restriction: anterior circulation, posterior "
    "circulation or deep gray matter, or that there is none."
)


def nearest_copied(report: str) -> Written:
    """report: the stored text of the most similar case, another patient's, as it is."""
    return Written(report, _without_headings(report))


def template_vote(registry: Registry, similar: Sequence[SimilarCase]) -> Written:
    """The best supported sentence of the voted territory. Raises ModelMismatch as `evidence.weigh` does."""
    evidence = weigh(similar)
    findings = reading(FINDING_OF_SENTENCE[evidence.sentences[0]])
    impression = impressions(evidence.territory, acute=False)[0]
    text = sections(presentation_sentence(registry), nihss_text(registry), history_text(registry), findings, impression)
    return Written(text, f"{findings} {impression}")


def model_alone(model: LanguageModel, registry: Registry, timeout_s: float) -> Written | None:
    """Free text of a bounded length from the registry alone; None where the answer is no report or is not there in
    time.

    Raises LanguageModelUnavailable when the model can not be asked.
    """
    prompt = f"Provide proper clinical report based on Registry.\n### Registry: {registry_line(registry)}"
    messages = (Message(role="system", content=_SYSTEM), Message(role="user", content=prompt))
    try:
        answer = json.loads(model.complete(messages, _SCHEMA, _MAX_TOKENS, timeout_s))
    except LanguageModelUnavailable as error:
        if error.code not in {INVALID_ANSWER, _TIMEOUT}:
            raise
        return None
    except (ValueError, RecursionError):  # no JSON, or nested deeper than the parser goes
        return None
    if not isinstance(answer, dict) or not all(isinstance(answer.get(name), str) for name in SECTIONS):
        return None
    said = [answer[name] for name in SECTIONS]
    return Written(sections(*said), f"{answer['findings']} {answer['impression']}")


def _without_headings(report: str) -> str:
    return " ".join(report.replace("Findings:", " ").replace("Impression:", " ").split())
