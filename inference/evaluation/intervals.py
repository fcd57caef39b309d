"""Percentile bootstrap intervals: all resamples of all queries as one matrix."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
_PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


class Bootstrap:
    """Draws queries with replacement, `RESAMPLES` times, the same draws for every figure."""

    def __init__(self, groups: Sequence[Hashable], seed: int, resamples: int = RESAMPLES) -> None:
        """groups: of each of Q queries. Those of one group (one lesion, simulated twice) are drawn together: they are
        not independent. Raises ValueError without queries."""
        if not groups:
            raise ValueError("no queries to resample")
        numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
        count = len(numbers)
        draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
        self._weights = draws[:, [numbers[group] for group in groups]].astype(np.float64)  # (resamples, Q)

    def mean(self, values: NDArray[np.float64], among: NDArray[np.bool_] | None = None) -> Interval | None:
        """Of values (Q,) over the queries in `among` (Q,), all if None; None where it is empty."""
        return self.mean_of_means(values, [np.ones(len(values), dtype=np.bool_) if among is None else among])

    def mean_of_means(self, values: NDArray[np.float64], classes: Sequence[NDArray[np.bool_]]) -> Interval | None:
        """Mean over the classes (Q,) of the mean of values (Q,) in each; empty classes do not count.

        A class that a resample leaves out does not count in that resample. None where all are empty.
        """
        members = np.stack([np.asarray(one, dtype=np.float64) for one in classes], axis=1)  # (Q, C)
        members = members[:, members.any(axis=0)]
        if members.shape[1] == 0:
            return None
        filled = np.where(members.any(axis=1), values, 0.0)  # what lies outside all classes may be nan
        value = float(np.mean((filled @ members) / members.sum(axis=0)))
        drawn = self._weights @ members  # (resamples, C)
        sums = self._weights @ (filled[:, None] * members)
        means = np.divide(sums, drawn, out=np.zeros_like(sums), where=drawn > 0)
        present = (drawn > 0).sum(axis=1)
        return _interval(value, (means.sum(axis=1) / np.maximum(present, 1))[present > 0])

    def median(self, values: NDArray[np.float64], among: NDArray[np.bool_]) -> Interval | None:
        """Lower median of values (Q,) over the queries in `among` (Q,); None where it is empty."""
        if not among.any():
            return None
        chosen = values[among]
        order = np.argsort(chosen, kind="stable")
        ranked = chosen[order]
        passed = self._weights[:, among][:, order].cumsum(axis=1)
        drawn = passed[passed[:, -1] > 0]
        medians = ranked[(drawn >= drawn[:, -1:] / 2).argmax(axis=1)]
        return _interval(float(ranked[(len(ranked) - 1) // 2]), medians)


def _interval(value: float, resampled: NDArray[np.float64]) -> Interval:
    low, high = np.percentile(resampled, _PERCENTILES)
    return Interval(value, float(low), float(high))
