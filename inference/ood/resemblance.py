"""What encoder and case base say about how familiar a study is, as features beside those of the image.

Mahalanobis distance to the class means with one shared covariance after Lee et al., NeurIPS 2018; the part of the
vector outside the principal subspace after Wang et al., CVPR 2022.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf

from pirtad.inference.findings import Territory
from pirtad.inference.report.report import SimilarCase

# Chosen: the vectors of a four-class encoder vary in few directions.
_MOST_DIRECTIONS = 24


@dataclass(frozen=True, slots=True)
class Resemblance:
    """Where known vectors lie.

    origin: (D,); directions: (P, D), orthonormal; means: (C, P), of each class that was there; precision: (P, P),
    inverse of the covariance that the classes share.
    """

    origin: NDArray[np.float64]
    directions: NDArray[np.float64]
    means: NDArray[np.float64]
    precision: NDArray[np.float64]

    @classmethod
    def fit(cls, vectors: NDArray[np.float32], territories: Sequence[Territory]) -> Resemblance:
        """Fit to unit vectors (N, D) of known studies, each of a class."""
        rows = vectors.astype(np.float64)
        if len(rows) != len(territories) or len(rows) < 2:
            raise ValueError(f"{len(rows)} vectors for {len(territories)} classes: two of each are the least")
        origin = rows.mean(axis=0)
        directions = np.linalg.svd(rows - origin, full_matrices=False)[2][: min(_MOST_DIRECTIONS, len(rows) // 3 or 1)]
        inner = (rows - origin) @ directions.T
        there = [territory for territory in Territory if territory in territories]
        labels = np.array([there.index(territory) for territory in territories])
        means = np.stack([inner[labels == one].mean(axis=0) for one in range(len(there))])
        covariance, _ = ledoit_wolf(inner - means[labels], assume_centered=True)
        smallest = 1e-6 * max(float(np.trace(covariance)) / len(covariance), 1e-12)
        return cls(origin, directions, means, np.linalg.inv(covariance + smallest * np.eye(len(covariance))))

    def features(
        self, vector: NDArray[np.float32], similar: Sequence[SimilarCase], probabilities: NDArray[np.float32]
    ) -> dict[str, float]:
        """Features of one study: unit vector (D,), its retrieved cases (at least one), class probabilities (4,)."""
        away = vector.astype(np.float64) - self.origin
        inner = self.directions @ away
        apart = self.means - inner
        distance = np.sqrt(np.einsum("cp,pq,cq->c", apart, self.precision, apart).min())
        residual = np.linalg.norm(away - self.directions.T @ inner)
        similarities = [case.similarity for case in similar]
        votes = Counter(case.territory for case in similar)
        odds = np.maximum(probabilities.astype(np.float64), 1e-6)
        head = tuple(Territory)[int(odds.argmax())]
        return {
            "distance_to_cases": _log(1 - float(np.mean(similarities))),
            "distance_to_nearest_case": _log(1 - max(similarities)),
            "distance_to_classes": _log(float(distance)),
            "distance_to_subspace": _log(float(residual)),
            "entropy": float(-(odds * np.log(odds)).sum()),
            "neighbours_disagree": 1 - max(votes.values()) / len(similar),
            "neighbours_against_head": 1 - votes[head] / len(similar),
        }

    def to_dict(self) -> dict[str, Any]:
        """For JSON; `from_dict` gives it back."""
        return {
            "origin": np.round(self.origin, 7).tolist(),
            "directions": np.round(self.directions, 6).tolist(),
            "means": np.round(self.means, 6).tolist(),
            "precision": self.precision.tolist(),
        }

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Resemblance:
        """The inverse of `to_dict`. Raises KeyError, TypeError or ValueError for anything else."""
        origin, directions, means, precision = (
            np.asarray(raw[name], dtype=np.float64) for name in ("origin", "directions", "means", "precision")
        )
        inner = len(directions)
        if directions.shape != (inner, len(origin)) or means.shape[1:] != (inner,) or precision.shape != (inner, inner):
            raise ValueError("origin, directions, means and precision do not fit together")
        return cls(origin, directions, means, precision)


def _log(value: float) -> float:
    return float(np.log(max(value, 0.0) + 1e-3))
