"""Which volumes of a study are the DWI and the ADC map, and why no other ones are.

The rules and their reasons: docs/adr/0002-choosing-dwi-and-adc.md. A choice that is not clear is refused: a report
drafted from the wrong images is worse than none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pirtad.inference.dicom.choosing.adc_offers import adc_offers
from pirtad.inference.dicom.choosing.candidates import Candidate, Offers, Rejection
from pirtad.inference.dicom.choosing.dwi_offers import dwi_offers
from pirtad.inference.dicom.choosing.inspection import Inspection, Refusal, inspected
from pirtad.inference.dicom.choosing.not_offered import plain_rejection
from pirtad.inference.dicom.choosing.pairing import Pair, best_pair
from pirtad.inference.dicom.choosing.remarks import remarks_on
from pirtad.inference.dicom.choosing.rules import DEFAULT_RULES, SelectionRules, SeriesRule
from pirtad.inference.dicom.choosing.scoring import Score
from pirtad.inference.dicom.choosing.study_checks import whole_study
from pirtad.inference.dicom.frames import Frame, Series
from pirtad.inference.dicom.kinds import WEIGHTED, Diffusion, Kind
from pirtad.inference.errors import StudyNotUsable


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """The chosen volumes, why they were chosen, what a reader must know of them, and a reason for every other series.

    adc_unit_mm2_per_s: what a site rule says the map's unit is; None where none does.
    """

    study_uid: str
    dwi: Candidate
    adc: Candidate
    score: Score
    remarks: tuple[str, ...]
    rejected: tuple[Rejection, ...]
    adc_unit_mm2_per_s: float | None = None

    @property
    def b_value_s_per_mm2(self) -> float:
        """Of the DWI."""
        assert self.dwi.b_value_s_per_mm2 is not None  # every DWI candidate has one
        return self.dwi.b_value_s_per_mm2


def choose_pair(series: Sequence[Series], rules: SelectionRules = DEFAULT_RULES) -> Choice:
    """The DWI and the ADC map of one study.

    Raises:
        StudyNotUsable: "no_images", "several_studies", "two_patients", "not_mr", "not_brain", "no_dwi", "no_adc",
            "pair_mismatch", "ambiguous", or, where the only series that could serve all fail for one and the same
            reason, the code of that reason (`Rejection.code`), e.g. "too_few_slices" or "broken_geometry".
    """
    verdict = _judge(series, rules)
    if verdict.refusal is not None:
        raise StudyNotUsable(verdict.refusal.code, verdict.refusal.reason, verdict.refusal.hint)
    pair = verdict.pair
    assert pair is not None  # a verdict is a pair or a refusal
    rule = _rule(pair.adc.series, rules)
    return Choice(
        pair.dwi.series.study_uid,
        pair.dwi,
        pair.adc,
        pair.score,
        remarks_on(pair, rules),
        tuple(reason for reason in verdict.rejections if reason is not None),
        rule.adc_unit_mm2_per_s if rule and not pair.adc.computed else None,
    )


def inspect_series(series: Sequence[Series], rules: SelectionRules = DEFAULT_RULES) -> Inspection:
    """The same decision as a table for people; a study that is not usable is described, never raised."""
    verdict = _judge(series, rules)
    remarks = remarks_on(verdict.pair, rules) if verdict.pair else ()
    return inspected(verdict.series, verdict.pair, verdict.rejections, verdict.refusal, remarks)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """Either a pair or a refusal; `rejections` goes along with `series`, None for a chosen one."""

    series: tuple[Series, ...]
    pair: Pair | None
    refusal: Refusal | None
    rejections: tuple[Rejection | None, ...]


@dataclass(slots=True)
class _Series:
    """One series and what it offers."""

    series: Series
    dwi: Offers = field(default_factory=Offers)
    adc: Offers = field(default_factory=Offers)
    ignored: bool = False
    ruled: bool = False

    def rejection(self, otherwise: tuple[str, str]) -> Rejection:
        """Why it was not taken; `otherwise` where it could have been."""
        if self.ignored:
            return self._because("ignored_by_rule", "a rule of this site keeps it out")
        if self.dwi.candidates or self.adc.candidates:
            return self._because(*otherwise)
        for found in (*self.dwi.rejections, *self.adc.rejections):
            return found
        if self.ruled:
            return self._because("ignored_by_rule", "a rule of this site says that it is neither DWI nor ADC map")
        return plain_rejection(self.series)

    def _because(self, code: str, reason: str) -> Rejection:
        return Rejection(self.series.series_uid, self.series.description, code, reason)


def _judge(series: Sequence[Series], rules: SelectionRules) -> _Verdict:
    offered = [_offered(one, rules) for one in series]
    refusal = whole_study([one.series for one in offered])
    pair: Pair | None = None
    if refusal is None:
        dwi = [candidate for one in offered for candidate in one.dwi.candidates]
        adc = [candidate for one in offered for candidate in one.adc.candidates]
        if not dwi:
            limits = rules.b_values
            wanted = f"DWI series with b between {limits.minimum:g} and {limits.maximum:g} s/mm2"
            refusal = _missing("no_dwi", wanted, offered, [one.dwi.rejections for one in offered])
        elif not adc:
            refusal = _missing("no_adc", "ADC map", offered, [one.adc.rejections for one in offered])
        else:
            found = best_pair(dwi, adc, rules)
            if isinstance(found, Pair):
                pair = found
            else:
                refusal = found
    rejections = tuple(_unless_chosen(one, pair, refusal) for one in offered)
    return _Verdict(tuple(one.series for one in offered), pair, refusal, rejections)


def _offered(series: Series, rules: SelectionRules) -> _Series:
    rule = _rule(series, rules)
    if rule is not None and rule.ignore:
        return _Series(series, ignored=True)
    meant = _as_ruled(series, rule) if rule is not None else series
    ruled = rule is not None and rule.kind is not None
    return _Series(meant, dwi_offers(meant, rules), adc_offers(meant, rules), ruled=ruled)


def _rule(series: Series, rules: SelectionRules) -> SeriesRule | None:
    return rules.rule_for(series.description, series.instances[0].manufacturer)


def _as_ruled(series: Series, rule: SeriesRule) -> Series:
    """The series with what the site says of it in place of what its headers say."""
    if rule.kind is None and rule.b_value_s_per_mm2 is None:
        return series
    return replace(series, frames=tuple(_frame_as_ruled(frame, rule) for frame in series.frames))


_RULED = "a rule of this site"


def _frame_as_ruled(frame: Frame, rule: SeriesRule) -> Frame:
    found = frame.diffusion
    stated = found.b_value_s_per_mm2
    if rule.kind is Kind.B0:
        return replace(frame, diffusion=Diffusion(Kind.B0, 0.0, because=_RULED))
    if found.kind is Kind.B0 and rule.kind in (None, *WEIGHTED) and not found.inferred:
        return frame  # what the rule says of the series' weighted images is not said of these
    kind = found.kind if rule.kind is None else rule.kind
    if rule.kind is None and kind not in WEIGHTED:
        return frame
    if kind not in WEIGHTED:
        return replace(frame, diffusion=Diffusion(kind, because=_RULED))
    silent = stated is None or (found.kind is Kind.B0 and found.inferred)
    b = rule.b_value_s_per_mm2 if silent else stated
    # Inferred: so that several images a slice are not taken for repetitions of one trace.
    return replace(frame, diffusion=Diffusion(kind, b, found.direction, _RULED, inferred=True))


def _unless_chosen(one: _Series, pair: Pair | None, refusal: Refusal | None) -> Rejection | None:
    if pair is None:
        code = refusal.code if refusal else ""
        return one.rejection(("study_refused", f"usable by itself, but the study is refused: {code}"))
    if one.series in (pair.dwi.series, pair.adc.series):
        return None
    return one.rejection(("not_preferred", "usable, but another pair fits better: " + pair.because))


def _missing(code: str, wanted: str, offered: Sequence[_Series], near: Sequence[Sequence[Rejection]]) -> Refusal:
    failed = [rejection for rejections in near for rejection in rejections]
    reason = f"no {wanted}: {len(offered)} series looked at"
    hint = _hint(wanted, {one.code for one in failed}, offered)
    if failed:
        reason += f"; {len({one.series_uid for one in failed})} of them came near: "
        reason += "; ".join(sorted({one.reason for one in failed}))
        codes = {one.code for one in failed} - _PLAIN_MISS
        if len(codes) == 1:
            return Refusal(codes.pop(), reason, hint)
    else:
        unclear = _unclear(offered)
        reason += f", none is one{f' ({unclear} unclear)' if unclear else ''}"
    return Refusal(code, reason, hint)


def _unclear(offered: Sequence[_Series]) -> int:
    """How many series hold images whose header does not say what they are."""
    return sum(any(frame.diffusion.kind is Kind.UNCLEAR for frame in one.series.frames) for one in offered)


def _hint(wanted: str, codes: set[str], offered: Sequence[_Series]) -> str:
    """What an operator can do about it, by the cause."""
    if codes & _LOST:
        return "Compare the number of images with the archive's, send the study again, then `pirtad retry`."
    if codes & _UNDECLARED or _unclear(offered):
        rule = "say what the series is in [[series.rules]] of pirtad.toml, then `pirtad retry`."
        return f"`pirtad inspect` tells what each header says; if you know better, {rule}"
    return f"`pirtad inspect` lists every series; check that the protocol sends the {wanted} to this destination."


# Reasons that say in other words that there is no such series.
_PLAIN_MISS = {"b_value_out_of_range", "not_mr", "no_adc_fit"}
_LOST = {"broken_geometry", "duplicate_slices"}
_UNDECLARED = {"b_value_unknown", "not_trace"}
