"""Bring a volume onto another grid through patient coordinates."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from pirtad.inference.volume import Volume


def resample(volume: Volume, affine: NDArray[np.float64], shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Linear interpolation of `volume` at the voxel centres of a grid.

    affine: (4, 4) of the target grid to LPS mm, orthogonal axes. Returns float32 of `shape`; 0 where the volume does
    not reach. NaN and infinity in the volume count as 0 (some writers put them outside the head).
    """
    clean = np.nan_to_num(volume.array, nan=0.0, posinf=0.0, neginf=0.0)
    target = Volume(np.broadcast_to(np.float32(0), shape), affine).to_sitk()
    moved = sitk.Resample(Volume(clean, volume.affine).to_sitk(), target, sitk.Transform(), sitk.sitkLinear, 0.0)
    return np.ascontiguousarray(sitk.GetArrayViewFromImage(moved).transpose(2, 1, 0), dtype=np.float32)


def resample_mask(
    mask: NDArray[np.bool_],
    mask_affine: NDArray[np.float64],
    affine: NDArray[np.float64],
    shape: tuple[int, int, int],
) -> NDArray[np.bool_]:
    """The mask on another grid: where at least half of the interpolated mask is set."""
    moved = resample(Volume(mask.astype(np.float32), mask_affine), affine, shape)
    return moved >= 0.5
