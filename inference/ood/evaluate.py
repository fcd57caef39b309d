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
    """One kind of mimic against known studies. fitted_to: mimics of that kind which the model has seen; refused: how
    many preprocessing refused, which count as noticed; noticed: share that was refused or lies beyond the threshold;
    auroc with the 95 % interval of a bootstrap over known studies and over the mimics' seeds; auroc_unrefused: of those
    that were not refused alone, None where there are none."""

    kind: str
    n: int
    fitted_to: int
    refused: int
    noticed: float
    auroc: float
    low: float
    high: float
    auroc_unrefused: float | None


@dataclass(frozen=True, slots=True)
class OodScores:
    """kinds: other mimics of each kind than the model was fitted to, then all together; left_out: the same mimics, each
    scored by the model that has seen none of its kind, which is what to expect of what nobody simulated; known:
    held-out familiar studies; specificity: share of them within the threshold; reliability and calibration_error: of
    the territory's probability on them."""

    kinds: tuple[KindScore, ...]
    left_out: tuple[KindScore, ...]
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
    inside = np.stack([_row(calibration, one) for one in seen])
    outside = [None if one.array is None else _row(calibration, look(encoder, case_base, one.array)) for one in mimics]
    right = voted_right(seen, [one.territory for one in known])
    said = np.array([calibration.vote.of(one.similar, one.probabilities) for one in seen])
    table, error = reliability(said, right)
    return OodScores(
        kinds=_table(calibration, inside, mimics, outside, left_out=False),
        left_out=_table(calibration, inside, mimics, outside, left_out=True),
        known=len(known),
        specificity=float((calibration.scores(inside) <= calibration.threshold).mean()),
        reliability=table,
        calibration_error=error,
    )


def _table(
    calibration: Calibration,
    inside: NDArray[np.float64],
    mimics: Sequence[MimicSample],
    outside: Sequence[NDArray[np.float64] | None],
    *,
    left_out: bool,
) -> tuple[KindScore, ...]:
    """A row for each kind, then for all of them. When a kind is left out, known studies are scored by the model that
    the kind is scored by."""
    trials: list[_Trial] = []
    for kind in dict.fromkeys(str(one.kind) for one in mimics):
        without = kind if left_out else None
        members = [number for number, one in enumerate(mimics) if one.kind == kind]
        rows = [outside[number] for number in members]
        scores = np.array([np.inf if row is None else calibration.scores(row[None], without)[0] for row in rows])
        seeds = np.array([mimics[number].seed for number in members])
        fitted_to = 0 if left_out else calibration.mimics_by_kind.get(kind, 0)
        wins = _wins(calibration.scores(inside, without), scores)
        trials.append(_Trial(kind, fitted_to, scores, seeds, wins))
    whole = _Trial(
        OVERALL,
        sum(one.fitted_to for one in trials),
        np.concatenate([one.scores for one in trials]),
        np.concatenate([one.seeds for one in trials]),
        np.concatenate([one.wins for one in trials], axis=1),
    )
    return tuple(one.score(calibration.threshold) for one in (*trials, whole))


@dataclass(frozen=True, slots=True)
class _Trial:
    """scores: (M,), infinite for what preprocessing refused; seeds: (M,), of the mimics; wins: (N, M), whether the
    mimic scores higher than the known study, a half for a tie."""

    kind: str
    fitted_to: int
    scores: NDArray[np.float64]
    seeds: NDArray[np.int64]
    wins: NDArray[np.float64]

    def score(self, threshold: float) -> KindScore:
        refused = np.isinf(self.scores)
        low, high = win_interval(self.wins, self.seeds)
        return KindScore(
            kind=self.kind,
            n=len(self.scores),
            fitted_to=self.fitted_to,
            refused=int(refused.sum()),
            noticed=float((self.scores > threshold).mean()),
            auroc=float(self.wins.mean()),
            low=low,
            high=high,
            auroc_unrefused=None if refused.all() else float(self.wins[:, ~refused].mean()),
        )


def _row(calibration: Calibration, seen: Seen) -> NDArray[np.float64]:
    return calibration.row(seen.vector, seen.similar, seen.probabilities, seen.image)


def auroc(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> float:
    """Probability that one from outside scores higher than one from inside, ties counting half."""
    return float(_wins(inside, outside).mean())


def auroc_interval(inside: NDArray[np.float64], outside: NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval, both groups drawn again with replacement."""
    return win_interval(_wins(inside, outside), np.arange(len(outside)), seed)


def win_interval(wins: NDArray[np.float64], seeds: NDArray[np.int64], seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of the mean of wins (N, M), known studies against mimics of these seeds (M,). Mimics of
    one seed share head and scanner and are drawn together."""
    rng = np.random.default_rng(seed)
    distinct, member = np.unique(seeds, return_inverse=True)
    # What matters of a seed is the sum of its columns and their number.
    belongs = (member[:, None] == np.arange(len(distinct))).astype(np.float64)
    sums, counts = wins @ belongs, belongs.sum(axis=0)
    drawn = []
    for _ in range(_BOOTSTRAPS):
        rows = rng.multinomial(len(wins), np.full(len(wins), 1 / len(wins)))
        columns = rng.multinomial(len(distinct), np.full(len(distinct), 1 / len(distinct)))
        drawn.append(float(rows @ sums @ columns / (len(wins) * float(counts @ columns))))
    low, high = np.percentile(drawn, (2.5, 97.5))
    return float(low), float(high)


def _wins(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> NDArray[np.float64]:
    higher, equal = outside[None] > inside[:, None], outside[None] == inside[:, None]
    wins: NDArray[np.float64] = higher + 0.5 * equal
    return wins
