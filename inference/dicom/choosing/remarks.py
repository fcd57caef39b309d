"""What a reader of the report must know of the images it was drafted from: sentences for report and SR."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pirtad.inference.dicom.choosing.recipes import AdcFit, GeometricMean
from pirtad.inference.dicom.choosing.rules import SelectionRules
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
    return tuple(found)
