"""May this series serve as the DWI, or as the ADC map? A candidate, or the reason why not. One series at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, MRImageStorage

from pirtad.inference.dicom.attributes import numbers, text, texts, whole
from pirtad.inference.dicom.diffusion import Kind
from pirtad.inference.dicom.geometry import SliceStack, stack_of
from pirtad.inference.dicom.headers import Instance, Series
from pirtad.inference.errors import StudyNotUsable

SUPPORTED_TRANSFER_SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian)

# Chosen; see docs/adr/0002-choosing-dwi-and-adc.md.
MIN_SLICES = 10
MIN_COVERAGE_MM = 60.0
SAME_B_VALUE_S_PER_MM2 = 10.0
"""b values this close are one b value: scanners report the one they reached, not the one asked for."""


@dataclass(frozen=True, slots=True)
class BValueLimits:
    """Which b values, in s/mm2, may stand in for the b 1000 trace of PIRTA (section 2.1), and which is preferred."""

    minimum: float = 800.0
    maximum: float = 1500.0
    near: float = 1000.0


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a series was not taken; `code` is stable, `reason` is for an operator."""

    series_uid: str
    description: str = field(repr=False)
    code: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A series, cut down to the images that would be used, and where they lie. `b_value` is None for an ADC map."""

    series: Series
    stack: SliceStack
    b_value_s_per_mm2: float | None = None


def dwi_candidate(series: Series, limits: BValueLimits) -> Candidate | Rejection:
    """The images at the b value nearest to the wanted one, trace images where the series tells them apart."""
    images = [instance for instance in series.instances if instance.diffusion.kind is Kind.DWI]
    problem = _unsupported(series, images)
    if problem:
        return problem
    stated = {image.diffusion.b_value_s_per_mm2 for image in images} - {None}
    if not stated:
        return _reject(series, "b_value_unknown", "diffusion-weighted, but neither header nor name tells one b value")
    fitting = [b for b in stated if b is not None and limits.minimum <= b <= limits.maximum]
    if not fitting:
        found = ", ".join(f"{b:g}" for b in sorted(b for b in stated if b is not None))
        wanted = f"between {limits.minimum:g} and {limits.maximum:g} s/mm2"
        return _reject(series, "b_value_out_of_range", f"b {found} s/mm2, none {wanted}")
    best = min(fitting, key=lambda b: (abs(b - limits.near), b))
    images = [image for image in images if _near(image, best)]

    traces = [image for image in images if image.diffusion.isotropic]
    unmarked = [image for image in images if image.diffusion.isotropic is None]
    if not traces and not unmarked:
        return _reject(series, "not_trace", f"b {best:g} images of single gradient directions, no trace image")
    chosen = traces or unmarked
    if not traces and (repeats := _images_per_place(chosen)) > 1:
        return _reject(
            series, "not_trace", f"{repeats} images at every slice position, none marked as the trace (b {best:g})"
        )
    return _gated(series, chosen, best)


def adc_candidate(series: Series) -> Candidate | Rejection:
    """The ADC images of a series."""
    images = [instance for instance in series.instances if instance.diffusion.kind is Kind.ADC]
    return _gated(series, images, None)


def plain_rejection(series: Series) -> Rejection:
    """The reason for a series that offers neither DWI nor ADC images."""
    if series.modality != "MR":
        return _reject(series, "not_mr", f"modality {series.modality or 'not stated'}, not MR")
    kinds = {instance.diffusion.kind for instance in series.instances}
    if Kind.EXPONENTIAL_ADC in kinds:
        return _reject(series, "exponential_adc", "an exponential ADC map: not diffusivity in mm2/s")
    if Kind.UNCLEAR in kinds:
        return _reject(series, "unclear", "name and header contradict each other about DWI or ADC map")
    return _reject(series, "not_diffusion", "no diffusion-weighted images and no ADC map")


def _near(image: Instance, b_value: float) -> bool:
    own = image.diffusion.b_value_s_per_mm2
    return own is not None and abs(own - b_value) <= SAME_B_VALUE_S_PER_MM2


def _images_per_place(images: Sequence[Instance]) -> int:
    """How many images the least crowded slice position has; 1 where positions cannot be read."""
    positions = [numbers(image.header, "ImagePositionPatient", 3) for image in images]
    if any(position is None for position in positions):
        return 1
    places = Counter(tuple(np.round(position, 1)) for position in positions if position is not None)
    return min(places.values())


def _gated(series: Series, images: Sequence[Instance], b_value: float | None) -> Candidate | Rejection:
    problem = _unsupported(series, images)
    if problem:
        return problem
    try:
        stack = stack_of([image.header for image in images])
    except StudyNotUsable as error:
        return _reject(series, error.code, error.reason)
    if stack.shape[2] < MIN_SLICES or stack.coverage_mm < MIN_COVERAGE_MM:
        covered = f"{stack.shape[2]} slices cover {stack.coverage_mm:.0f} mm"
        wanted = f"at least {MIN_SLICES} slices and {MIN_COVERAGE_MM:.0f} mm are needed"
        return _reject(series, "too_few_slices", f"{covered}; {wanted}")
    return Candidate(replace(series, instances=tuple(images)), stack, b_value)


def _unsupported(series: Series, images: Sequence[Instance]) -> Rejection | None:
    if series.modality != "MR":
        return _reject(series, "not_mr", f"modality {series.modality or 'not stated'}, not MR")
    if series.sop_class_uid != MRImageStorage:
        return _reject(
            series, "unsupported_sop_class", f"SOP class {series.sop_class_uid}: only classic MR Image Storage is read"
        )
    for image in images:
        syntax = image.transfer_syntax_uid
        if syntax not in SUPPORTED_TRANSFER_SYNTAXES:
            return _reject(
                series,
                "unsupported_transfer_syntax",
                f"transfer syntax {syntax or 'unknown'}: only uncompressed little endian is read",
            )
        tokens = {token.upper() for token in texts(image.header, "ImageType")}
        if tokens & {"MOSAIC", "VFRAME"} or (whole(image.header, "NumberOfFrames") or 1) > 1:
            return _reject(series, "unsupported_layout", "several slices tiled into one image (mosaic) or frames")
        samples = whole(image.header, "SamplesPerPixel")
        if samples not in (None, 1) or text(image.header, "PhotometricInterpretation") not in ("", "MONOCHROME2"):
            return _reject(series, "unsupported_layout", "pixels are not plain MONOCHROME2 grey values")
    return None


def _reject(series: Series, code: str, reason: str) -> Rejection:
    return Rejection(series.series_uid, series.description, code, reason)
