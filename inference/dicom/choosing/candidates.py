"""What a series can serve as: DWI or ADC map, as sent or computed; or the reason why not. One series at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from pirtad.inference.dicom.choosing.layers import Layers, layers_of, repeats, split
from pirtad.inference.dicom.choosing.modalities import modality_in_words
from pirtad.inference.dicom.choosing.recipes import AdcFit, AsSent, GeometricMean, Recipe, why_no_trace
from pirtad.inference.dicom.frames import Frame, Plane, Problem, Series
from pirtad.inference.dicom.geometry import SliceStack
from pirtad.inference.dicom.kinds import SAME_B_VALUE_S_PER_MM2, WEIGHTED, Kind, b_in_words
from pirtad.inference.errors import StudyNotUsable

# Chosen; see docs/adr/0002-choosing-dwi-and-adc.md.
MIN_SLICES = 10
MIN_COVERAGE_MM = 60.0


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a series was not taken; `code` is stable, `reason` is for an operator."""

    series_uid: str
    description: str = field(repr=False)
    code: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A volume that could be made from a series. `b_value` is None for an ADC map."""

    series: Series
    recipe: Recipe
    b_value_s_per_mm2: float | None = None

    @property
    def stack(self) -> SliceStack:
        """Where the volume lies."""
        return self.recipe.stack

    @property
    def frames(self) -> tuple[Frame, ...]:
        """The frames it is made from."""
        return self.recipe.frames

    @property
    def computed(self) -> bool:
        """Whether the scanner sent it, or we make it from others."""
        return not isinstance(self.recipe, AsSent)

    @property
    def how(self) -> str:
        """How the volume is made, in words."""
        if isinstance(self.recipe, GeometricMean):
            return f"geometric mean of {self.recipe.layers.depth} directions"
        if isinstance(self.recipe, AdcFit):
            b_values = [b_in_words(b) for b in self.recipe.b_values_s_per_mm2]
            fit = "log-linear fit" if len(b_values) == 2 else "log-linear least squares fit"
            return f"{fit} to b {', '.join(b_values[:-1])} and {b_values[-1]} s/mm2"
        return "as sent"


@dataclass(slots=True)
class Offers:
    """What one series offers for one role, and why it does not offer more."""

    candidates: list[Candidate] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)


def by_b_value(frames: Iterable[Frame]) -> dict[float, list[Frame]]:
    """Frames that state a b value, grouped by it, ascending; the group's b value is its most frequent one."""
    groups: list[list[Frame]] = []
    stated = [(frame.diffusion.b_value_s_per_mm2, frame) for frame in frames]
    for b, frame in sorted(((b, frame) for b, frame in stated if b is not None), key=lambda pair: pair[0]):
        first = groups[-1][0].diffusion.b_value_s_per_mm2 if groups else None
        if first is None or b - first > SAME_B_VALUE_S_PER_MM2:
            groups.append([])
        groups[-1].append(frame)
    return {_usual_b_value(group): group for group in groups}


def _usual_b_value(frames: Sequence[Frame]) -> float:
    counts: dict[float, int] = defaultdict(int)
    for frame in frames:
        assert frame.diffusion.b_value_s_per_mm2 is not None  # by_b_value keeps those only
        counts[frame.diffusion.b_value_s_per_mm2] += 1
    return max(sorted(counts), key=lambda b: counts[b])


def stacks(series: Series, frames: Sequence[Frame], offers: Offers) -> list[list[Frame]]:
    """The frames apart by orientation; none where a stray plane shows that the series is not what it should be."""
    groups = split(frames)
    strays = min(len(group) for group in groups)
    if len(groups) > 1 and strays < MIN_SLICES:
        reason = f"broken geometry: {strays} image(s) differ in orientation, size, spacing or frame of reference"
        offers.rejections.append(reject(series, "broken_geometry", reason))
        return []
    return groups


def is_declared_trace(frame: Frame) -> bool:
    """Whether an attribute says that this is a trace image, and not its name or a site's rule."""
    return frame.diffusion.kind is Kind.TRACE and not frame.diffusion.inferred


def offer_single(series: Series, frames: Sequence[Frame], b: float, offers: Offers) -> None:
    """Offer undeclared images as a trace if there is one a slice; "not_trace" otherwise."""
    try:
        layers = layers_of(frames)
    except StudyNotUsable as error:
        offers.rejections.append(reject(series, error.code, error.reason))
        return
    if layers.depth == 1:
        add(series, AsSent(layers), b, offers)
    else:
        reason = f"{layers.depth} images of b {b_in_words(b)} at every slice position, none of them marked as the trace"
        offers.rejections.append(reject(series, "not_trace", reason))


def offer_sent(series: Series, frames: Sequence[Frame], b: float | None, offers: Offers) -> None:
    """Offer declared images as they were sent: one a slice, or one candidate for each repetition that can be told
    apart; "duplicate_slices" where several lie at one place and nothing tells them apart."""
    try:
        layers = layers_of(frames)
        if layers.depth == 1:
            add(series, AsSent(layers), b, offers)
            return
        parts = repeats(frames, len(layers.places))
        if parts is None:
            reason = f"{layers.depth} images at every slice position, and nothing tells them apart"
            offers.rejections.append(reject(series, "duplicate_slices", reason))
            return
        for part in parts:
            add(series, AsSent(layers_of(part)), b, offers)
    except StudyNotUsable as error:
        offers.rejections.append(reject(series, error.code, error.reason))


def why_not_whole(series: Series) -> str | None:
    """Why a volume computed from this series' images might leave some of them out, or None.

    What is computed from the images that are left looks like a whole one and is not: a trace of five directions in
    place of six is several percent off. So every image of the series must tell what it is and where it lies.
    """
    for frame in series.frames:
        if isinstance(frame.plane, Problem):
            return f"an image of the series has no place: {frame.plane.reason}"
        kind, b = frame.diffusion.kind, frame.diffusion.b_value_s_per_mm2
        if kind in (Kind.OTHER, Kind.UNCLEAR):
            return f"an image of the series is {kind}"
        if b is None and (kind in WEIGHTED or kind is Kind.B0):
            return "an image of the series states no b value"
    silent = [frame for frame in series.frames if frame.diffusion.kind is Kind.B0 and frame.diffusion.inferred]
    unweighted = [frame for frame in series.frames if frame.diffusion.kind is Kind.B0]
    if silent and (len(silent) < len(unweighted) or _more_than_one_a_place(silent)):
        return "several images of one slice state no b value; one of them may be weighted"
    return None


def _more_than_one_a_place(frames: Iterable[Frame]) -> bool:
    places = [tuple(np.round(frame.plane.position, 1)) for frame in frames if isinstance(frame.plane, Plane)]
    return len(set(places)) < len(places)


def traceable(frames: Sequence[Frame]) -> Layers:
    """Directions as layers whose geometric mean is a trace; StudyNotUsable "not_trace" or "broken_geometry"."""
    layers = layers_of(frames)
    for place in layers.places:
        if why_not := why_no_trace([frame.diffusion.direction for frame in place]):
            raise StudyNotUsable("not_trace", f"no trace image, and none can be computed: {why_not}")
    return layers


def add(series: Series, recipe: Recipe, b: float | None, offers: Offers) -> None:
    """Offer a volume, if it is large enough for a brain."""
    stack = recipe.stack
    if stack.shape[2] < MIN_SLICES or stack.coverage_mm < MIN_COVERAGE_MM:
        covered = f"{stack.shape[2]} slices cover {stack.coverage_mm:.0f} mm"
        wanted = f"at least {MIN_SLICES} slices and {MIN_COVERAGE_MM:.0f} mm are needed"
        offers.rejections.append(reject(series, "too_few_slices", f"{covered}; {wanted}"))
    else:
        offers.candidates.append(Candidate(series, recipe, b))


def unusable(series: Series, frames: Sequence[Frame]) -> Rejection | None:
    """Why the pixels of these frames must not be used, or None."""
    if series.modality != "MR":
        return reject(series, "not_mr", f"modality {modality_in_words(series.modality)}, not MR")
    for frame in frames:
        if problem := frame.instance.problem:
            return reject(series, problem.code, problem.reason)
        if problem := frame.scaling.problem:
            return reject(series, problem.code, problem.reason)
    return None


def reject(series: Series, code: str, reason: str) -> Rejection:
    """A rejection of this series."""
    return Rejection(series.series_uid, series.description, code, reason)
