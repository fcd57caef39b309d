"""What the retrieved cases support: one territory, and the sentences of the cases that have it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

from pirtad.inference.errors import ModelMismatch
from pirtad.inference.findings import Finding, InfarctType, SignalClass, Territory
from pirtad.inference.report.report import SimilarCase

LESION_TERRITORIES = tuple(territory for territory in Territory if territory is not Territory.NORMAL)
_FINDINGS = (
    Finding(Territory.NORMAL),
    *(Finding(*parts) for parts in product(LESION_TERRITORIES, SignalClass, InfarctType)),
)
# Every sentence that a case base may hold, and what it says.
FINDING_OF_SENTENCE = {finding.sentence(): finding for finding in _FINDINGS}
TERRITORY_OF_SENTENCE = {sentence: finding.territory for sentence, finding in FINDING_OF_SENTENCE.items()}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What may be stated about this study.

    territory: the one the vote chose.
    sentences: the structured sentences of the cases that have it, the best supported first; never empty.
    agreeing, total: how many of the retrieved cases have that territory, and how many there are.
    best_similarity: the greatest among the agreeing ones.
    votes: how many cases each territory has, e.g. "2 normal, 2 anterior circulation".
    """

    territory: Territory
    sentences: tuple[str, ...]
    agreeing: int
    total: int
    best_similarity: float
    votes: str = ""

    @property
    def is_weak(self) -> bool:
        """No territory has more than half of the retrieved cases, or none of them is similar at all."""
        return 2 * self.agreeing <= self.total or self.best_similarity <= 0.0

    @property
    def support(self) -> str:
        """E.g. '4 of 5 similar cases'."""
        return f"{self.agreeing} of {self.total} similar cases"


def weigh(similar: Sequence[SimilarCase]) -> Evidence:
    """Vote of the retrieved cases, each with its cosine similarity as weight (a negative one counts nothing).

    The territory with the greatest sum wins; among equals the one with the most similar single case; then a lesion
    before normal, since a missed lesion costs more than a second look; then the order of the classes. The order of
    the cases does not matter.

    Raises ModelMismatch when there is no case, or a case's sentence is not a structured sentence of its territory.
    """
    if not similar:
        raise ModelMismatch(
            "no_similar_cases", "no similar case was retrieved; nothing supports a report", "check the case base"
        )
    for case in similar:
        _check(case)
    territory = max(
        Territory,
        key=lambda one: (*_strength(case for case in similar if case.territory is one), one is not Territory.NORMAL),
    )
    agreeing = [case for case in similar if case.territory is territory]
    sentences = sorted(
        {case.finding for case in agreeing},
        # A sentence's own text comes last, so that equal support gives the same order every time.
        key=lambda text: (*(-n for n in _strength(case for case in agreeing if case.finding == text)), text),
    )
    best = max(case.similarity for case in agreeing)
    counted = Counter(case.territory for case in similar)
    votes = ", ".join(f"{counted[one]} {one.phrase}" for one in Territory if counted[one])
    return Evidence(territory, tuple(sentences), len(agreeing), len(similar), best, votes)


def _strength(cases: Iterable[SimilarCase]) -> tuple[float, float]:
    """Sum of the weights (exact, so independent of order), and the best single similarity."""
    similarities = [case.similarity for case in cases]
    return math.fsum(max(one, 0.0) for one in similarities), max(similarities, default=-math.inf)


def _check(case: SimilarCase) -> None:
    if not math.isfinite(case.similarity):
        raise ModelMismatch(
            "similarity_not_finite", f"case {case.case_id} has no finite similarity", "check encoder and case base"
        )
    if TERRITORY_OF_SENTENCE.get(case.finding) is not case.territory:
        raise ModelMismatch(
            "case_base_finding",
            f"the finding of case {case.case_id} is not a structured sentence of territory {case.territory}",
            "build the case base again with this version",
        )
