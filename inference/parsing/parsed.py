"""What a report was read as, and why: every decision points at the words it rests on."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from pirtad.inference.findings import Finding, InfarctType, SignalClass, Territory


class Confidence(StrEnum):
    """CERTAIN: taken as it is. REVIEW: a person decides."""

    CERTAIN = "certain"
    REVIEW = "review"


@dataclass(frozen=True, slots=True)
class Evidence:
    """The words a rule fired on. text == report[start:end]; sentence is verbatim too. Offsets in characters."""

    rule: str
    start: int
    end: int
    text: str = field(repr=False)
    sentence: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One territory that the report says is affected; None where its words do not tell the class or the type."""

    territory: Territory
    signal_class: SignalClass | None
    infarct_type: InfarctType | None
    in_impression: bool
    evidence: tuple[Evidence, ...]

    @property
    def finding(self) -> Finding | None:
        """The structured finding, or None while class or type is missing."""
        if self.territory is Territory.NORMAL:
            return Finding(Territory.NORMAL)
        if self.signal_class is None or self.infarct_type is None:
            return None
        return Finding(self.territory, self.signal_class, self.infarct_type)


@dataclass(frozen=True, slots=True)
class ParsedReport:
    """A report as read.

    candidates: every territory named as affected, the dominant one first (impression before findings, earlier before
    later); empty where the rules can't tell. reasons: why a person must look; empty exactly when certain.
    evidence: all that was noticed, including negations, old lesions and mimics. english: False if the rules, which
    know English only, were not applied.
    """

    candidates: tuple[Candidate, ...]
    confidence: Confidence
    reasons: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    english: bool = True

    def __post_init__(self) -> None:
        certain = self.confidence is Confidence.CERTAIN
        if certain and (self.finding is None or self.reasons or not self.evidence):
            raise ValueError("certain without a finding and its evidence, or with a reason to look")
        if not certain and not self.reasons:
            raise ValueError("a review without a reason")

    @property
    def dominant(self) -> Candidate | None:
        """The candidate that the report names first, None where the rules can't tell."""
        return self.candidates[0] if self.candidates else None

    @property
    def finding(self) -> Finding | None:
        """The dominant candidate's finding if it is whole. To be taken only where `confidence` is certain."""
        return None if self.dominant is None else self.dominant.finding
