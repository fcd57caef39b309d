"""A day of a department, compressed: which studies come when, of what kind, and in how many sendings.

Times are fractions of the day's 24 hours put into as many seconds as are wanted; nothing here sends.
"""

from __future__ import annotations

import random
from bisect import bisect
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate


class Kind(StrEnum):
    """What a study is like."""

    ROUTINE = "DWI and ADC"
    EXAM = "the same among other series"
    STAT = "STAT"
    RESENT = "sent twice"
    PARTS = "DWI, and later ADC"
    LATE = "its last slices after the report"
    EARLY = "declared counts, other series behind"
    UNUSABLE = "no DWI, or no ADC"


@dataclass(frozen=True)
class Sending:
    """One association. part: 0, or 1 for what comes later of the same study."""

    at_s: float
    study_uid: str
    kind: Kind
    part: int


# Chosen, studies begun in each hour: a quiet night, a peak before noon and one in the afternoon, an evening for
# emergencies.
_BY_HOUR = (1, 1, 1, 1, 1, 1, 2, 4, 7, 9, 10, 9, 5, 6, 9, 10, 9, 6, 4, 3, 3, 2, 2, 1)
_HOURS_S = 3600.0
# Chosen: in a hundred studies. Every kind that sends twice is rarer in a real department.
_OF_100 = {
    Kind.ROUTINE: 44, Kind.EXAM: 14, Kind.STAT: 8, Kind.RESENT: 6, Kind.PARTS: 6, Kind.LATE: 6, Kind.EARLY: 10,
    Kind.UNUSABLE: 6,
}  # fmt: skip
_BURST, _IN_BURSTS = 4, 0.25  # so many scanners end at once; the share of studies that come so
_SECOND_PART = {Kind.RESENT, Kind.PARTS, Kind.LATE, Kind.EARLY}


def plan_day(studies: int, length_s: float, second_part_after_s: tuple[float, float], seed: int) -> list[Sending]:
    """Sendings in the order of their times, from 0 to `length_s` (a second part comes the given time after its first,
    and may come later than that). Of each kind there is its share, of every kind at least one."""
    draw = random.Random(seed)
    kinds = _kinds(studies)
    draw.shuffle(kinds)
    sendings: list[Sending] = []
    for at_s, kind in zip(_times(studies, length_s, draw), kinds, strict=True):
        study_uid = f"2.25.{draw.getrandbits(100)}"
        sendings.append(Sending(at_s, study_uid, kind, 0))
        if kind in _SECOND_PART:
            after_s = 0.0 if kind is Kind.EARLY else draw.uniform(*second_part_after_s)
            sendings.append(Sending(at_s + after_s, study_uid, kind, 1))
    return sorted(sendings, key=lambda one: (one.at_s, one.study_uid, one.part))


def _kinds(studies: int) -> list[Kind]:
    rest = [kind for kind, share in _OF_100.items() for _ in range(studies * share // 100 - 1)]
    kinds = [*Kind, *rest][:studies]
    return [*kinds, *[Kind.ROUTINE] * (studies - len(kinds))]


def _times(studies: int, length_s: float, draw: random.Random) -> list[float]:
    bounds = list(accumulate(_BY_HOUR))
    day_s = len(_BY_HOUR) * _HOURS_S

    def moment() -> float:
        place = draw.uniform(0, bounds[-1])
        hour = min(bisect(bounds, place), len(_BY_HOUR) - 1)
        before = bounds[hour] - _BY_HOUR[hour]
        return (hour + (place - before) / _BY_HOUR[hour]) * _HOURS_S * length_s / day_s

    times: list[float] = []
    while len(times) < studies:
        together = _BURST if draw.random() < _IN_BURSTS / _BURST / (1 - _IN_BURSTS) else 1
        times += [moment()] * min(together, studies - len(times))
    return times
