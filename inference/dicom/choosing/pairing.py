"""Which DWI goes with which ADC map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pirtad.inference.dicom.choosing.candidates import Candidate
from pirtad.inference.dicom.choosing.inspection import Refusal
from pirtad.inference.dicom.choosing.overlap import lost_slices, mismatch, same_grid
from pirtad.inference.dicom.choosing.rules import Repeats, SelectionRules
from pirtad.inference.dicom.choosing.scoring import LEVEL, Score, same_acquisition, score, times
from pirtad.inference.dicom.kinds import b_in_words


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
    fitting = [(one, other) for one in dwi for other in adc if mismatch(one.stack, other.stack) is None]
    if not fitting:
        reasons = {mismatch(one.stack, other.stack) for one in dwi for other in adc} - {None}
        return Refusal(
            "pair_mismatch",
            f"{len(dwi)} DWI and {len(adc)} ADC candidates, none belong together: "
            f"{'; '.join(sorted(map(str, reasons)))}",
            "Check in `pirtad inspect` whether the ADC map of this acquisition was sent.",
        )
    pairs = sorted((Pair(one, other, score(one, other, rules)) for one, other in fitting), key=_order)
    best = pairs[0]
    level = [pair for pair in pairs if best.score.total - pair.score.total < LEVEL]
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


def _ambiguous(level: Sequence[Pair]) -> Refusal:
    return Refusal(
        "ambiguous",
        f"{len(level)} pairs of DWI and ADC fit equally well "
        f"({len({id(pair.dwi) for pair in level})} DWI, {len({id(pair.adc) for pair in level})} ADC candidates)",
        'A repeated acquisition? Send only the series to be read, or set `repeats = "last"` under [series] in '
        "pirtad.toml, then `pirtad retry`.",
    )


def _moment(pair: Pair) -> tuple[str, str]:
    return max((moment for _, moment in times(pair.dwi)), default=""), max(
        (moment for _, moment in times(pair.adc)), default=""
    )


def _told_apart(level: Sequence[Pair]) -> bool:
    """Whether acquisition times say which of the repetitions came last."""
    moments = [_moment(pair) for pair in level]
    latest = max(moments)
    return all(latest) and moments.count(latest) == 1
