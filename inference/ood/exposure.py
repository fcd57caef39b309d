"""Outlier exposure: a model that has seen known studies and several kinds of what is not known.

After Hendrycks et al., Deep Anomaly Detection with Outlier Exposure, ICLR 2019, with named features in place of a deep
network: multinomial logistic regression, penalised by the square of its weights, of "known" against each kind. Each
kind has a class of its own since kinds lie on opposite sides of what is known (low b and high b); a study's score is
what all of them together have against "known".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression

# Standard scores beyond this count no more: what is twice as odd is no more certainly of one kind.
_FARTHEST = 4.0
_SMALLEST_DEVIATION = 1e-6
# Inverse strength of the penalty, by cross-validation; see ADR 9.
_PENALTY = 0.3
_ITERATIONS = 2000


@dataclass(frozen=True, slots=True)
class Exposure:
    """kinds: (K,), in order; mean, deviation: (F,), of known studies; weights: (K, F) and intercepts: (K,), of each
    kind against known: the log odds of the two are intercept + weight . standard scores."""

    kinds: tuple[str, ...]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    weights: NDArray[np.float64]
    intercepts: NDArray[np.float64]

    @classmethod
    def fit(cls, known: NDArray[np.float64], others: Mapping[str, NDArray[np.float64]]) -> Exposure:
        """Fit to rows of known studies (N, F) and of each kind (M, F). Known studies weigh as much as all kinds
        together, and each kind as much as another.

        Raises ValueError without a kind, or when a kind has no row.
        """
        if len(known) < 2 or not others or not all(len(rows) for rows in others.values()):
            raise ValueError(f"{len(known)} known studies and {len(others)} kinds: two, one, and no empty one needed")
        mean, deviation = known.mean(axis=0), np.maximum(known.std(axis=0), _SMALLEST_DEVIATION)
        rows = np.concatenate([known, *others.values()])
        counts = [len(known), *(len(one) for one in others.values())]
        labels = np.repeat(np.arange(len(counts)), counts)
        shares = np.array([0.5, *(0.5 / len(others) for _ in others)])
        importance = (shares / counts)[labels] * len(rows)
        standard = _standard(rows, mean, deviation)
        model = LogisticRegression(C=_PENALTY, max_iter=_ITERATIONS)
        model.fit(standard, labels, sample_weight=importance)
        if len(counts) == 2:
            return cls(tuple(others), mean, deviation, model.coef_, model.intercept_)
        weights, intercepts = model.coef_[1:] - model.coef_[0], model.intercept_[1:] - model.intercept_[0]
        return cls(tuple(others), mean, deviation, weights, intercepts)

    def scores(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores (N,) of feature rows (N, F), above 0: log(1 + odds that they are not known)."""
        odds = self._standard(rows) @ self.weights.T + self.intercepts
        result: NDArray[np.float64] = np.logaddexp(0.0, logsumexp(odds, axis=1))
        return result

    def likeness(self, row: NDArray[np.float64]) -> tuple[str, list[tuple[int, float]]]:
        """The kind that one study (F,) is most like, and the features that speak for it, those that say most first:
        their index and standard score."""
        standard = self._standard(row[None])[0]
        best = int((self.weights @ standard + self.intercepts).argmax())
        said = self.weights[best] * standard
        return self.kinds[best], [(int(one), float(standard[one])) for one in np.argsort(-said) if said[one] > 0]

    def _standard(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        return _standard(rows, self.mean, self.deviation)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; `from_dict` gives it back."""
        return {
            "kinds": list(self.kinds),
            "mean": self.mean.tolist(),
            "deviation": self.deviation.tolist(),
            "weights": np.round(self.weights, 5).tolist(),
            "intercepts": self.intercepts.tolist(),
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Exposure:
        """The inverse of `to_dict`. Raises KeyError, TypeError or ValueError for anything else."""
        kinds: Sequence[Any] = raw["kinds"]
        mean, deviation, weights, intercepts = (
            np.asarray(raw[name], dtype=np.float64) for name in ("mean", "deviation", "weights", "intercepts")
        )
        shape = (len(kinds), len(mean))
        if mean.ndim != 1 or deviation.shape != mean.shape or weights.shape != shape or intercepts.shape != shape[:1]:
            raise ValueError("kinds, mean, deviation, weights and intercepts do not fit together")
        return cls(tuple(str(one) for one in kinds), mean, deviation, weights, intercepts)


def _standard(
    rows: NDArray[np.float64], mean: NDArray[np.float64], deviation: NDArray[np.float64]
) -> NDArray[np.float64]:
    standard: NDArray[np.float64] = np.clip((rows - mean) / deviation, -_FARTHEST, _FARTHEST)
    return standard
