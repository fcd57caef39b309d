"""From registry and retrieved cases to a report: PIRTA's text-domain augmentation (section 2.3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pirtad.inference.errors import LanguageModelUnavailable, ModelMismatch
from pirtad.inference.findings import Territory
from pirtad.inference.lesion.analysis import Analysis
from pirtad.inference.lesion.measurement import LesionMeasurement
from pirtad.inference.report.abstention import DraftRules, caveats, reasons_to_abstain
from pirtad.inference.report.evidence import FINDING_OF_SENTENCE, LESION_TERRITORIES, Evidence, weigh
from pirtad.inference.report.extent import fitting
from pirtad.inference.report.fact_check import unsupported
from pirtad.inference.report.language_model import LanguageModel, Message
from pirtad.inference.report.prompt import PROMPT_CASES, chat_messages, prompt_sha256
from pirtad.inference.report.registry_text import history_text, nihss_text, presentation_sentence
from pirtad.inference.report.report import Basis, Provenance, Registry, Report
from pirtad.inference.report.schema import INVALID_ANSWER, possible_answers, supported_answers
from pirtad.inference.report.wording import (
    NO_FINDINGS,
    NO_RELIABLE_DRAFT,
    impressions,
    measured_sentences,
    measured_side,
    reading,
)


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

    def __init__(
        self,
        language_model: LanguageModel,
        sources: Sources,
        *,
        timeout_s: float = 120.0,
        rules: DraftRules | None = None,
    ) -> None:
        """timeout_s: longest wait for the language model's answer. rules: what the site allows; None: the strictest."""
        self._language_model = language_model
        self._sources = sources
        self._timeout_s = timeout_s
        self._rules = rules or DraftRules()

    def generate(self, registry: Registry, analysis: Analysis, *, image_notes: Sequence[str] = ()) -> Report:
        """A report that states what the registry says, the retrieved cases support and this patient's images measure,
        and nothing else; or one that says why there is no draft.

        analysis: its five most similar cases are weighed, put in the prompt and attached. image_notes: what the reader
        must know about the images; attached as they are and never put in the prompt.

        Raises LanguageModelUnavailable when the model can't be asked, ModelMismatch when the case base or the
        installation is at fault.
        """
        cases = tuple(sorted(analysis.similar, key=lambda case: case.similarity, reverse=True)[:PROMPT_CASES])
        evidence = fitting(weigh(cases), analysis.lesion)
        messages = chat_messages(registry, cases)
        reasons = reasons_to_abstain(registry, evidence, analysis, self._rules)
        if reasons:
            statement, basis = _Statement(NO_FINDINGS, NO_RELIABLE_DRAFT), Basis.ABSTENTION
        else:
            statement, basis = self._stated(messages, registry, evidence, analysis.lesion)
        lesion = analysis.lesion
        return Report(
            territory=evidence.territory,
            clinical_presentation=presentation_sentence(registry),
            nihss=nihss_text(registry),
            past_medical_history=history_text(registry),
            findings=statement.findings,
            impression=statement.impression,
            similar=cases,
            provenance=self._provenance("" if reasons else prompt_sha256(messages)),
            image_notes=(*image_notes, *caveats(registry, analysis, self._rules)),
            basis=basis,
            measured=measured_sentences(lesion),
            lesion=None if lesion is None else replace(lesion, registration=None),
            abstained_because=reasons,
            coverage=analysis.coverage,
        )

    def _stated(
        self, messages: Sequence[Message], registry: Registry, evidence: Evidence, lesion: LesionMeasurement | None
    ) -> tuple[_Statement, Basis]:
        """What the model says, if the evidence says it too; else what it says when it may say nothing else; else the
        sentence that the vote puts first."""
        acute = lesion is not None and lesion.volume_ml > 0  # a lesion is measured where the ADC is reduced
        asked = (
            (possible_answers(registry), Basis.ANSWER),
            (supported_answers(registry, evidence, acute=acute), Basis.SECOND_ANSWER),
        )
        for answers, basis in asked:
            try:
                draft = answers.parse(
                    self._language_model.complete(messages, answers.json_schema(), answers.max_tokens, self._timeout_s)
                )
            except LanguageModelUnavailable as error:
                if error.code != INVALID_ANSWER:
                    raise
                continue
            if not unsupported(draft, registry, evidence, acute=acute):
                return _statement(draft.findings, draft.impression, evidence, lesion), basis
        first = impressions(evidence.territory, acute=acute)[0]
        return _statement(evidence.sentences[0], first, evidence, lesion), Basis.TEMPLATE

    def _provenance(self, prompt_digest: str) -> Provenance:
        return Provenance(
            encoder_name=self._sources.encoder_name,
            encoder_sha256=self._sources.encoder_sha256,
            preprocessing_version=self._sources.preprocessing_version,
            case_base_sha256=self._sources.case_base_sha256,
            # No prompt, no part in it.
            language_model=self._language_model.name if prompt_digest else "",
            language_model_digest=self._language_model.digest if prompt_digest else "",
            prompt_sha256=prompt_digest,
            pirtad_version=self._sources.pirtad_version,
        )


@dataclass(frozen=True, slots=True)
class _Statement:
    findings: str
    impression: str


def _statement(finding: str, impression: str, evidence: Evidence, lesion: LesionMeasurement | None) -> _Statement:
    """In a report's words. The last look before a report exists: independent of how the statement came to be, it names
    this territory and no other."""
    known = FINDING_OF_SENTENCE[finding]
    for text in (finding, impression):
        named = {one for one in LESION_TERRITORIES if one.phrase in text}
        expected = set() if evidence.territory is Territory.NORMAL else {evidence.territory}
        if named != expected:
            raise ModelMismatch(
                "report_contradicts_evidence",
                f"a statement about territory {evidence.territory} names {sorted(named) or 'none'}",
                "report this as a defect of pirtad",
            )
    supported = f"Territory supported by {evidence.support}."
    return _Statement(reading(known), f"{impression} {supported} {measured_side(lesion)}".rstrip())
