"""How two stacks of slices lie to each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.dicom.geometry import SliceStack, share_inside

# Chosen; see docs/adr/0002-choosing-dwi-and-adc.md.
MIN_SHARED_VOLUME = 0.8
"""Least share of either stack that must lie inside the other one."""
SAME_GRID_MM = 0.5
"""Two stacks whose corner voxels lie this close are on one grid."""


def mismatch(one: SliceStack, other: SliceStack, *, one_series: bool = False) -> str | None:
    """Why two stacks cannot be one patient position, or None. Registered is what shares a frame of reference that is
    stated, or is of one series."""
    named = bool(one.frame_of_reference_uid) or one_series
    if not named or one.frame_of_reference_uid != other.frame_of_reference_uid:
        return "FrameOfReferenceUID differs or is absent"
    shared = min(share_inside(one, other), share_inside(other, one))
    if shared < MIN_SHARED_VOLUME:
        return f"only {shared:.0%} of the volume is common"
    return None


def same_grid(one: SliceStack, other: SliceStack) -> bool:
    """Whether voxel (i, j, k) of one is voxel (i, j, k) of the other, to within `SAME_GRID_MM`."""
    return one.shape == other.shape and bool(np.allclose(_corners(one), _corners(other), rtol=0, atol=SAME_GRID_MM))


def lost_slices(one: SliceStack, other: SliceStack) -> int:
    """How many more slices one of two stacks on the same raster has; 0 where the rasters differ by design."""
    if one.shape[:2] != other.shape[:2] or not np.allclose(one.affine[:3, :3], other.affine[:3, :3], atol=1e-2):
        return 0
    offset = np.linalg.solve(one.affine[:3, :3], other.affine[:3, 3] - one.affine[:3, 3])
    on_raster = np.allclose(offset[:2], 0, atol=0.5) and abs(offset[2] - round(offset[2])) < 0.1
    return abs(one.shape[2] - other.shape[2]) if on_raster else 0


def _corners(stack: SliceStack) -> NDArray[np.float64]:
    last = np.array(stack.shape) - 1
    index = np.array([[i, j, k] for i in (0, last[0]) for j in (0, last[1]) for k in (0, last[2])])
    return np.asarray(index @ stack.affine[:3, :3].T + stack.affine[:3, 3])
