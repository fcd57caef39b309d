"""What an encoder is worth on held-out simulated cases: its head, and retrieval among them with each left out once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.evaluation.intervals import Bootstrap, Interval
from pirtad.inference.findings import Territory
from pirtad.inference.models.encoder import Encoder
from pirtad.inference.report.report import SimilarCase
from pirtad.inference.simulation.lesion_masks import LesionFiles, is_for_testing, open_masks
from pirtad.inference.training import seeds
from pirtad.inference.training.cases import CaseRecipe, SimulatedCase, load_case
from pirtad.inference.training.metrics import score_retrieval

_NEIGHBOURS = 5


@dataclass(frozen=True, slots=True)
class HeldOutScore:
    """head_accuracy: multi-class Acc@1 of the linear head; head_by_class: its recall of each class. map_at_1,
    map_at_5: PIRTA section 2.3.3, AP@n normalised by the relevant cases among the n retrieved."""

    cases: int
    head_accuracy: Interval
    head_by_class: dict[str, float]
    map_at_1: Interval
    map_at_5: float


def held_out_recipes(count: int, scanner_name: str, files: LesionFiles | None) -> list[CaseRecipe]:
    """The first `count` seeds of seeds.TEST, the classes in turn; with files, infarcts show the real lesions that
    training leaves out (lesion_masks.is_for_testing), in turn."""
    by_class: dict[Territory, list[str]] = {territory: [] for territory in Territory}
    if files is not None:
        masks = open_masks(files)
        for subject in filter(is_for_testing, masks.subjects):
            by_class[masks.territory(subject)].append(subject)
    recipes = []
    for seed in seeds.first(seeds.TEST, count):
        territory = seeds.territory_of(seed)
        members, turn = by_class[territory], seed // len(Territory)
        recipes.append(CaseRecipe(seed, territory, members[turn % len(members)] if members else None, scanner_name))
    return recipes


def score(encoder: Encoder, paths: Sequence[Path]) -> HeldOutScore:
    """Encode the cases and score them; a query never meets itself or another case with its lesion.

    Raises ValueError for fewer than two cases.
    """
    if len(paths) < 2:
        raise ValueError(f"{len(paths)} held-out cases are not enough to retrieve among")
    recipes, truths, vectors, chosen = [], [], [], []
    for path in paths:
        case: SimulatedCase = load_case(path)
        vector, odds = encoder.encode_and_classify(case.array.astype(np.float32))
        recipes.append(case.recipe)
        truths.append(case.finding.territory)
        vectors.append(vector)
        chosen.append(tuple(Territory)[int(odds.argmax())])
    retrieved = _neighbours(np.stack(vectors), recipes, truths)
    retrieval = score_retrieval(truths, retrieved)
    right = np.array([guess is truth for guess, truth in zip(chosen, truths, strict=True)], dtype=np.float64)
    hits = np.array(
        [near[0].territory is truth for near, truth in zip(retrieved, truths, strict=True)], dtype=np.float64
    )
    # Cases of one lesion are not independent: they are drawn together.
    bootstrap = Bootstrap([recipe.subject or recipe.name for recipe in recipes], seed=0)
    head_accuracy, map_at_1 = bootstrap.mean(right), bootstrap.mean(hits)
    assert head_accuracy is not None
    assert map_at_1 is not None  # there are cases
    return HeldOutScore(
        cases=len(paths),
        head_accuracy=head_accuracy,
        head_by_class={
            str(territory): float(right[members].mean())
            for territory in Territory
            if (members := [row for row, truth in enumerate(truths) if truth is territory])
        },
        map_at_1=map_at_1,
        map_at_5=retrieval.map_at_5,
    )


def _neighbours(
    vectors: NDArray[np.float32], recipes: Sequence[CaseRecipe], truths: Sequence[Territory]
) -> list[list[SimilarCase]]:
    """For each case the others most similar to it, best first; vectors (N, D) of length one."""
    similarity = vectors @ vectors.T
    for row, one in enumerate(recipes):
        for column, other in enumerate(recipes):
            if row == column or (one.subject is not None and one.subject == other.subject):
                similarity[row, column] = -np.inf
    found = []
    for row in similarity:
        best = [int(column) for column in np.argsort(-row, kind="stable")[:_NEIGHBOURS] if np.isfinite(row[column])]
        if not best:
            raise ValueError("every held-out case shows the same lesion: nothing to retrieve")
        found.append([SimilarCase(recipes[column].name, float(row[column]), truths[column], "") for column in best])
    return found
