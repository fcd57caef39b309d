"""Between the language model and the report: a statement is let through only if the evidence says it.

The check knows what may be said, not what may not: the sentences of table 1, the impressions, each with what it claims.
Whatever else an answer holds - a side, a size, a vessel, haemorrhage, another sequence, advice, a score nobody gave -
is no known statement and does not pass. Sections that come from the registry must be the registry's own words.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pirtad.inference.findings import Territory
from pirtad.inference.report.evidence import FINDING_OF_SENTENCE, Evidence
from pirtad.inference.report.registry_text import history_text, nihss_text, presentation_sentence
from pirtad.inference.report.report import Registry
from pirtad.inference.report.schema import Draft
from pirtad.inference.report.wording import ALL_IMPRESSIONS, impressions


class Fault(StrEnum):
    """What is wrong with a statement."""

    UNKNOWN_STATEMENT = "not a statement that a report may make"
    OTHER_TERRITORY = "a territory that the similar cases do not support"
    OTHER_TYPE_OR_SIGNAL = "an infarct type or signal that no similar case of the territory has"
    NOT_ACUTE = "an acute infarct where no reduced ADC was measured"
    REGISTRY = "about the patient what the registry does not say"


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A section of the answer and what is wrong in it; never the text itself, which may hold anything."""

    section: str
    fault: Fault


def unsupported(draft: Draft, registry: Registry, evidence: Evidence, *, acute: bool) -> tuple[Unsupported, ...]:
    """Every statement of the draft that the evidence does not support; empty when all of them hold.

    acute: a lesion with reduced ADC was measured on this patient's images.
    """
    found = [
        Unsupported(section, Fault.REGISTRY)
        for section, said, known in (
            ("clinical_presentation", draft.clinical_presentation, presentation_sentence(registry)),
            ("nihss", draft.nihss, nihss_text(registry)),
            ("past_medical_history", draft.past_medical_history, history_text(registry)),
        )
        if said != known
    ]
    if (fault := _fault_of_finding(draft.findings, evidence)) is not None:
        found.append(Unsupported("findings", fault))
    if (fault := _fault_of_impression(draft.impression, evidence.territory, acute=acute)) is not None:
        found.append(Unsupported("impression", fault))
    return tuple(found)


def _fault_of_finding(text: str, evidence: Evidence) -> Fault | None:
    finding = FINDING_OF_SENTENCE.get(text)
    if finding is None:
        return Fault.UNKNOWN_STATEMENT
    if finding.territory is not evidence.territory:
        return Fault.OTHER_TERRITORY
    return None if text in evidence.sentences else Fault.OTHER_TYPE_OR_SIGNAL


def _fault_of_impression(text: str, territory: Territory, *, acute: bool) -> Fault | None:
    if text in impressions(territory, acute=acute):
        return None
    if text in impressions(territory, acute=True):
        return Fault.NOT_ACUTE
    return Fault.OTHER_TERRITORY if text in ALL_IMPRESSIONS else Fault.UNKNOWN_STATEMENT
