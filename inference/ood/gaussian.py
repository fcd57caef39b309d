"""A one-class model: how far a vector of features lies from those it was fitted on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf

# Standard scores beyond this are pulled in logarithmically, so that one odd number does not drown all others.
_LINEAR_UNTIL = 6.0
_SMALLEST_DEVIATION = 1e-6


@dataclass(frozen=True, slots=True)
class Gaussian:
    """mean, deviation: (F,), of each feature; precision: (F, F), inverse shrunk covariance of the standard scores."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    precision: NDArray[np.float64]

    @classmethod
    def fit(cls, rows: NDArray[np.float64]) -> Gaussian:
        """Fit to rows (N, F), N at least 2; covariance shrunk after Ledoit and Wolf (J Multivar Anal 88, 2004)."""
        if rows.ndim != 2 or len(rows) < 2 or not np.isfinite(rows).all():
            raise ValueError(f"rows of shape {rows.shape}: two finite ones are the least")
        mean, deviation = rows.mean(axis=0), np.maximum(rows.std(axis=0), _SMALLEST_DEVIATION)
        covariance, _ = ledoit_wolf((rows - mean) / deviation, assume_centered=True)
        return cls(mean, deviation, np.linalg.inv(covariance))

    def standard(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Standard scores (N, F), far ones pulled in."""
        scores = (rows - self.mean) / self.deviation
        excess = np.maximum(np.abs(scores) - _LINEAR_UNTIL, 0.0)
        pulled: NDArray[np.float64] = np.sign(scores) * (np.minimum(np.abs(scores), _LINEAR_UNTIL) + np.log1p(excess))
        return pulled

    def distance(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mahalanobis distance (N,) over the root of the number of features: about 1 for what it was fitted on,
        less where features are correlated, since shrinkage widens narrow directions."""
        scores = self.standard(rows)
        squared = np.einsum("nf,fg,ng->n", scores, self.precision, scores)
        distances: NDArray[np.float64] = np.sqrt(np.maximum(squared, 0.0) / rows.shape[1])
        return distances

    def to_dict(self) -> dict[str, list[float] | list[list[float]]]:
        """For JSON; `from_dict` gives it back."""
        return {
            "mean": self.mean.tolist(),
            "deviation": self.deviation.tolist(),
            "precision": np.round(self.precision, 6).tolist(),
        }

    @classmethod
    def from_dict(cls, raw: dict[str, list[float] | list[list[float]]]) -> Gaussian:
        """The inverse of `to_dict`. Raises KeyError, TypeError or ValueError for anything else."""
        parts = [np.asarray(raw[name], dtype=np.float64) for name in ("mean", "deviation", "precision")]
        mean, deviation, precision = parts
        if mean.ndim != 1 or deviation.shape != mean.shape or precision.shape != (len(mean), len(mean)):
            raise ValueError("mean, deviation and precision of different lengths")
        return cls(mean, deviation, precision)
