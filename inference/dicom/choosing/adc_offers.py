"""What a series can serve as for the ADC map: the map as sent, or one fitted to its images of several b values."""

from __future__ import annotations

from collections.abc import Sequence

from pirtad.inference.dicom.choosing.candidates import (
    Offers,
    add,
    by_b_value,
    is_declared_trace,
    offer_sent,
    reject,
    stacks,
    traceable,
    unusable,
    why_not_whole,
)
from pirtad.inference.dicom.choosing.layers import layers_of, split
from pirtad.inference.dicom.choosing.overlap import same_grid
from pirtad.inference.dicom.choosing.recipes import AdcFit, Level
from pirtad.inference.dicom.choosing.rules import SelectionRules
from pirtad.inference.dicom.frames import Frame, Series
from pirtad.inference.dicom.kinds import WEIGHTED, Kind, b_in_words
from pirtad.inference.errors import StudyNotUsable

# Chosen; see docs/adr/0002-choosing-dwi-and-adc.md.
MAX_LOW_B_S_PER_MM2 = 100.0
"""The lowest b value of an ADC fit: beyond, no image without much weighting anchors the line."""
MIN_B_SPAN_S_PER_MM2 = 500.0
"""Between lowest and highest b value of an ADC fit: with less, noise makes the slope."""


def adc_offers(series: Series, rules: SelectionRules) -> Offers:
    """Every ADC map that the series can give: as sent, or fitted to its images of several b values."""
    offers = Offers()
    maps = [frame for frame in series.frames if frame.diffusion.kind is Kind.ADC]
    if maps:
        if problem := unusable(series, maps):
            offers.rejections.append(problem)
        else:
            for stacked in stacks(series, maps, offers):
                offer_sent(series, stacked, None, offers)
    if rules.compute_adc:
        _offer_fits(series, rules, offers)
    return offers


def _offer_fits(series: Series, rules: SelectionRules, offers: Offers) -> None:
    """One ADC fit for every orientation that has images of enough b values."""
    used = [frame for frame in series.frames if frame.diffusion.kind in WEIGHTED or frame.diffusion.kind is Kind.B0]
    low = [frame for frame in used if _b(frame) <= MAX_LOW_B_S_PER_MM2]
    if not low or len(low) == len(used) or unusable(series, used):
        return
    if why_not := why_not_whole(series):
        offers.rejections.append(reject(series, "no_adc_fit", f"no ADC map can be computed: {why_not}"))
        return
    for frames in split(used):
        try:
            recipe = _fit(frames, rules)
        except StudyNotUsable as error:
            offers.rejections.append(reject(series, "no_adc_fit", f"no ADC map can be computed: {error.reason}"))
            continue
        add(series, recipe, None, offers)


def _fit(frames: Sequence[Frame], rules: SelectionRules) -> AdcFit:
    levels = [
        level
        for b, group in by_b_value(frames).items()
        if b <= rules.b_values.maximum and (level := _level(b, group)) is not None
    ]
    b_values = [level.b_value_s_per_mm2 for level in levels]
    if len(levels) < 2 or b_values[0] > MAX_LOW_B_S_PER_MM2 or b_values[-1] - b_values[0] < MIN_B_SPAN_S_PER_MM2:
        found = ", ".join(map(b_in_words, b_values)) or "none"
        raise StudyNotUsable("no_adc_fit", f"isotropic images of b {found} s/mm2 make no line")
    lead = levels[0].layers.stack
    if not all(same_grid(lead, level.layers.stack) for level in levels[1:]):
        raise StudyNotUsable("broken_geometry", "the images of its b values do not lie on one grid")
    return AdcFit(tuple(levels))


def _level(b: float, frames: Sequence[Frame]) -> Level | None:
    """The images of one b value as a point of the fit, or None where they give no isotropic one."""
    kinds = {frame.diffusion.kind for frame in frames}
    if kinds == {Kind.B0}:
        return Level(b, layers_of(frames), averaged=True)
    if traces := [frame for frame in frames if is_declared_trace(frame)]:
        return Level(b, layers_of(traces), averaged=False)
    if undeclared := [frame for frame in frames if frame.diffusion.kind in (Kind.TRACE, Kind.DWI)]:
        layers = layers_of(undeclared)
        if layers.depth == 1:
            return Level(b, layers, averaged=False)
    directions = [frame for frame in frames if frame.diffusion.kind is Kind.DIRECTION]
    return Level(b, traceable(directions), averaged=False) if directions else None


def _b(frame: Frame) -> float:
    b = frame.diffusion.b_value_s_per_mm2
    return float("inf") if b is None else b
