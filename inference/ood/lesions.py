"""What kind of lesion there is, if any: statistics that ask what an infarct does not do.

An infarct is bright on the DWI and low on the ADC, of one side and one artery, and has no shell of oedema. Here each
side is held against the other, each bright or dark body against its surroundings, and cortex against the white matter
under it. Thresholds are chosen; what matters is only that the same ones serve calibration and the study at hand.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pirtad.inference.preprocess.grid import SPACING_MM

VOXEL_ML = float(np.prod(SPACING_MM)) / 1000
_IN_PLANE = np.ones((3, 3, 1), dtype=np.bool_)
_TOUCHING = ndimage.generate_binary_structure(3, 3)
# Sectors of each half of the brain: around its middle, and from below to above.
_AROUND, _ABOVE = 5, 3
_LEAST_VOXELS = 40

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]


def lesion_features(dwi: Image, adc: Image, inside: Mask) -> dict[str, float]:
    """All finite. The arguments are upright (symmetry.upright), float32 (I, J, K) in units of the network's input, so
    that dwi is about 1 in the brain's tissue and adc in 1e-3 mm2/s; the two smoothed a little against noise."""
    # In plane alone: slices stand for infinitely far apart, and the border of the array is outside.
    depth_mm = ndimage.distance_transform_edt(_framed(inside), sampling=(*SPACING_MM[:2], 1e6))[1:-1, 1:-1, 1:-1]
    return {
        **_bodies(dwi, adc, inside, depth_mm),
        **_against_other_side(dwi, adc, inside),
        **_cortex(dwi, adc, inside, depth_mm),
        **_spots(dwi, adc, depth_mm),
    }


def _bodies(dwi: Image, adc: Image, inside: Mask, depth_mm: NDArray[np.float64]) -> dict[str, float]:
    """Of each kind of body, where the other side has none: the radius of the largest ball within, how round the largest
    body is, what lies around it."""
    deep = depth_mm > 5
    kinds = {
        "restricted_body": inside & (dwi > 1.35) & (adc < 0.68),
        "dark_body": deep & (dwi < 0.65) & (adc < 0.95),
        "fluid_body": inside & (adc > 1.75),
        "oedema_body": deep & (adc > 1.08) & (adc < 1.9),
        "bright_unrestricted_body": deep & (dwi > 1.2) & (adc > 0.85),
    }
    found: dict[str, float] = {}
    for name, there in kinds.items():
        one_sided = there & ~ndimage.binary_dilation(there[::-1], _IN_PLANE, 2)
        radius_mm = ndimage.distance_transform_edt(_framed(one_sided), sampling=SPACING_MM)[1:-1, 1:-1, 1:-1]
        largest_mm = float(radius_mm.max()) if one_sided.any() else 0.0
        found[f"{name}_radius_mm"] = largest_mm
        body = _with(one_sided, radius_mm)
        ml = float(body.sum()) * VOXEL_ML
        ball_ml = 4 / 3 * np.pi * largest_mm**3 / 1000
        found[f"{name}_roundness"] = min(float(ball_ml / ml), 1.0) * min(ml / 2, 1.0) if ml > 0 else 0.0
        near = ndimage.binary_dilation(body, _IN_PLANE, 1)
        shell = inside & ~near & ndimage.binary_dilation(near, _IN_PLANE, 4)
        known = ml > 0.5 and int(shell.sum()) >= _LEAST_VOXELS
        found[f"{name}_oedema_around"] = float(((adc > 1.1) & (adc < 1.9))[shell].mean()) if known else 0.0
        found[f"{name}_brightness_around"] = float(np.log(max(float(np.median(dwi[shell])), 0.1))) if known else 0.0
    return found


def _with(mask: Mask, radius_mm: NDArray[np.float64]) -> Mask:
    """The connected part of the mask that holds the largest ball, of equals the one of most voxels; nothing of an
    empty mask."""
    if not mask.any():
        return mask
    labels, _ = ndimage.label(mask, _TOUCHING)
    balls = np.unique(labels[mask & (radius_mm == radius_mm[mask].max())])
    sizes = np.bincount(labels.ravel())
    part: Mask = labels == balls[sizes[balls].argmax()]
    return part


def _framed(mask: Mask) -> Mask:
    """With a border of nothing, so that a ball ends where the image does."""
    return np.pad(mask, 1)


def _against_other_side(dwi: Image, adc: Image, inside: Mask) -> dict[str, float]:
    """Volumes in which one side is brighter or darker, and diffuses more or less, than the other by a clear margin,
    each pair of signs by itself. Infarcts are brighter with less diffusion; nothing else in this table is theirs."""
    both = inside & inside[::-1]
    coarse_dwi, coarse_adc = (ndimage.uniform_filter(np.log(np.maximum(one, 0.1)), (3, 3, 1)) for one in (dwi, adc))
    brighter, freer = coarse_dwi - coarse_dwi[::-1], coarse_adc - coarse_adc[::-1]
    signs = {
        "brighter_restricted": (brighter > 0.2) & (freer < -0.2),
        "brighter_same_adc": (brighter > 0.2) & (np.abs(freer) < 0.12),
        "brighter_freer": (brighter > 0.1) & (freer > 0.2),
        "same_dwi_freer": (np.abs(brighter) < 0.1) & (freer > 0.25),
        "darker_freer": (brighter < -0.25) & (freer > 0.25),
    }
    found: dict[str, float] = {}
    for name, there in signs.items():
        body = ndimage.binary_opening(there & both, _IN_PLANE)
        found[f"{name}_than_other_side_ml"] = _ml(body)
    # A bright restricted voxel is the mirror of a dark free one: who is odd, is told by tissue's usual values.
    dark = ndimage.binary_opening(both & (brighter < -0.35) & (dwi < 0.7) & (adc < 1.0), _IN_PLANE)
    found["darker_unfree_than_other_side_ml"] = _ml(dark)
    found["brightness_against_other_side"] = float(np.percentile(np.abs(brighter[both]), 97)) if both.any() else 0.0
    found["diffusion_against_other_side"] = float(np.percentile(np.abs(freer[both]), 97)) if both.any() else 0.0
    return found


def _cortex(dwi: Image, adc: Image, inside: Mask, depth_mm: NDArray[np.float64]) -> dict[str, float]:
    """The outer 8 mm against the 10 mm under them: of the whole brain, and sector by sector against the other side."""
    tissue = inside & (adc > 0.2) & (adc < 1.3)
    outer, under = tissue & (depth_mm < 8), tissue & (depth_mm >= 8) & (depth_mm < 18)
    core = tissue & (depth_mm >= 22)
    if min(int(outer.sum()), int(under.sum()), int(core.sum())) < _LEAST_VOXELS:
        outer, under, core = inside, inside, inside
    light = np.log(np.maximum(dwi, 0.1))
    found = {
        "cortex_over_white_dwi": float(light[outer].mean() - light[under].mean()),
        "cortex_over_white_adc": float(adc[outer].mean() - adc[under].mean()),
        "core_over_white_dwi": float(light[core].mean() - light[under].mean()),
        "core_over_white_adc": float(adc[core].mean() - adc[under].mean()),
        "cortex_low_adc_share": float((adc[outer] < 0.62).mean()),
        "core_low_adc_share": float((adc[core] < 0.62).mean()),
    }
    light_out, light_under, adc_out, adc_under = (
        _sides_apart(image, where, inside) for image in (light, adc) for where in (outer, under)
    )
    ribbon = light_out - light_under
    at = int(np.abs(light_out).argmax())
    sign = np.sign(light_out[at])
    found["cortex_brighter_in_a_sector"] = float(np.abs(light_out).max())
    found["cortex_alone_brighter_in_a_sector"] = float(np.abs(ribbon).max())
    found["white_brighter_under_that_cortex"] = float(sign * light_under[at])
    found["adc_of_that_cortex"] = float(sign * adc_out[at])
    found["adc_under_that_cortex"] = float(sign * adc_under[at])
    found["sectors_with_brighter_cortex"] = float((sign * ribbon > 0.08).sum())
    return found


def _sides_apart(image: Image, where: Mask, inside: Mask) -> NDArray[np.float64]:
    """Mean of one side less that of the other, (_AROUND * _ABOVE,); 0 for a sector that has few voxels on a side."""
    middle = (inside.shape[0] - 1) / 2
    i, j, k = np.nonzero(where)
    angle = np.arctan2(np.abs(i - middle), j - (inside.shape[1] - 1) / 2)
    around = np.minimum((angle / np.pi * _AROUND).astype(np.int64), _AROUND - 1)
    cell = ((i > middle) * _AROUND + around) * _ABOVE + k * _ABOVE // inside.shape[2]
    cells = 2 * _AROUND * _ABOVE
    count = np.bincount(cell, minlength=cells).reshape(2, -1)
    total = np.bincount(cell, weights=image[where].astype(np.float64), minlength=cells).reshape(2, -1)
    mean = total / np.maximum(count, 1)
    apart: NDArray[np.float64] = np.where(count.min(axis=0) >= _LEAST_VOXELS, mean[1] - mean[0], 0.0)
    return apart


def _spots(dwi: Image, adc: Image, depth_mm: NDArray[np.float64]) -> dict[str, float]:
    """Small things in deep tissue that stand out from what surrounds them within 12 mm."""
    deep = depth_mm > 10
    found: dict[str, float] = {}
    fine_dwi, fine_adc = (
        ndimage.uniform_filter(one, (3, 3, 1)) - ndimage.uniform_filter(one, (9, 9, 1)) for one in (dwi, adc)
    )
    kinds = {
        "bright_free_spots": deep & (fine_dwi > 0.12) & (fine_adc > 0.05) & (adc > 0.85) & (adc < 1.9),
        "free_spots": deep & (fine_adc > 0.15) & (adc > 0.95) & (adc < 1.9) & (dwi > 0.85),
        "bright_restricted_spots": deep & (fine_dwi > 0.15) & (fine_adc < -0.08) & (adc < 0.75),
    }
    for name, there in kinds.items():
        labels, _ = ndimage.label(there, _TOUCHING)
        sizes_ml = np.bincount(labels.ravel())[1:] * VOXEL_ML
        found[name] = float(np.log1p(((sizes_ml > 0.06) & (sizes_ml < 4)).sum()))
        found[f"{name}_ml"] = _ml(there)
    return found


def _ml(mask: Mask) -> float:
    return float(np.log(float(mask.sum()) * VOXEL_ML + 0.3))
