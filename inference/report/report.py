"""The drafted report: PIRTA's five kinds of information (section 2.3.2) and the retrieved cases that support it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from pirtad.inference.findings import Territory

NOT_PROVIDED = "not provided"
SIMULATED_PREFIX = "sim-"
DRAFT_MARK = "AI DRAFT - NOT REVIEWED"


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


@dataclass(frozen=True, slots=True)
class Report:
    """A draft for a radiologist.

    image_notes: what a reader must know about the images it was drafted from, a sentence each.
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

    def text(self) -> str:
        """The report as plain text, its first line the draft mark; the similar cases verbatim as in table 3."""
        cases = "\n".join(
            f"[{rank}] Similarity Score: {case.similarity:.2f} (case {case.case_id})\n{case.finding}"
            for rank, case in enumerate(self.similar, start=1)
        )
        images = "\n".join(["Images:", *self.image_notes, "", ""]) if self.image_notes else ""
        return (
            f"{DRAFT_MARK}\n\n"
            f"Clinical Presentation: {self.clinical_presentation} NIHSS: {self.nihss}\n"
            f"Past Medical History: {self.past_medical_history}\n"
            f"Findings: {self.findings}\n"
            f"Impression: {self.impression}\n\n"
            f"{images}Similar patient reports:\n{cases}\n"
            f"\n{self.caution()}\n"
        )

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
        """The inverse of `to_json`; a draft of an earlier version, which made no image notes, has none."""
        raw = json.loads(text)
        raw["territory"] = Territory(raw["territory"])
        raw["similar"] = tuple(
            SimilarCase(**{**case, "territory": Territory(case["territory"])}) for case in raw["similar"]
        )
        raw["provenance"] = Provenance(**raw["provenance"])
        raw["image_notes"] = tuple(raw.get("image_notes", ()))
        return cls(**raw)
