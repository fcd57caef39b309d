"""Which DWI goes with which ADC map."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pirtad.inference.dicom.choosing.candidates import Candidate, is_declared_trace
from pirtad.inference.dicom.choosing.inspection import Refusal
from pirtad.inference.dicom.choosing.overlap import lost_slices, mismatch, same_grid
from pirtad.inference.dicom.choosing.rules import Repeats, SelectionRules
from pirtad.inference.dicom.choosing.scoring import LEVEL, Score, same_acquisition, score, site_score, times
from pirtad.inference.dicom.kinds import SAME_B_VALUE_S_PER_MM2, b_in_words


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A DWI and its ADC map, and how well they serve."""

    dwi: Candidate
    adc: Candidate
    score: Score

    @property
    def because(self) -> str:
        """What speaks for it, in a line."""
        plane = "axial" if self.dwi.stack.axial else "not axial"
        grid = "on one grid" if same_grid(self.dwi.stack, self.adc.stack) else "on different grids"
        together = ", acquired together" if same_acquisition(self.dwi, self.adc) else ""
        trace, adc = ("computed" if one.computed else "sent" for one in (self.dwi, self.adc))
        b = b_in_words(self.dwi.b_value_s_per_mm2 or 0)
        return f"b {b} s/mm2, {trace} trace, {adc} ADC map, {plane}, {grid}{together}; score {self.score.total:.1f}"


def best_pair(dwi: Sequence[Candidate], adc: Sequence[Candidate], rules: SelectionRules) -> Pair | Refusal:
    """The one best pair, or why there is none: "pair_mismatch", "ambiguous", "broken_geometry" (a slice is lost)."""
    fitting = [(one, other) for one in dwi for other in adc if _mismatch(one, other) is None]
    if not fitting:
        reasons = {_mismatch(one, other) for one in dwi for other in adc} - {None}
        return Refusal(
            "pair_mismatch",
            f"{len(dwi)} DWI and {len(adc)} ADC candidates, none belong together: "
            f"{'; '.join(sorted(map(str, reasons)))}",
            "Check in `pirtad inspect` whether the ADC map of this acquisition was sent.",
        )
    pairs = sorted((Pair(one, other, score(one, other, dwi, rules)) for one, other in fitting), key=_order)
    best = pairs[0]
    level = [pair for pair in pairs if best.score.total - pair.score.total < LEVEL]
    if look_alikes := _look_alikes(best.dwi, dwi, rules):
        return _undeclared(look_alikes)
    if len(level) > 1:
        if rules.repeats is not Repeats.LAST or not _told_apart(level):
            return _ambiguous(level)
        best = max(level, key=_moment)
    lost = lost_slices(best.dwi.stack, best.adc.stack)
    if lost:
        return Refusal(
            "broken_geometry",
            f"DWI has {best.dwi.stack.shape[2]} slices and ADC {best.adc.stack.shape[2]} on one grid: "
            f"{lost} image(s) seem to be missing",
            "Compare the number of images with the archive's and send the study again.",
        )
    return best


def _order(pair: Pair) -> tuple[float, str, str]:
    """Best first; UIDs only make the order the same every time."""
    return -pair.score.total, pair.dwi.series.series_uid, pair.adc.series.series_uid


def _mismatch(dwi: Candidate, adc: Candidate) -> str | None:
    return mismatch(dwi.stack, adc.stack, one_series=dwi.series is adc.series)


def _look_alikes(chosen: Candidate, dwi: Sequence[Candidate], rules: SelectionRules) -> list[Candidate]:
    """Undeclared images of one b value on one grid, if there are several volumes of them: a trace and a repetition, or
    three directions; nothing says which. Empty where the chosen one is declared, computed, alone, or preferred by a
    rule of the site."""
    if chosen.computed or all(map(is_declared_trace, chosen.frames)) or site_score(chosen, rules) > 0:
        return []
    alike = [
        other
        for other in dwi
        if not other.computed
        and not all(map(is_declared_trace, other.frames))
        and abs((other.b_value_s_per_mm2 or 0) - (chosen.b_value_s_per_mm2 or 0)) <= SAME_B_VALUE_S_PER_MM2
        and same_grid(other.stack, chosen.stack)
    ]
    return alike if len(alike) > 1 else []


def _numbers(candidates: Iterable[Candidate]) -> str:
    found = sorted({candidate.series.instances[0].series_number for candidate in candidates})
    return ", ".join(f"{number:g}" for number in found)


_BY_RULE = "say which to take with `ignore` or `score` in [[series.rules]] of pirtad.toml, then `pirtad retry`."


def _undeclared(alike: Sequence[Candidate]) -> Refusal:
    return Refusal(
        "ambiguous",
        f"{len(alike)} volumes of one b value and nothing that marks one as the trace (series {_numbers(alike)}): "
        "they may be single directions",
        f"Compare them with `pirtad volume`; {_BY_RULE}",
    )


def _ambiguous(level: Sequence[Pair]) -> Refusal:
    dwi, adc = {id(pair.dwi): pair.dwi for pair in level}, {id(pair.adc): pair.adc for pair in level}
    repeated = 'If it is a repeated acquisition, `repeats = "last"` under [series] takes the last; else '
    return Refusal(
        "ambiguous",
        f"{len(level)} pairs of DWI and ADC fit equally well ({len(dwi)} DWI of series {_numbers(dwi.values())}, "
        f"{len(adc)} ADC of series {_numbers(adc.values())})",
        f"{repeated if _told_apart(level) else 'Two renditions of one acquisition? '}{_BY_RULE}",
    )


def _moment(pair: Pair) -> tuple[str, str]:
    return max(times(pair.dwi), default=""), max(times(pair.adc), default="")


def _told_apart(level: Sequence[Pair]) -> bool:
    """Whether acquisition times, all with a date or all without, say which of the repetitions came last."""
    moments = [_moment(pair) for pair in level]
    latest = max(moments)
    lengths = {len(moment) for pair in moments for moment in pair}
    return all(latest) and len(lengths) == 1 and moments.count(latest) == 1
