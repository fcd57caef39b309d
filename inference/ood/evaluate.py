"""How well familiar studies are told from what the product was not made for, and whether its probabilities hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.models.encoder import Encoder
from pirtad.inference.ood.calibration import Calibration
from pirtad.inference.ood.fit import KnownStudy, Seen, look, voted_right
from pirtad.inference.ood.samples import MimicSample
from pirtad.inference.ood.vote_probability import ReliabilityBin, reliability
from pirtad.inference.retrieval.case_base import CaseBase

_BOOTSTRAPS = 1000
OVERALL = "overall"


@dataclass(frozen=True, slots=True)
class KindScore:
    """One kind of mimic against known studies. refused: how many preprocessing refused, which count as noticed;
    noticed: share that was refused or lies beyond the threshold; auroc with the 95 % interval of a stratified
    bootstrap; auroc_unrefused: of those that were not refused alone, None where there are none."""

    kind: str
    n: int
    refused: int
    noticed: float
    auroc: float
    low: float
    high: float
    auroc_unrefused: float | None


@dataclass(frozen=True, slots=True)
class OodScores:
    """kinds: each kind, then all together; known: held-out familiar studies; specificity: share of them within the
    threshold; reliability and calibration_error: of the territory's probability on them."""

    kinds: tuple[KindScore, ...]
    known: int
    specificity: float
    reliability: tuple[ReliabilityBin, ...]
    calibration_error: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def evaluate_ood(
    encoder: Encoder,
    case_base: CaseBase,
    calibration: Calibration,
    known: Sequence[KnownStudy],
    mimics: Sequence[MimicSample],
) -> OodScores:
    """Score held-out known studies and mimics, neither of which the calibration was fitted to.

    Raises ValueError when there is no known study or no mimic.
    """
    if not known or not mimics:
        raise ValueError(f"{len(known)} known studies, {len(mimics)} mimics: both are needed")
    seen = [look(encoder, case_base, one.array) for one in known]
    inside = np.array([_score(calibration, one) for one in seen])
    outside: list[tuple[str, float]] = []
    for sample in mimics:
        score = np.inf if sample.array is None else _score(calibration, look(encoder, case_base, sample.array))
        outside.append((str(sample.kind), score))
    kinds = list(dict.fromkeys(kind for kind, _ in outside))
    rows = [
        _kind(kind, inside, np.array([score for one, score in outside if one == kind]), calibration.threshold)
        for kind in kinds
    ]
    rows.append(_kind(OVERALL, inside, np.array([score for _, score in outside]), calibration.threshold))
    right = voted_right(seen, [one.territory for one in known])
    table, error = reliability(np.array([calibration.vote.of(one.similar) for one in seen]), right)
    return OodScores(tuple(rows), len(known), float((inside <= calibration.threshold).mean()), table, error)


def auroc(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> float:
    """Probability that one from outside scores higher than one from inside, ties counting half."""
    return float(_wins(inside, outside).mean())


def auroc_interval(inside: NDArray[np.float64], outside: NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval, both groups drawn again with replacement."""
    wins = _wins(inside, outside)
    rng = np.random.default_rng(seed)
    drawn = [
        wins[np.ix_(rng.integers(len(inside), size=len(inside)), rng.integers(len(outside), size=len(outside)))].mean()
        for _ in range(_BOOTSTRAPS)
    ]
    low, high = np.percentile(drawn, (2.5, 97.5))
    return float(low), float(high)


def _wins(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> NDArray[np.float64]:
    higher, equal = outside[None] > inside[:, None], outside[None] == inside[:, None]
    wins: NDArray[np.float64] = higher + 0.5 * equal
    return wins


def _kind(kind: str, inside: NDArray[np.float64], outside: NDArray[np.float64], threshold: float) -> KindScore:
    refused = np.isinf(outside)
    low, high = auroc_interval(inside, outside)
    return KindScore(
        kind=kind,
        n=len(outside),
        refused=int(refused.sum()),
        noticed=float((outside > threshold).mean()),
        auroc=auroc(inside, outside),
        low=low,
        high=high,
        auroc_unrefused=None if refused.all() else auroc(inside, outside[~refused]),
    )


def _score(calibration: Calibration, seen: Seen) -> float:
    found = calibration.resemblance.features(seen.vector, seen.similar, seen.probabilities) | seen.image
    row = np.array([found[name] for name in calibration.one_class.names])
    return float(calibration.one_class.scores(row[None])[0])
