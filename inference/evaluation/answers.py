"""What encoder and case base say of each query, beside what is true."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.evaluation.lesion_map import MapScore, score_map, share_in_posterior_fossa
from pirtad.inference.findings import InfarctType, Territory
from pirtad.inference.report.report import SimilarCase
from pirtad.inference.training.cases import CaseRecipe, load_case
from pirtad.inference.training.metrics import vote

DEEPEST = 10
_VOTERS = 5
_CLASSES = tuple(Territory)


class Classifier(Protocol):
    """What is asked of an encoder (models.encoder.Encoder)."""

    def encode_and_classify(self, x: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Unit vector (D,) and class probabilities (4,)."""

    def lesion_probability(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probability of acute infarct (96, 112, 48)."""


Search = Callable[[NDArray[np.float32], int], tuple[SimilarCase, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """Truth: recipe, infarct_type, volume_ml (on the DWI grid), side, in_posterior_fossa (at least half of the lesion).
    Said: vector (D,), odds (4,) of the linear head, similar (up to DEEPEST, best first), lesion_map (None where the
    encoder has no decoder or was not asked)."""

    recipe: CaseRecipe
    infarct_type: InfarctType | None
    volume_ml: float
    side: str | None
    in_posterior_fossa: bool
    vector: NDArray[np.float32]
    odds: NDArray[np.float32]
    similar: tuple[SimilarCase, ...]
    lesion_map: MapScore | None

    @property
    def truth(self) -> Territory:
        """The class of the query."""
        return self.recipe.territory

    @property
    def head(self) -> Territory:
        """The class that the linear head says."""
        return _CLASSES[int(self.odds.argmax())]

    @property
    def vote(self) -> Territory:
        """The class that the five most similar cases vote for, as in the product."""
        return vote(self.similar[:_VOTERS])


def answers_of(encoder: Classifier, search: Search, paths: Iterable[Path], *, with_maps: bool) -> list[Answer]:
    """The answers to the stored cases, which are read one at a time (training.cases.load_case)."""
    answers = []
    for path in paths:
        case = load_case(path)
        x = case.array.astype(np.float32)
        vector, odds = encoder.encode_and_classify(x)
        answers.append(
            Answer(
                recipe=case.recipe,
                infarct_type=case.finding.infarct_type,
                volume_ml=case.volume_ml,
                side=case.side,
                in_posterior_fossa=share_in_posterior_fossa(case.lesion) >= 0.5,
                vector=vector,
                odds=odds,
                similar=search(vector, DEEPEST),
                lesion_map=score_map(encoder.lesion_probability(x), case.lesion) if with_maps else None,
            )
        )
    return answers


def confusion(truths: Sequence[Territory], said: Sequence[Territory]) -> list[list[int]]:
    """(4, 4): rows truth, columns what was said, in the order of Territory."""
    counted = np.zeros((len(_CLASSES), len(_CLASSES)), dtype=np.int64)
    for truth, one in zip(truths, said, strict=True):
        counted[_CLASSES.index(truth), _CLASSES.index(one)] += 1
    table: list[list[int]] = counted.tolist()
    return table
