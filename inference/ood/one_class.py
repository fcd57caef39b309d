"""Distance from known studies in groups of features, so that what nobody simulated can be noticed as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.ood.gaussian import Gaussian

# A group for each sort of feature; a feature belongs to the first whose word it holds.
_GROUP_WORDS = (
    ("distance_to", "entropy", "neighbours"),
    ("noise", "slice", "outline", "surface", "box", "over_length", "volume_ml"),
    ("asymmetry", "one_sided", "other_side", "sector", "that_cortex"),
    ("_body_", "restricted", "oedema", "cavity", "dark", "low_adc", "bright_high", "spots", "over_white"),
    ("",),
)
# The border is this much farther than what all but 5 % of known studies lie within, as their texture and shape are a
# simulator's and a real brain differs from it; see ADR 9.
_MARGIN = 2.5
_QUANTILE = 0.95
_FOLDS = 5


@dataclass(frozen=True, slots=True)
class OneClass:
    """Several distances, each over its limit; the score is the greatest, so that one group that is far off is enough.

    groups: indices into the features and the group's model; limits: the distance at the border, of each group.
    """

    groups: tuple[tuple[tuple[int, ...], Gaussian], ...]
    limits: tuple[float, ...]

    @classmethod
    def fit(cls, names: Sequence[str], rows: NDArray[np.float64]) -> OneClass:
        """Fit to rows (N, F) of known studies; distances that set a limit come from models of the other folds."""
        rng = np.random.default_rng(1)
        folds = rng.permutation(np.arange(len(rows)) * _FOLDS // len(rows))
        groups, limits = [], []
        for members in _grouped(names):
            part, distances = rows[:, list(members)], np.zeros(len(rows))
            for fold in range(_FOLDS):
                distances[folds == fold] = Gaussian.fit(part[folds != fold]).distance(part[folds == fold])
            groups.append((members, Gaussian.fit(part)))
            limits.append(_MARGIN * max(float(np.quantile(distances, _QUANTILE)), 1e-6))
        return cls(tuple(groups), tuple(limits))

    def scores(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores (N,) of feature rows (N, F); 1 at the border."""
        over = [
            model.distance(rows[:, list(members)]) / limit
            for (members, model), limit in zip(self.groups, self.limits, strict=True)
        ]
        greatest: NDArray[np.float64] = np.stack(over).max(axis=0)
        return greatest

    def farthest(self, row: NDArray[np.float64]) -> list[tuple[int, float]]:
        """Indices of the features (F,) of one study with their standard scores, the farthest first."""
        found: list[tuple[int, float]] = []
        for members, model in self.groups:
            standard = model.standard(row[None, list(members)])[0]
            found += [(index, float(score)) for index, score in zip(members, standard, strict=True)]
        return sorted(found, key=lambda item: -abs(item[1]))

    def to_dict(self) -> dict[str, Any]:
        """For JSON; `from_dict` gives it back."""
        groups = [{"members": list(members), **model.to_dict()} for members, model in self.groups]
        return {"groups": groups, "limits": list(self.limits)}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> OneClass:
        """The inverse of `to_dict`. Raises KeyError, TypeError or ValueError for anything else."""
        groups = tuple(
            (tuple(int(one) for one in group["members"]), Gaussian.from_dict(group)) for group in raw["groups"]
        )
        limits = tuple(float(one) for one in raw["limits"])
        if len(groups) != len(limits) or any(len(members) != len(model.mean) for members, model in groups):
            raise ValueError("groups and limits do not fit together")
        return cls(groups, limits)


def _grouped(names: Sequence[str]) -> list[tuple[int, ...]]:
    groups: list[list[int]] = [[] for _ in _GROUP_WORDS]
    for index, name in enumerate(names):
        first = next(at for at, words in enumerate(_GROUP_WORDS) if any(word in name for word in words))
        groups[first].append(index)
    return [tuple(group) for group in groups if group]
