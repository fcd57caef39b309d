"""Fit a calibration to known studies and to mimics of seeds that are kept for fitting.

What is judged must not be what was fitted: scores that enter a limit or the threshold, and probabilities that enter
the calibration error, come from models of the other folds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.findings import Territory
from pirtad.inference.models.encoder import Encoder
from pirtad.inference.ood.calibration import NEIGHBOURS, Calibration, combined
from pirtad.inference.ood.exposure import Exposure
from pirtad.inference.ood.features import image_features
from pirtad.inference.ood.one_class import OneClass
from pirtad.inference.ood.resemblance import Resemblance
from pirtad.inference.ood.samples import MimicSample
from pirtad.inference.ood.vote_probability import VoteProbability, reliability
from pirtad.inference.report.evidence import weigh
from pirtad.inference.report.report import SimilarCase
from pirtad.inference.retrieval.case_base import CaseBase

SPECIFICITY = 0.95
LEAST_CASES = 40
# A kind of which preprocessing lets fewer through says too little of what the others of it look like.
LEAST_OF_A_KIND = 3
_FOLDS = 5


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


def fit_calibration(
    encoder: Encoder, case_base: CaseBase, cases: Sequence[KnownStudy], mimics: Sequence[MimicSample]
) -> Calibration:
    """Fit to known studies that are neither in the case base nor were trained on, and to mimics.

    Mimics that preprocessing refused have no part in it, nor have kinds of which it lets through fewer than
    LEAST_OF_A_KIND. Raises ValueError for fewer cases than LEAST_CASES, or when no kind is left.
    """
    if len(cases) < LEAST_CASES:
        raise ValueError(f"{len(cases)} known studies; {LEAST_CASES} are the least")
    count = Counter(str(one.kind) for one in mimics if one.array is not None)
    kinds = [kind for kind, seen_of_it in count.items() if seen_of_it >= LEAST_OF_A_KIND]
    if not kinds:
        raise ValueError(f"no kind of mimic has {LEAST_OF_A_KIND} that preprocessing lets through")
    seen = [look(encoder, case_base, case.array) for case in cases]
    territories = [case.territory for case in cases]
    right = voted_right(seen, territories)
    folds = np.random.default_rng(0).permutation(np.arange(len(cases)) * _FOLDS // len(cases))

    names, rows = _cross_fitted_rows(seen, territories, folds)
    resemblance = _resemblance(seen, territories, range(len(seen)))
    others: dict[str, NDArray[np.float64]] = {kind: np.zeros((0, len(names))) for kind in kinds}
    for one in mimics:
        if one.array is not None and str(one.kind) in others:
            row = _row(names, resemblance, look(encoder, case_base, one.array))
            others[str(one.kind)] = np.concatenate([others[str(one.kind)], row[None]])

    from_known, like_mimics, said = np.zeros(len(cases)), np.zeros(len(cases)), np.zeros(len(cases))
    for fold in range(_FOLDS):
        inner, outer = np.nonzero(folds != fold)[0], np.nonzero(folds == fold)[0]
        from_known[outer] = OneClass.fit(names, rows[inner]).scores(rows[outer])
        like_mimics[outer] = Exposure.fit(rows[inner], others).scores(rows[outer])
        vote = _vote([seen[one] for one in inner], right[inner])
        said[outer] = [vote.of(seen[one].similar, seen[one].probabilities) for one in outer]
    exposure_limit = max(float(np.quantile(like_mimics, SPECIFICITY)), 1e-6)
    scores = combined(from_known, like_mimics / exposure_limit)
    threshold = float(np.quantile(scores, SPECIFICITY))
    return Calibration(
        encoder_sha256=encoder.manifest.weights_sha256,
        case_base_sha256=case_base.info().sha256,
        resemblance=resemblance,
        features=names,
        one_class=OneClass.fit(names, rows),
        exposure=Exposure.fit(rows, others),
        exposure_limit=exposure_limit,
        threshold=threshold,
        vote=_vote(seen, right),
        known_cases=len(cases),
        mimics_by_kind={kind: len(part) for kind, part in others.items()},
        specificity=float((scores <= threshold).mean()),
        calibration_error=reliability(said, right)[1],
        left_out={kind: Exposure.fit(rows, _without(kind, others)) for kind in kinds if len(kinds) > 1},
    )


def _row(names: Sequence[str], resemblance: Resemblance, seen: Seen) -> NDArray[np.float64]:
    """The features (F,) of a study that `resemblance` was not fitted to."""
    found = resemblance.features(seen.vector, seen.similar, seen.probabilities) | seen.image
    return np.array([found[name] for name in names])


def _without(kind: str, others: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    return {name: rows for name, rows in others.items() if name != kind}


def _vote(seen: Sequence[Seen], right: NDArray[np.bool_]) -> VoteProbability:
    return VoteProbability.fit([one.similar for one in seen], [one.probabilities for one in seen], right)


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
