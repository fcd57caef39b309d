"""Fit a calibration to known studies. Mimics have no part in it: they are what it is measured with.

What is judged must not be what was fitted: distances that enter the threshold, and probabilities that enter the
calibration error, come from models of the other folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.findings import Territory
from pirtad.inference.models.encoder import Encoder
from pirtad.inference.ood.calibration import NEIGHBOURS, Calibration, OneClass
from pirtad.inference.ood.features import image_features
from pirtad.inference.ood.gaussian import Gaussian
from pirtad.inference.ood.resemblance import Resemblance
from pirtad.inference.ood.vote_probability import VoteProbability, reliability
from pirtad.inference.report.evidence import weigh
from pirtad.inference.report.report import SimilarCase
from pirtad.inference.retrieval.case_base import CaseBase

SPECIFICITY = 0.95
LEAST_CASES = 40
_FOLDS = 5
# Beside one model over all features, one for each kind of them; a feature belongs to the first whose word it holds.
_GROUP_WORDS = (
    ("distance_to", "entropy", "neighbours"),
    ("noise", "slice", "outline", "surface", "box", "over_length", "volume_ml"),
    ("asymmetry", "one_sided"),
    ("restricted", "oedema", "cavity", "dark", "low_adc", "bright_high"),
    ("",),
)


@dataclass(frozen=True, slots=True)
class KnownStudy:
    """array: float32 (2, 96, 112, 48), the network's input of a study like those in use; territory: the true one."""

    array: NDArray[np.float32]
    territory: Territory


@dataclass(frozen=True, slots=True)
class Seen:
    """What encoder and case base say of one study: unit vector (D,), probabilities (4,), retrieved cases, and the
    statistics of its image."""

    vector: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    similar: tuple[SimilarCase, ...]
    image: dict[str, float]


def look(encoder: Encoder, case_base: CaseBase, array: NDArray[np.float32]) -> Seen:
    """Encode one network input, retrieve, and take its statistics."""
    vector, probabilities = encoder.encode_and_classify(array)
    return Seen(vector, probabilities, case_base.search(vector, NEIGHBOURS), image_features(array))


def fit_calibration(encoder: Encoder, case_base: CaseBase, cases: Sequence[KnownStudy]) -> Calibration:
    """Fit to known studies that are neither in the case base nor were trained on.

    Raises ValueError for fewer than LEAST_CASES.
    """
    if len(cases) < LEAST_CASES:
        raise ValueError(f"{len(cases)} known studies; {LEAST_CASES} are the least")
    seen = [look(encoder, case_base, case.array) for case in cases]
    territories = [case.territory for case in cases]
    right = voted_right(seen, territories)
    folds = np.arange(len(cases)) * _FOLDS // len(cases)
    folds = np.random.default_rng(0).permutation(folds)

    names, rows = _cross_fitted_rows(seen, territories, folds)
    scores, said = np.zeros(len(cases)), np.zeros(len(cases))
    for fold in range(_FOLDS):
        inner, outer = np.nonzero(folds != fold)[0], np.nonzero(folds == fold)[0]
        scores[outer] = _one_class(names, rows[inner]).scores(rows[outer])
        vote = VoteProbability.fit([seen[one].similar for one in inner], right[inner])
        said[outer] = [vote.of(seen[one].similar) for one in outer]
    threshold = float(np.quantile(scores, SPECIFICITY))
    info = case_base.info()
    return Calibration(
        encoder_sha256=encoder.manifest.weights_sha256,
        case_base_sha256=info.sha256,
        resemblance=_resemblance(seen, territories, range(len(seen))),
        one_class=_one_class(names, rows),
        threshold=threshold,
        vote=VoteProbability.fit([one.similar for one in seen], right),
        known_cases=len(cases),
        specificity=float((scores <= threshold).mean()),
        calibration_error=reliability(said, right)[1],
    )


def voted_right(seen: Sequence[Seen], territories: Sequence[Territory]) -> NDArray[np.bool_]:
    """Whether the neighbours' vote is the true territory, (N,)."""
    return np.array([weigh(one.similar).territory is truth for one, truth in zip(seen, territories, strict=True)])


def _resemblance(seen: Sequence[Seen], territories: Sequence[Territory], chosen: Sequence[int]) -> Resemblance:
    return Resemblance.fit(np.stack([seen[one].vector for one in chosen]), [territories[one] for one in chosen])


def _cross_fitted_rows(
    seen: Sequence[Seen], territories: Sequence[Territory], folds: NDArray[np.int64]
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Names (F) and rows (N, F) of features, those of each study's vector from a model that has not seen it."""
    found: list[dict[str, float]] = [{} for _ in seen]
    for fold in range(_FOLDS):
        model = _resemblance(seen, territories, np.nonzero(folds != fold)[0].tolist())
        for one in np.nonzero(folds == fold)[0].tolist():
            study = seen[one]
            found[one] = model.features(study.vector, study.similar, study.probabilities) | study.image
    names = tuple(found[0])
    return names, np.array([[row[name] for name in names] for row in found])


def _one_class(names: tuple[str, ...], rows: NDArray[np.float64]) -> OneClass:
    everything = tuple(range(len(names)))
    members = [everything, *(group for group in _grouped(names) if group)]
    limits: list[float] = []
    rng = np.random.default_rng(1)
    folds = rng.permutation(np.arange(len(rows)) * _FOLDS // len(rows))
    for group in members:
        part, distances = rows[:, list(group)], np.zeros(len(rows))
        for fold in range(_FOLDS):
            distances[folds == fold] = Gaussian.fit(part[folds != fold]).distance(part[folds == fold])
        limits.append(max(float(np.quantile(distances, SPECIFICITY)), 1e-6))
    models = tuple((group, Gaussian.fit(rows[:, list(group)])) for group in members)
    return OneClass(names, models, tuple(limits))


def _grouped(names: Sequence[str]) -> list[tuple[int, ...]]:
    groups: list[list[int]] = [[] for _ in _GROUP_WORDS]
    for index, name in enumerate(names):
        first = next(at for at, words in enumerate(_GROUP_WORDS) if any(word in name for word in words))
        groups[first].append(index)
    return [tuple(group) for group in groups]
