"""What a series can serve as for the DWI: its trace images, or the geometric mean of its directions."""

from __future__ import annotations

from collections.abc import Sequence

from pirtad.inference.dicom.choosing.candidates import (
    Offers,
    Rejection,
    add,
    by_b_value,
    is_declared_trace,
    offer_sent,
    offer_single,
    reject,
    stacks,
    traceable,
    unusable,
    why_not_whole,
)
from pirtad.inference.dicom.choosing.recipes import GeometricMean
from pirtad.inference.dicom.choosing.rules import SelectionRules
from pirtad.inference.dicom.frames import Frame, Series
from pirtad.inference.dicom.kinds import WEIGHTED, Kind, b_in_words
from pirtad.inference.errors import StudyNotUsable

_TRACE_OR_NOT = {Kind.TRACE, Kind.DWI}


def dwi_offers(series: Series, rules: SelectionRules) -> Offers:
    """Every DWI that the series can give: trace images, or the geometric mean of directions, b within the limits."""
    offers = Offers()
    weighted = [frame for frame in series.frames if frame.diffusion.kind in WEIGHTED]
    if not weighted:
        if any(frame.diffusion.kind is Kind.B0 for frame in series.frames):
            offers.rejections.append(_out_of_range(series, series.b_values_s_per_mm2, rules))
        return offers
    if problem := unusable(series, weighted):
        offers.rejections.append(problem)
        return offers
    groups = by_b_value(weighted)
    if not groups:
        reason = "diffusion-weighted, but neither header nor name tells one b value"
        offers.rejections.append(reject(series, "b_value_unknown", reason))
        return offers
    limits = rules.b_values
    within = {b: frames for b, frames in groups.items() if limits.minimum <= b <= limits.maximum}
    if not within:
        offers.rejections.append(_out_of_range(series, tuple(groups), rules))
    for b, frames in within.items():
        for stacked in stacks(series, frames, offers):
            _offer_dwi(series, stacked, b, rules, offers)
    return offers


def _out_of_range(series: Series, b_values: Sequence[float], rules: SelectionRules) -> Rejection:
    found = ", ".join(b_in_words(b) for b in b_values)
    wanted = f"between {rules.b_values.minimum:g} and {rules.b_values.maximum:g} s/mm2"
    return reject(series, "b_value_out_of_range", f"b {found} s/mm2, none {wanted}")


def _offer_dwi(series: Series, frames: Sequence[Frame], b: float, rules: SelectionRules, offers: Offers) -> None:
    traces = [frame for frame in frames if is_declared_trace(frame)]
    directions = [frame for frame in frames if frame.diffusion.kind is Kind.DIRECTION]
    undeclared = [frame for frame in frames if frame.diffusion.kind in _TRACE_OR_NOT and not is_declared_trace(frame)]
    if traces:
        offer_sent(series, traces, b, offers)
    elif undeclared:
        # One image a slice with nothing said about directions is a trace. More than one may be anything, whatever
        # times and numbers they carry: scanners number single directions too.
        offer_single(series, undeclared, b, offers)
    if directions and rules.compute_trace:
        _offer_mean(series, directions, b, offers)
    elif directions and not traces and not undeclared:
        reason = f"b {b_in_words(b)} images of single gradient directions, and computing a trace is switched off"
        offers.rejections.append(reject(series, "not_trace", reason))


def _offer_mean(series: Series, frames: Sequence[Frame], b: float, offers: Offers) -> None:
    if why_not := why_not_whole(series):
        offers.rejections.append(reject(series, "not_trace", f"b {b_in_words(b)}: no trace can be computed: {why_not}"))
        return
    try:
        layers = traceable(frames)
    except StudyNotUsable as error:
        offers.rejections.append(reject(series, error.code, f"b {b_in_words(b)}: {error.reason}"))
    else:
        add(series, GeometricMean(layers), b, offers)
