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
from pirtad.inference.ood.features import image_features
from pirtad.inference.ood.gaussian import Gaussian
from pirtad.inference.ood.resemblance import Resemblance
from pirtad.inference.ood.vote_probability import VoteProbability
from pirtad.inference.prepared import write_whole
from pirtad.inference.preprocess.network_input import NetworkInput
from pirtad.inference.report.report import SimilarCase
from pirtad.inference.retrieval.files import MANIFEST_FILE

CALIBRATION_FILE = "calibration.json"
# Raised whenever features or models change their meaning.
_SCHEMA = 1
# How many retrieved cases are looked at: what is calibrated on five says nothing of ten.
NEIGHBOURS = 5
# Standard scores from which a single feature is named as a reason, and how many are named.
_NAMED_FROM = 3.0
_MOST_NAMED = 4

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Assessment:
    """How familiar one study is.

    score: distance from known studies, in units of the threshold's scale; is_out: it exceeds threshold, which 5 % of
    known studies do; reasons: the features farthest from known studies, a phrase each, empty unless is_out;
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
class OneClass:
    """Several distances from known studies over groups of features, each over what 5 % of them exceed; the score is
    the greatest, so that one group that is far off is enough.

    names: of the features; groups: indices into them and the group's model; limits: 95th percentile of its distance.
    """

    names: tuple[str, ...]
    groups: tuple[tuple[tuple[int, ...], Gaussian], ...]
    limits: tuple[float, ...]

    def scores(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores (N,) of feature rows (N, F); about 1 at the border."""
        over = [
            model.distance(rows[:, list(members)]) / limit
            for (members, model), limit in zip(self.groups, self.limits, strict=True)
        ]
        greatest: NDArray[np.float64] = np.stack(over).max(axis=0)
        return greatest

    def farthest(self, row: NDArray[np.float64]) -> list[tuple[str, float]]:
        """Features (F,) of one study with their standard scores, the farthest first; a feature counts once."""
        found: dict[str, float] = {}
        for members, model in self.groups:
            for index, score in zip(members, model.standard(row[None, list(members)])[0], strict=True):
                found[self.names[index]] = float(score)
        return sorted(found.items(), key=lambda item: -abs(item[1]))


@dataclass(frozen=True, slots=True)
class Calibration:
    """Everything that `assess` needs. known_cases: how many it was fitted on; specificity: of the threshold on them,
    cross-validated; calibration_error: expected, of the territory's probability, cross-validated."""

    encoder_sha256: str
    case_base_sha256: str
    resemblance: Resemblance
    one_class: OneClass
    threshold: float
    vote: VoteProbability
    known_cases: int
    specificity: float
    calibration_error: float

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
        row = self.row(vector, similar, probabilities, network_input.array)
        score = float(self.one_class.scores(row[None])[0])
        is_out = score > self.threshold
        named = [
            f"{name.replace('_', ' ')} {standard:+.1f} standard deviations from known studies"
            for name, standard in self.one_class.farthest(row)[:_MOST_NAMED]
            if abs(standard) >= _NAMED_FROM
        ]
        reasons = tuple(named or ["an unusual combination of features"]) if is_out else ()
        return Assessment(score, self.threshold, is_out, reasons, self.vote.of(similar))

    def row(
        self,
        vector: NDArray[np.float32],
        similar: Sequence[SimilarCase],
        probabilities: NDArray[np.float32],
        array: NDArray[np.float32],
    ) -> NDArray[np.float64]:
        """The features (F,) of one study; array: NetworkInput.array."""
        found = self.resemblance.features(vector, similar, probabilities) | image_features(array)
        return np.array([found[name] for name in self.one_class.names])

    def save(self, case_base_dir: Path) -> Path:
        """Write calibration.json beside the case base; the file appears whole or not at all."""
        raw = {
            "schema": _SCHEMA,
            "encoder_sha256": self.encoder_sha256,
            "case_base_sha256": self.case_base_sha256,
            "known_cases": self.known_cases,
            "specificity": self.specificity,
            "calibration_error": self.calibration_error,
            "threshold": self.threshold,
            "vote": self.vote.to_dict(),
            "features": list(self.one_class.names),
            "limits": list(self.one_class.limits),
            "groups": [{"members": list(members), **model.to_dict()} for members, model in self.one_class.groups],
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
        names = tuple(str(name) for name in raw["features"])
        groups = tuple(
            (tuple(int(one) for one in group["members"]), Gaussian.from_dict(group)) for group in raw["groups"]
        )
        return cls(
            encoder_sha256=str(raw["encoder_sha256"]),
            case_base_sha256=str(raw["case_base_sha256"]),
            resemblance=Resemblance.from_dict(raw["resemblance"]),
            one_class=OneClass(names, groups, tuple(float(one) for one in raw["limits"])),
            threshold=float(raw["threshold"]),
            vote=VoteProbability.from_dict(raw["vote"]),
            known_cases=int(raw["known_cases"]),
            specificity=float(raw["specificity"]),
            calibration_error=float(raw["calibration_error"]),
        )
