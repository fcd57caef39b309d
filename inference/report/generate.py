"""From registry and retrieved cases to a report: PIRTA's text-domain augmentation (section 2.3.2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pirtad.inference.errors import ModelMismatch, StudyNotUsable
from pirtad.inference.findings import NORMAL_FINDING, Territory
from pirtad.inference.report.evidence import LESION_TERRITORIES, weigh
from pirtad.inference.report.language_model import LanguageModel
from pirtad.inference.report.prompt import PROMPT_CASES, chat_messages, prompt_sha256
from pirtad.inference.report.report import Provenance, Registry, Report, SimilarCase
from pirtad.inference.report.schema import allowed_answers


@dataclass(frozen=True, slots=True)
class Sources:
    """The part of a report's provenance that stays the same from study to study. Digests are sha256 hex."""

    encoder_name: str
    encoder_sha256: str
    preprocessing_version: str
    case_base_sha256: str
    pirtad_version: str


class Generator:
    """Drafts reports with one language model."""

    def __init__(self, language_model: LanguageModel, sources: Sources, *, timeout_s: float = 120.0) -> None:
        """timeout_s: longest wait for the language model's answer."""
        self._language_model = language_model
        self._sources = sources
        self._timeout_s = timeout_s

    def generate(
        self, registry: Registry, similar: Sequence[SimilarCase], *, image_notes: Sequence[str] = ()
    ) -> Report:
        """A report that states what the registry says and the retrieved cases support, and nothing else.

        similar: the retrieved cases; the five most similar are weighed, put in the prompt and attached.
        image_notes: what the reader must know about the images; attached as they are and never put in the prompt.

        Raises StudyNotUsable ("weak_evidence") when the cases support no one territory, LanguageModelUnavailable when
        the model gives no usable answer, ModelMismatch when the case base or the installation is at fault.
        """
        cases = tuple(sorted(similar, key=lambda case: case.similarity, reverse=True)[:PROMPT_CASES])
        evidence = weigh(cases)
        if evidence.is_weak:
            found = ", ".join(
                f"{number} {territory}" for territory, number in Counter(c.territory for c in cases).items()
            )
            raise StudyNotUsable(
                "weak_evidence",
                f"the similar cases disagree ({found}): no reliable draft can be given",
                "Read the study without a draft; a case base with more cases like it may help.",
            )
        allowed = allowed_answers(registry, evidence)
        messages = chat_messages(registry, cases)
        answer = self._language_model.complete(messages, allowed.json_schema(), allowed.max_tokens, self._timeout_s)
        draft = allowed.parse(answer)
        for statement in (draft.findings, draft.impression):
            _hold_to(evidence.territory, statement)
        return Report(
            territory=evidence.territory,
            clinical_presentation=draft.clinical_presentation,
            nihss=draft.nihss,
            past_medical_history=draft.past_medical_history,
            findings=draft.findings,
            impression=f"{draft.impression} Supported by {evidence.support}.",
            similar=cases,
            provenance=self._provenance(prompt_sha256(messages)),
            image_notes=tuple(image_notes),
        )

    def _provenance(self, prompt_digest: str) -> Provenance:
        return Provenance(
            encoder_name=self._sources.encoder_name,
            encoder_sha256=self._sources.encoder_sha256,
            preprocessing_version=self._sources.preprocessing_version,
            case_base_sha256=self._sources.case_base_sha256,
            language_model=self._language_model.name,
            language_model_digest=self._language_model.digest,
            prompt_sha256=prompt_digest,
            pirtad_version=self._sources.pirtad_version,
        )


def _hold_to(territory: Territory, statement: str) -> None:
    """The last look before a report exists: independent of how the statement came to be, it names this territory and
    no other, or, for a normal study, begins as the normal finding does and names none."""
    named = {one for one in LESION_TERRITORIES if one.phrase in statement}
    if territory is Territory.NORMAL:
        fits = not named and statement.startswith(NORMAL_FINDING.split(".")[0])
    else:
        fits = named == {territory}
    if not fits:
        raise ModelMismatch(
            "report_contradicts_evidence",
            f"a statement about territory {territory} names {sorted(named) or 'none'}",
            "report this as a defect of pirtad",
        )
