"""Which DWI goes with which ADC map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pirtad.inference.dicom.attributes import text
from pirtad.inference.dicom.candidates import SAME_B_VALUE_S_PER_MM2, BValueLimits, Candidate
from pirtad.inference.dicom.geometry import SliceStack, share_inside
from pirtad.inference.dicom.inspection import Refusal

# Chosen; see docs/adr/0002-choosing-dwi-and-adc.md.
MIN_SHARED_VOLUME = 0.8
"""Least share of either stack that must lie inside the other one."""
SAME_GRID_MM = 0.5
"""Two stacks whose corner voxels lie this close are on one grid."""


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A DWI and its ADC map; `because` says what decided."""

    dwi: Candidate
    adc: Candidate
    because: str


def best_pair(dwi: Sequence[Candidate], adc: Sequence[Candidate], limits: BValueLimits) -> Pair | Refusal:
    """The one best pair, or why there is none: "pair_mismatch", "ambiguous", "broken_geometry" (a slice is lost)."""
    matches = [(one, other) for one in dwi for other in adc if mismatch(one.stack, other.stack) is None]
    if not matches:
        reasons = {mismatch(one.stack, other.stack) for one in dwi for other in adc} - {None}
        return Refusal(
            "pair_mismatch",
            f"{len(dwi)} DWI and {len(adc)} ADC series, none belong together: {'; '.join(sorted(map(str, reasons)))}",
            "Check in `pirtad inspect` whether the ADC map of this acquisition was sent.",
        )
    ranked = sorted(matches, key=lambda pair: _rank(pair[0], pair[1], limits))
    best = ranked[0]
    level = [pair for pair in matches if _rank(pair[0], pair[1], limits) == _rank(best[0], best[1], limits)]
    if len(level) > 1:
        return Refusal(
            "ambiguous",
            f"{len(level)} pairs of DWI and ADC fit equally well "
            f"({len({id(pair[0]) for pair in level})} DWI, {len({id(pair[1]) for pair in level})} ADC series)",
            "A repeated acquisition? Send the study with only the series to be read.",
        )
    lost = _lost_slices(best[0].stack, best[1].stack)
    if lost:
        return Refusal(
            "broken_geometry",
            f"DWI has {best[0].stack.shape[2]} slices and ADC {best[1].stack.shape[2]} on one grid: "
            f"{lost} image(s) seem to be missing",
            "Compare the number of images with the archive's and send the study again.",
        )
    return Pair(*best, f"b {best[0].b_value_s_per_mm2:g} s/mm2, {_in_words(*best)}")


def mismatch(one: SliceStack, other: SliceStack) -> str | None:
    """Why two stacks cannot be one patient position, or None. Only a shared frame of reference is registered."""
    if not one.frame_of_reference_uid or one.frame_of_reference_uid != other.frame_of_reference_uid:
        return "FrameOfReferenceUID differs or is absent"
    shared = min(share_inside(one, other), share_inside(other, one))
    if shared < MIN_SHARED_VOLUME:
        return f"only {shared:.0%} of the volume is common"
    return None


def _rank(dwi: Candidate, adc: Candidate, limits: BValueLimits) -> tuple[float, bool, bool, bool]:
    """Smaller is better; b values that differ by no more than scanners round are level."""
    assert dwi.b_value_s_per_mm2 is not None  # dwi_candidate always gives one
    distance = abs(dwi.b_value_s_per_mm2 - limits.near)
    return (
        distance if distance > SAME_B_VALUE_S_PER_MM2 else 0.0,
        not dwi.stack.axial,
        not _same_grid(dwi.stack, adc.stack),
        not _same_acquisition(dwi, adc),
    )


def _in_words(dwi: Candidate, adc: Candidate) -> str:
    plane = "axial" if dwi.stack.axial else "not axial"
    grid = "DWI and ADC on one grid" if _same_grid(dwi.stack, adc.stack) else "DWI and ADC on different grids"
    return f"{plane}, {grid}{', acquired together' if _same_acquisition(dwi, adc) else ''}"


def _same_grid(one: SliceStack, other: SliceStack) -> bool:
    return one.shape == other.shape and bool(np.allclose(_corners(one), _corners(other), rtol=0, atol=SAME_GRID_MM))


def _corners(stack: SliceStack) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    last = np.array(stack.shape) - 1
    index = np.array([[i, j, k] for i in (0, last[0]) for j in (0, last[1]) for k in (0, last[2])])
    return np.asarray(index @ stack.affine[:3, :3].T + stack.affine[:3, 3])


def _same_acquisition(dwi: Candidate, adc: Candidate) -> bool:
    """Whether both carry one AcquisitionTime set: how repeats on one grid are told apart."""
    one, other = _times(dwi), _times(adc)
    return bool(one & other)


def _times(candidate: Candidate) -> set[tuple[str, str]]:
    found = set()
    for instance in candidate.series.instances:
        header = instance.header
        moment = text(header, "AcquisitionDateTime") or text(header, "AcquisitionTime")
        if moment:
            found.add((text(header, "AcquisitionNumber"), moment))
    return found


def _lost_slices(one: SliceStack, other: SliceStack) -> int:
    """How many more slices one of two stacks on the same raster has; 0 where the rasters differ by design."""
    if one.shape[:2] != other.shape[:2] or not np.allclose(one.affine[:3, :3], other.affine[:3, :3], atol=1e-2):
        return 0
    offset = np.linalg.solve(one.affine[:3, :3], other.affine[:3, 3] - one.affine[:3, 3])
    on_raster = np.allclose(offset[:2], 0, atol=0.5) and abs(offset[2] - round(offset[2])) < 0.1
    return abs(one.shape[2] - other.shape[2]) if on_raster else 0
