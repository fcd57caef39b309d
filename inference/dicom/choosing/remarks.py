"""What a reader of the report must know of the images it was drafted from: sentences for report and SR."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pirtad.inference.dicom.choosing.recipes import AdcFit, GeometricMean
from pirtad.inference.dicom.choosing.rules import SelectionRules
from pirtad.inference.dicom.choosing.scoring import times
from pirtad.inference.dicom.kinds import b_in_words

if TYPE_CHECKING:
    from pirtad.inference.dicom.choosing.pairing import Pair


def remarks_on(pair: Pair, rules: SelectionRules) -> tuple[str, ...]:
    """Sentences on what was computed and what departs from a b 1000 trace; none for an ordinary pair."""
    found = []
    b = pair.dwi.b_value_s_per_mm2
    assert b is not None  # every DWI candidate has one
    if isinstance(pair.dwi.recipe, GeometricMean):
        found.append(
            f"Trace image computed by pirtad: {pair.dwi.how} at b {b_in_words(b)} s/mm2; the scanner sent none."
        )
    if isinstance(pair.adc.recipe, AdcFit):
        found.append(f"ADC map computed by pirtad: {pair.adc.how}; the scanner sent none that could be used.")
    if abs(b - rules.b_values.near) > rules.b_values.remark_beyond:
        found.append(f"The diffusion-weighted image has b {b_in_words(b)} s/mm2, not about {rules.b_values.near:g}.")
    if not pair.dwi.stack.axial:
        found.append("The diffusion-weighted image is not axial.")
    if (minutes := _minutes_apart(pair)) > LARGEST_GAP_MINUTES:
        found.append(f"Diffusion-weighted image and ADC map were acquired {minutes:.0f} minutes apart.")
    return tuple(found)


LARGEST_GAP_MINUTES = 10.0
"""A diffusion acquisition takes one to five minutes; further apart than this, the patient may have moved. Chosen."""


def _minutes_apart(pair: Pair) -> float:
    """Between the nearest acquisition times of both that state a date, 0 where one does not."""
    dwi, adc = ([_parsed(moment) for moment in times(one)] for one in (pair.dwi, pair.adc))
    gaps = [abs((one - other).total_seconds()) / 60 for one in dwi if one for other in adc if other]
    return min(gaps, default=0.0)


def _parsed(moment: str) -> datetime | None:
    """None without a date, and for a date or time that does not exist."""
    try:
        return datetime.strptime(moment, "%Y%m%d%H%M%S.%f").replace(tzinfo=UTC)
    except ValueError:
        return None
