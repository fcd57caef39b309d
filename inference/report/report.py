"""The drafted report: PIRTA's five kinds of information (section 2.3.2) and the retrieved cases that support it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from pirtad.inference.findings import Territory
from pirtad.inference.lesion.coverage import NOTHING_KNOWN, NOTHING_KNOWN_GAPS, Coverage
from pirtad.inference.lesion.measurement import LesionMeasurement

NOT_PROVIDED = "not provided"
SIMULATED_PREFIX = "sim-"
DRAFT_MARK = "AI DRAFT - NOT REVIEWED"
# PIRTA section 2.3.1: patients aged 18 years or older.
ADULT_YEARS = 18


@dataclass(frozen=True, slots=True)
class Registry:
    """What the hospital told us about the patient (PIRTA table 3). None means not provided; nothing is guessed.

    age_years: whole years, at the study date. sex: "Female", "Male" or "Other".
    nihss: NIH Stroke Scale, 0 to 42.
    """

    age_years: int | None = None
    sex: str | None = None
    presentation: str | None = field(default=None, repr=False)
    nihss: float | None = None
    history: str | None = field(default=None, repr=False)

    @property
    def is_minor(self) -> bool:
        """Known to be under age."""
        return self.age_years is not None and self.age_years < ADULT_YEARS


@dataclass(frozen=True, slots=True)
class SimilarCase:
    """One retrieved case: pseudonymous id, cosine similarity in [-1, 1], territory and structured sentence."""

    case_id: str
    similarity: float
    territory: Territory
    finding: str

    @property
    def is_simulated(self) -> bool:
        """Case ids say their source."""
        return self.case_id.startswith(SIMULATED_PREFIX)


@dataclass(frozen=True, slots=True)
class Provenance:
    """What made the report: for the SR's equipment sequence and for a later audit. Digests are sha256 hex."""

    encoder_name: str
    encoder_sha256: str
    preprocessing_version: str
    case_base_sha256: str
    language_model: str
    language_model_digest: str
    prompt_sha256: str
    pirtad_version: str


class Basis(StrEnum):
    """How findings and impression came to be."""

    ANSWER = "the language model's answer, held against the evidence"
    SECOND_ANSWER = "the language model's second answer, limited to supported statements"
    TEMPLATE = "the template, filled from the vote of the similar cases"
    ABSTENTION = "no draft"


NOT_ASSESSED = (
    "Not assessed: haemorrhage, vessels, other sequences than DWI and ADC, earlier studies, and what lies outside the "
    "coverage of the images."
)
# Table 1's words for the signal and a cosine are easily taken for more.
ABOUT_SIMILAR = "Strong and mild are signal on DWI, not severity; a similarity score is a cosine, not a probability."


@dataclass(frozen=True, slots=True)
class Report:
    """A draft for a radiologist, or the reasons why none can be given.

    territory: the similar cases' vote, of an abstention as well.
    findings, impression: of an abstention, that there are none and that no reliable draft can be given.
    measured: what was measured on this patient's images, a sentence each.
    lesion: the same as numbers, without its registration; None where the weights have no lesion map.
    abstained_because: a sentence each; empty for a draft.
    image_notes: what a reader must know about the images it was drafted from, a sentence each.
    coverage: which part of the head was assessed; None where it was not measured.
    """

    territory: Territory
    clinical_presentation: str
    nihss: str
    past_medical_history: str
    findings: str
    impression: str
    similar: tuple[SimilarCase, ...]
    provenance: Provenance
    image_notes: tuple[str, ...] = ()
    basis: Basis = Basis.ANSWER
    measured: tuple[str, ...] = ()
    lesion: LesionMeasurement | None = None
    abstained_because: tuple[str, ...] = ()
    coverage: Coverage | None = None

    @property
    def is_draft(self) -> bool:
        """Whether it states findings; an abstention does not."""
        return self.basis is not Basis.ABSTENTION

    @property
    def conclusion(self) -> str:
        """For lists: the territory, or that there is no draft."""
        return str(self.territory) if self.is_draft else "no_draft"

    @property
    def assessed(self) -> tuple[str, ...]:
        """What of this study was assessed, a sentence each; it comes before NOT_ASSESSED."""
        return NOTHING_KNOWN if self.coverage is None else self.coverage.lines()

    @property
    def beside_impression(self) -> tuple[str, ...]:
        """What must stand beside an impression that denies a lesion: the parts of the brain it does not speak of, a
        sentence each; none beside any other impression, and none where everything was seen."""
        if not self.is_draft or self.territory is not Territory.NORMAL:
            return ()
        return NOTHING_KNOWN_GAPS if self.coverage is None else self.coverage.gaps()

    def text(self) -> str:
        """The report as plain text, its first line the draft mark; the similar cases verbatim as in table 3."""
        blocks = [
            [DRAFT_MARK],
            [
                f"Clinical Presentation: {self.clinical_presentation} NIHSS: {self.nihss}",
                f"Past Medical History: {self.past_medical_history}",
                f"Findings: {' '.join((self.findings, *self.measured))}",
                f"Impression: {' '.join((self.impression, *self.beside_impression))}",
            ],
            ["No draft because:", *self.abstained_because] if self.abstained_because else [],
            ["Images:", *self.image_notes] if self.image_notes else [],
            ["Similar patient reports:", *self._case_lines(), ABOUT_SIMILAR],
            [*self.assessed, NOT_ASSESSED],
            [f"Written from {self.basis}. {self.caution()}"],
        ]
        return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"

    def _case_lines(self) -> list[str]:
        return [
            f"[{rank}] Similarity Score: {case.similarity:.2f} (case {case.case_id})\n{case.finding}"
            for rank, case in enumerate(self.similar, start=1)
        ]

    def caution(self) -> str:
        """What a reader of the similar cases must know."""
        if all(case.is_simulated for case in self.similar):
            return "Not for diagnosis. The similar cases are simulated images, not patients."
        if any(case.is_simulated for case in self.similar):
            return "Not for diagnosis. Similar cases whose id begins with sim are simulated images, not patients."
        return "Not for diagnosis."

    def to_json(self) -> str:
        """The report as JSON; `from_json` gives it back."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """The inverse of `to_json`; what a draft of an earlier version did not have is absent."""
        raw = json.loads(text)
        raw["territory"] = Territory(raw["territory"])
        raw["similar"] = tuple(
            SimilarCase(**{**case, "territory": Territory(case["territory"])}) for case in raw["similar"]
        )
        raw["provenance"] = Provenance(**raw["provenance"])
        raw["basis"] = Basis(raw.get("basis", Basis.ANSWER))
        for name in ("image_notes", "measured", "abstained_because"):
            raw[name] = tuple(raw.get(name, ()))
        raw["coverage"] = None if raw.get("coverage") is None else Coverage.from_dict(raw["coverage"])
        raw["lesion"] = None if raw.get("lesion") is None else LesionMeasurement.from_dict(raw["lesion"])
        return cls(**raw)
