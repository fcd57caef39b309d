"""Measures of one ranked list (PIRTA section 2.3.3), for all queries at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.findings import Territory
from pirtad.inference.report.report import SimilarCase


def hits_of(truths: Sequence[Territory], retrieved: Sequence[Sequence[SimilarCase]], n: int) -> NDArray[np.bool_]:
    """(Q, n): whether the case at each rank is of the query's class; False beyond the end of a shorter list."""
    hits = np.zeros((len(truths), n), dtype=np.bool_)
    for row, truth, cases in zip(hits, truths, retrieved, strict=True):
        row[: min(n, len(cases))] = [case.territory is truth for case in cases[:n]]
    return hits


def average_precision(hits: NDArray[np.bool_]) -> NDArray[np.float64]:
    """AP@n (Q,) of hits (Q, n).

    N is the number of relevant items within the first n: taken literally as all relevant items of the case base, the
    paper's formula could not give its values (AP@1 would be below one in a hundred). 0 where there is no hit.
    """
    precision = hits.cumsum(axis=1) / np.arange(1, hits.shape[1] + 1)
    found = hits.sum(axis=1)
    return np.asarray((precision * hits).sum(axis=1) / np.maximum(found, 1), dtype=np.float64)


def any_hit(hits: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Acc@k (Q,) of hits (Q, k): 1 where the class occurs among the first k."""
    return np.asarray(hits.any(axis=1), dtype=np.float64)


def precision(hits: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Precision@k (Q,) of hits (Q, k)."""
    return np.asarray(hits.mean(axis=1), dtype=np.float64)
