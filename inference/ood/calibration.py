"""What is known of studies like those the encoder was made for, and the judgement of one more study against it.

Lies as calibration.json beside a case base and belongs to that case base and its encoder alone.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.models.digest import sha256_of
from pirtad.inference.ood.exposure import Exposure
from pirtad.inference.ood.features import image_features
from pirtad.inference.ood.one_class import OneClass
from pirtad.inference.ood.resemblance import Resemblance
from pirtad.inference.ood.vote_probability import VoteProbability
from pirtad.inference.prepared import write_whole
from pirtad.inference.preprocess.network_input import NetworkInput
from pirtad.inference.report.report import SimilarCase
from pirtad.inference.retrieval.files import MANIFEST_FILE

CALIBRATION_FILE = "calibration.json"
# Raised whenever features or models change their meaning.
_SCHEMA = 2
# How many retrieved cases are looked at: what is calibrated on five says nothing of ten.
NEIGHBOURS = 5
# Standard scores from which a single feature is named as a reason, and how many reasons are given.
_NAMED_FROM = 3.0
_NAMED_BESIDE_A_KIND_FROM = 1.0
_MOST_NAMED = 4
# With which power the one-class distance enters the score; see ADR 9.
_STEEPNESS = 4

# Kinds of mimics (simulation.mimics.MimicKind) that show no lesion.
_NO_DISEASE = frozenset({"ghosting", "motion", "distortion", "low_b", "high_b", "sphere", "abdomen", "knee"})

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Assessment:
    """How familiar one study is.

    score: how like one of the simulated mimics it is, and how far from known studies, about 1 at the border; is_out: it
    exceeds threshold, which 5 % of known studies do; reasons: what speaks for that, a phrase each, empty unless is_out;
    territory_probability: calibrated probability that the territory the neighbours vote for is right. It holds for
    familiar studies alone.
    """

    score: float
    threshold: float
    is_out: bool
    reasons: tuple[str, ...]
    territory_probability: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"reasons": list(self.reasons)}


@dataclass(frozen=True, slots=True)
class Calibration:
    """Everything that `assess` needs, and what `evaluate_ood` measures it with.

    features: their names, (F,); exposure_limit: the exposure's score that few known studies exceed; left_out: for each
    kind of mimic the exposure that was fitted without it. known_cases, mimics_by_kind: how many it was fitted to;
    specificity: of the threshold on known studies, cross-validated; calibration_error: expected, of the territory's
    probability, cross-validated.
    """

    encoder_sha256: str
    case_base_sha256: str
    resemblance: Resemblance
    features: tuple[str, ...]
    one_class: OneClass
    exposure: Exposure
    exposure_limit: float
    threshold: float
    vote: VoteProbability
    known_cases: int
    mimics_by_kind: dict[str, int]
    specificity: float
    calibration_error: float
    left_out: dict[str, Exposure]

    def assess(
        self,
        vector: NDArray[np.float32],
        similar: Sequence[SimilarCase],
        probabilities: NDArray[np.float32],
        network_input: NetworkInput,
    ) -> Assessment:
        """Judge one study: its unit vector (D,), what was retrieved, the head's class probabilities (4,), its input.

        Of the retrieved cases the first NEIGHBOURS count.

        Raises ValueError for an input without a brain, ModelMismatch for retrieved cases that support nothing.
        """
        similar = similar[:NEIGHBOURS]
        row = self.row(vector, similar, probabilities, image_features(network_input.array))
        score = float(self.scores(row[None])[0])
        is_out = score > self.threshold
        reasons = self._reasons(row) if is_out else ()
        return Assessment(score, self.threshold, is_out, reasons, self.vote.of(similar, probabilities))

    def row(
        self,
        vector: NDArray[np.float32],
        similar: Sequence[SimilarCase],
        probabilities: NDArray[np.float32],
        image: dict[str, float],
    ) -> NDArray[np.float64]:
        """The features (F,) of one study; image: `image_features` of its network input."""
        found = self.resemblance.features(vector, similar, probabilities) | image
        return np.array([found[name] for name in self.features])

    def scores(self, rows: NDArray[np.float64], without: str | None = None) -> NDArray[np.float64]:
        """Scores (N,) of feature rows (N, F), as of a model that has never seen mimics of the kind `without`."""
        exposure = self.exposure if without is None else self.left_out.get(without, self.exposure)
        return combined(self.one_class.scores(rows), exposure.scores(rows) / self.exposure_limit)

    def _reasons(self, row: NDArray[np.float64]) -> tuple[str, ...]:
        """The kind of mimic that it is like, if it is, and what speaks for it; then what is far from known studies."""
        reasons: list[str] = []
        named: list[tuple[int, float]] = []
        exposed = float(self.exposure.scores(row[None])[0]) / self.exposure_limit
        far = float(self.one_class.scores(row[None])[0])
        if exposed > self.threshold / 2:
            kind, named = self.exposure.likeness(row)
            # A kind's name would be read as a diagnosis that nobody made.
            what = "broken or foreign images" if kind in _NO_DISEASE else "what is neither infarct nor healthy"
            reasons.append(f"more like {what} than like known studies")
        if far**_STEEPNESS > self.threshold / 2:
            named = [*named[:1], *self.one_class.farthest(row)]
        for index, standard in dict(named).items():
            if abs(standard) >= (_NAMED_BESIDE_A_KIND_FROM if reasons else _NAMED_FROM):
                name = self.features[index].replace("_", " ")
                reasons.append(f"{name} {standard:+.1f} standard deviations from known studies")
        return tuple(reasons[:_MOST_NAMED] or ["an unusual combination of features"])

    def save(self, case_base_dir: Path) -> Path:
        """Write calibration.json beside the case base; the file appears whole or not at all."""
        raw = {
            "schema": _SCHEMA,
            "encoder_sha256": self.encoder_sha256,
            "case_base_sha256": self.case_base_sha256,
            "known_cases": self.known_cases,
            "mimics_by_kind": self.mimics_by_kind,
            "specificity": self.specificity,
            "calibration_error": self.calibration_error,
            "threshold": self.threshold,
            "vote": self.vote.to_dict(),
            "features": list(self.features),
            "one_class": self.one_class.to_dict(),
            "exposure": self.exposure.to_dict(),
            "exposure_limit": self.exposure_limit,
            "left_out": {kind: model.to_dict() for kind, model in self.left_out.items()},
            "resemblance": self.resemblance.to_dict(),
        }
        path = case_base_dir / CALIBRATION_FILE
        write_whole(path, json.dumps(raw).encode())
        return path

    @classmethod
    def load(cls, case_base_dir: Path) -> Calibration | None:
        """The calibration of this case base; None, with a warning in the log, where none belongs to it."""
        path = case_base_dir / CALIBRATION_FILE
        if not path.is_file():
            _log.warning("no calibration beside the case base; familiarity of studies is not assessed")
            return None
        try:
            found = cls._parse(json.loads(path.read_text(encoding="utf-8")))
            manifest = case_base_dir / MANIFEST_FILE
            encoder_sha256 = json.loads(manifest.read_text(encoding="utf-8"))["encoder_sha256"]
        except (ValueError, KeyError, TypeError) as error:
            _log.warning("the case base's calibration can not be read (%s) and is ignored", type(error).__name__)
            return None
        if (found.case_base_sha256, found.encoder_sha256) != (sha256_of(manifest), encoder_sha256):
            _log.warning(
                "the calibration belongs to another case base (%s) and is ignored; fit it again with "
                "`pirtad evaluate ood --fit`",
                found.case_base_sha256[:12],
            )
            return None
        return found

    @classmethod
    def _parse(cls, raw: dict[str, Any]) -> Calibration:
        if raw["schema"] != _SCHEMA:
            raise ValueError(f"schema {raw['schema']}")
        found = cls(
            encoder_sha256=str(raw["encoder_sha256"]),
            case_base_sha256=str(raw["case_base_sha256"]),
            resemblance=Resemblance.from_dict(raw["resemblance"]),
            features=tuple(str(name) for name in raw["features"]),
            one_class=OneClass.from_dict(raw["one_class"]),
            exposure=Exposure.from_dict(raw["exposure"]),
            exposure_limit=float(raw["exposure_limit"]),
            threshold=float(raw["threshold"]),
            vote=VoteProbability.from_dict(raw["vote"]),
            known_cases=int(raw["known_cases"]),
            mimics_by_kind={str(kind): int(count) for kind, count in raw["mimics_by_kind"].items()},
            specificity=float(raw["specificity"]),
            calibration_error=float(raw["calibration_error"]),
            left_out={str(kind): Exposure.from_dict(model) for kind, model in raw["left_out"].items()},
        )
        if any(len(model.mean) != len(found.features) for model in (found.exposure, *found.left_out.values())):
            raise ValueError("features and models of different lengths")
        return found


def combined(one_class: NDArray[np.float64], exposure: NDArray[np.float64]) -> NDArray[np.float64]:
    """One score (N,) of two. The exposure, 1 at its limit, decides; the distance from known studies adds next to
    nothing until it nears its border at 1, and is enough by itself beyond it."""
    return exposure + one_class**_STEEPNESS
