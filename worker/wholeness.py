"""Whether a study that is still being received has its DWI and ADC map, whole, and none better is likely to come. Pure.

The pair is chosen by the very rules that the prepare stage goes by, from what is there: what they refuse now, or may
choose otherwise later, does not start early. docs/adr/0013-content-aware-start.md has the reasons.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pirtad.inference.dicom.choosing.candidates import Candidate
from pirtad.inference.dicom.choosing.rules import SelectionRules
from pirtad.inference.dicom.choosing.scoring import AXIAL, B_VALUE, DECLARED, SAME_GRID, SENT, Score
from pirtad.inference.dicom.choosing.select import Choice, choose_pair
from pirtad.inference.dicom.frames import Series
from pirtad.inference.dicom.kinds import WEIGHTED, Kind
from pirtad.inference.errors import StudyNotUsable
from pirtad.worker.declared import Declared, counts_of
from pirtad.worker.ledger.looks import Counts, Seen

_OF_DIFFUSION = WEIGHTED | {Kind.B0, Kind.ADC, Kind.UNCLEAR}

# The terms in which another pair could be clearly better, at their best: what is left are coverage and sharpness.
_BEST = {
    "b_value": B_VALUE,
    "trace_declared": DECLARED,
    "trace_sent": SENT,
    "adc_sent": SENT,
    "axial": AXIAL,
    "same_grid": SAME_GRID,
}


def seen_in(
    series: Sequence[Series],
    rules: SelectionRules,
    declared: Callable[[Path], Declared],
    in_archive: Callable[[tuple[str, ...]], Mapping[str, int]],
) -> Seen:
    """What a study's headers show. in_archive: images of these series in the archive, as far as it can be asked; it is
    asked only where the answer decides."""
    known = frozenset(one.series_uid for one in series)
    plain = known - {one.series_uid for one in series if not _is_plain(one, rules)}
    try:
        choice = choose_pair(series, rules)
    except StudyNotUsable as error:
        return Seen(False, Counts.UNSTATED, (), known, plain, error.code, error.reason)
    is_clear = _is_clear(choice, rules)
    counts = _counts(choice, series, declared, in_archive) if is_clear else Counts.UNSTATED
    return Seen(is_clear, counts, _used(choice.dwi, choice.adc), known, plain)


def _is_plain(series: Series, rules: SelectionRules) -> bool:
    """Whether no image of the series, nor one that is still to come of it, can be of a pair as far as can be told."""
    rule = rules.rule_for(series.description, series.instances[0].manufacturer)
    if rule is not None and rule.kind is not None and not rule.ignore:
        return False
    return all(frame.diffusion.kind not in _OF_DIFFUSION for frame in series.frames)


def _is_clear(choice: Choice, rules: SelectionRules) -> bool:
    """The scanner's own trace and map, declared and on one grid; and no site rule that would prefer others."""
    terms = _terms(choice.score)
    preferred = max((rule.score for rule in rules.series), default=0.0)
    return all(terms[name] >= best for name, best in _BEST.items()) and terms["site_rules"] >= max(0.0, preferred)


def _terms(score: Score) -> dict[str, float]:
    return dict(score.terms)


def _counts(
    choice: Choice,
    series: Sequence[Series],
    declared: Callable[[Path], Declared],
    in_archive: Callable[[tuple[str, ...]], Mapping[str, int]],
) -> Counts:
    received: Counter[str] = Counter()
    for one in series:
        received[one.series_uid] += len(one.instances)
    pair = (choice.dwi, choice.adc)
    counts = counts_of(pair, received, declared, {})
    if counts is not Counts.UNSTATED:
        return counts
    return counts_of(pair, received, declared, in_archive(tuple({one.series.series_uid for one in pair})))


def _used(dwi: Candidate, adc: Candidate) -> tuple[str, ...]:
    return tuple(sorted({frame.instance.sop_instance_uid for frame in (*dwi.frames, *adc.frames)}))
