"""How often the territory that the neighbours vote for is right, given how similar and how agreed they are and what
the classification head thinks of it.

Platt's sigmoid (Platt, 1999, with his smoothed targets) over three numbers: the best similarity among the cases that
agree, their share of the retrieved ones, and the head's log odds for their territory. None of them may speak against
the vote: more of any never lowers the probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from pirtad.inference.findings import Territory
from pirtad.inference.report.evidence import weigh
from pirtad.inference.report.report import SimilarCase

# Of a slope's square, per standard deviation of its input; chosen: it matters where few votes are wrong.
_PENALTY = 0.5
_SMALLEST_DEVIATION = 1e-3
# A head that is surer than this is not believed to be.
_SUREST = 0.99


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
    """Of being right: 1 / (1 + exp(-(intercept + slopes . inputs))); no slope is below 0."""

    slopes: tuple[float, float, float]
    intercept: float

    @classmethod
    def fit(
        cls,
        votes: Sequence[Sequence[SimilarCase]],
        probabilities: Sequence[NDArray[np.float32]],
        right: NDArray[np.bool_],
    ) -> VoteProbability:
        """Fit to held-out queries: what was retrieved for each, the head's class probabilities (4,), and whether the
        vote was right."""
        inputs = np.stack([_inputs(*one) for one in zip(votes, probabilities, strict=True)])
        mean, deviation = inputs.mean(axis=0), np.maximum(inputs.std(axis=0), _SMALLEST_DEVIATION)
        standard = (inputs - mean) / deviation
        hits = int(right.sum())
        target = np.where(right, (hits + 1) / (hits + 2), 1 / (len(right) - hits + 2))

        def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            odds = parameters[0] + standard @ parameters[1:]
            apart = 1 / (1 + np.exp(-odds)) - target
            value = (np.logaddexp(0, odds) - target * odds).sum() + _PENALTY * (parameters[1:] ** 2).sum()
            slope = np.concatenate([[apart.sum()], standard.T @ apart + 2 * _PENALTY * parameters[1:]])
            return float(value), slope

        found = minimize(loss, np.zeros(4), jac=True, method="L-BFGS-B", bounds=[(None, None), *[(0, None)] * 3]).x
        first, second, third = (float(one) for one in found[1:] / deviation)
        return cls((first, second, third), float(found[0] - (found[1:] * mean / deviation).sum()))

    def of(self, similar: Sequence[SimilarCase], probabilities: NDArray[np.float32]) -> float:
        """Probability in (0, 1) that the voted territory is right. Raises ModelMismatch as `evidence.weigh` does."""
        return float(1 / (1 + np.exp(-(self.intercept + np.dot(self.slopes, _inputs(similar, probabilities))))))

    def to_dict(self) -> dict[str, Any]:
        """For JSON; `from_dict` gives it back."""
        return {"slopes": list(self.slopes), "intercept": self.intercept}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> VoteProbability:
        """The inverse of `to_dict`. Raises KeyError, TypeError or ValueError for anything else."""
        first, second, third = raw["slopes"]
        return cls((float(first), float(second), float(third)), float(raw["intercept"]))


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


def _inputs(similar: Sequence[SimilarCase], probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    evidence = weigh(similar)
    believed = float(np.clip(probabilities[tuple(Territory).index(evidence.territory)], 1 - _SUREST, _SUREST))
    return np.array([evidence.best_similarity, evidence.agreeing / evidence.total, np.log(believed / (1 - believed))])
