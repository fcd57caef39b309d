"""Retrieval metrics of PIRTA, section 2.3.3, and the vote that the product takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pirtad.inference.evaluation.ranking import any_hit, average_precision, hits_of
from pirtad.inference.findings import Territory
from pirtad.inference.report.report import SimilarCase

_CLASSES = tuple(Territory)


@dataclass(frozen=True, slots=True)
class RetrievalScore:
    """Shares in [0, 1] over all queries. map_at_1 equals accuracy_at_1 by the paper's definition (N relevant items of
    the one retrieved); vote_accuracy: of the class with the largest summed similarity among the five.
    by_class: vote accuracy of each class. confusion: (4, 4), rows truth, columns vote, in the order of Territory."""

    queries: int
    map_at_1: float
    map_at_5: float
    accuracy_at_1: float
    accuracy_at_5: float
    vote_accuracy: float
    by_class: dict[str, float]
    confusion: list[list[int]]


def score_retrieval(truths: Sequence[Territory], retrieved: Sequence[Sequence[SimilarCase]]) -> RetrievalScore:
    """Score the cases retrieved (best first) for queries of known class. Raises ValueError for no queries."""
    if not truths or len(truths) != len(retrieved):
        raise ValueError(f"{len(truths)} truths for {len(retrieved)} queries")
    pairs = list(zip(truths, retrieved, strict=True))
    hits = hits_of(truths, retrieved, 5)
    confusion = np.zeros((len(_CLASSES), len(_CLASSES)), dtype=np.int64)
    for truth, cases in pairs:
        confusion[_CLASSES.index(truth), _CLASSES.index(vote(cases))] += 1
    totals = confusion.sum(axis=1)
    return RetrievalScore(
        queries=len(truths),
        map_at_1=float(average_precision(hits[:, :1]).mean()),
        map_at_5=float(average_precision(hits).mean()),
        accuracy_at_1=float(any_hit(hits[:, :1]).mean()),
        accuracy_at_5=float(any_hit(hits).mean()),
        vote_accuracy=float(np.trace(confusion) / len(truths)),
        by_class={
            str(territory): float(confusion[row, row] / totals[row])
            for row, territory in enumerate(_CLASSES)
            if totals[row]
        },
        confusion=confusion.tolist(),
    )


def vote(cases: Sequence[SimilarCase]) -> Territory:
    """The class with the largest sum of similarities; the best case decides a tie."""
    sums: dict[Territory, float] = {}
    for case in cases:
        sums[case.territory] = sums.get(case.territory, 0.0) + max(case.similarity, 0.0)
    return max(sums, key=lambda territory: sums[territory])
