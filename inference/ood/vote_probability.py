"""How often the territory that the neighbours vote for is right, given how similar and how agreed they are.

Platt's sigmoid (Platt, 1999, with his smoothed targets) over two numbers: the best similarity among the cases that
agree, and their share of the retrieved ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from pirtad.inference.report.evidence import weigh
from pirtad.inference.report.report import SimilarCase


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Queries whose probability lay in [low, high): how many, the mean of what was said, the share that was right."""

    low: float
    high: float
    queries: int
    said: float
    right: float


@dataclass(frozen=True, slots=True)
class VoteProbability:
    """Of being right: 1 / (1 + exp(-(intercept + slopes . inputs)))."""

    slopes: tuple[float, float]
    intercept: float

    @classmethod
    def fit(cls, votes: Sequence[Sequence[SimilarCase]], right: NDArray[np.bool_]) -> VoteProbability:
        """Fit to held-out queries: what was retrieved for each, and whether the vote was right."""
        inputs = np.stack([_inputs(similar) for similar in votes])
        hits = int(right.sum())
        misses = len(right) - hits
        target = np.where(right, (hits + 1) / (hits + 2), 1 / (misses + 2))
        model = LogisticRegression(C=10.0)
        twice = np.repeat([1, 0], len(right))
        model.fit(np.concatenate([inputs, inputs]), twice, sample_weight=np.concatenate([target, 1 - target]))
        first, second = (float(one) for one in model.coef_[0])
        return cls((first, second), float(model.intercept_[0]))

    def of(self, similar: Sequence[SimilarCase]) -> float:
        """Probability in (0, 1) that the voted territory is right. Raises ModelMismatch as `evidence.weigh` does."""
        return float(1 / (1 + np.exp(-(self.intercept + np.dot(self.slopes, _inputs(similar))))))

    def to_dict(self) -> dict[str, Any]:
        """For JSON; `from_dict` gives it back."""
        return {"slopes": list(self.slopes), "intercept": self.intercept}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> VoteProbability:
        """The inverse of `to_dict`."""
        first, second = raw["slopes"]
        return cls((float(first), float(second)), float(raw["intercept"]))


def reliability(
    said: NDArray[np.float64], right: NDArray[np.bool_], bins: int = 10
) -> tuple[tuple[ReliabilityBin, ...], float]:
    """The reliability table (empty bins left out) and the expected calibration error (Naeini et al., AAAI 2015): mean
    of |said - right| over `bins` equal bins, weighted by their queries."""
    place = np.minimum((said * bins).astype(np.int64), bins - 1)
    table = tuple(
        ReliabilityBin(
            low=one / bins,
            high=(one + 1) / bins,
            queries=int((place == one).sum()),
            said=float(said[place == one].mean()),
            right=float(right[place == one].mean()),
        )
        for one in range(bins)
        if (place == one).any()
    )
    return table, sum(abs(row.said - row.right) * row.queries for row in table) / len(said)


def _inputs(similar: Sequence[SimilarCase]) -> NDArray[np.float64]:
    evidence = weigh(similar)
    return np.array([evidence.best_similarity, evidence.agreeing / evidence.total])
