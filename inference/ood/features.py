"""Plain statistics of the network's input, each with a name that a reader of the warning understands.

Beside the usual ones (percentiles, noise, asymmetry, shape) stand a few that ask what an infarct does not do: a core
that is dark on the DWI, tissue with the diffusivity of oedema, restriction that is the same on both sides. Thresholds
are chosen; what matters is only that the same ones are used for calibration and for the study at hand.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pirtad.inference.ood.lesions import lesion_features
from pirtad.inference.ood.symmetry import upright
from pirtad.inference.preprocess.grid import SPACING_MM

VOXEL_ML = float(np.prod(SPACING_MM)) / 1000
_IN_PLANE = np.ones((3, 3, 1), dtype=np.bool_)
_TOUCHING = ndimage.generate_binary_structure(3, 3)
# Diffusivities in 1e-3 mm2/s: of tissue, of vasogenic oedema and plaques, of fluid, of restriction.
_TISSUE = (0.5, 1.1)
_OEDEMA = (1.1, 2.0)
_FLUID_ABOVE = 2.0
_RESTRICTED_BELOW = 0.65

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]


def image_features(array: NDArray[np.float32]) -> dict[str, float]:
    """Statistics of a network input float32 (2, 96, 112, 48) (preprocess.NetworkInput.array); all finite.

    Logarithms are taken of what spans decades, so that all of them are about bell-shaped over healthy and infarcted
    brains. Raises ValueError when the input is 0 everywhere.
    """
    dwi, adc, inside = upright(array)
    tissue = inside & (adc > _TISSUE[0]) & (adc < _TISSUE[1])
    smooth_dwi, smooth_adc = _smooth(dwi, inside), _smooth(adc, inside)
    return {
        **_intensities(dwi, adc, inside, tissue),
        **_noise(dwi, adc, inside, tissue),
        **_shape(inside),
        **_asymmetry(smooth_dwi, smooth_adc, inside),
        **_restriction(smooth_dwi, smooth_adc, inside),
        **_other_lesions(smooth_dwi, smooth_adc, inside),
        **lesion_features(smooth_dwi, smooth_adc, inside),
    }


def _smooth(image: Image, inside: Mask) -> Image:
    """Mean over 3 x 3 voxels in plane, of the brain alone."""
    weight = ndimage.uniform_filter(inside.astype(np.float32), (3, 3, 1))
    total = ndimage.uniform_filter(image, (3, 3, 1))
    result: Image = np.where(inside, total / np.maximum(weight, 0.1), 0).astype(np.float32)
    return result


def _intensities(dwi: Image, adc: Image, inside: Mask, tissue: Mask) -> dict[str, float]:
    d, a = dwi[inside], adc[inside]
    fluid = inside & (adc > _FLUID_ABOVE)
    found = {
        f"dwi_p{p:g}": _log(v)
        for p, v in zip((2, 25, 75, 95, 99, 99.9), np.percentile(d, (2, 25, 75, 95, 99, 99.9)), strict=True)
    }
    found |= {
        f"adc_p{p:g}": float(v)
        for p, v in zip((2, 10, 25, 50, 75, 90), np.percentile(a, (2, 10, 25, 50, 75, 90)), strict=True)
    }
    found["dwi_skew"] = float(np.cbrt(((d - d.mean()) ** 3).mean()) / max(float(d.std()), 1e-6))
    found["fluid_share"] = _log(fluid.sum() / inside.sum(), 1e-3)
    found["fluid_on_dwi"] = _log(float(np.median(dwi[fluid]))) if fluid.any() else 0.0
    spread = np.log(np.maximum(dwi[inside], 0.02))
    found["dwi_follows_adc"] = _correlation(spread, a)
    found["tissue_dwi_follows_adc"] = _correlation(np.log(np.maximum(dwi[tissue], 0.02)), adc[tissue])
    return found


def _noise(dwi: Image, adc: Image, inside: Mask, tissue: Mask) -> dict[str, float]:
    """Fine structure in plane, and what differs from slice to slice more than anatomy does."""
    found: dict[str, float] = {}
    core = ndimage.binary_erosion(inside, _IN_PLANE) & tissue
    if not core.any():
        core = inside
    slices = core.sum(axis=(0, 1)) > 150
    for name, image in (("dwi", dwi), ("adc", adc)):
        for axis in (0, 1):
            bend = 2 * image - np.roll(image, 1, axis) - np.roll(image, -1, axis)
            found[f"{name}_noise_{'ij'[axis]}"] = _log(float(np.median(np.abs(bend[core]))), 0.01)
        medians = [float(np.median(image[:, :, k][core[:, :, k]])) for k in np.nonzero(slices)[0]]
        bends = np.abs(np.diff(np.log(np.maximum(medians, 0.02)), 2)) if len(medians) > 2 else np.zeros(1)
        found[f"{name}_slice_steps"] = _log(float(bends.mean()), 0.003)
        found[f"{name}_slice_jump"] = _log(float(bends.max()), 0.01)
    return found


def _shape(inside: Mask) -> dict[str, float]:
    index = np.nonzero(inside)
    extents = [float(np.percentile(axis, 99) - np.percentile(axis, 1)) for axis in index]
    surface = inside & ~ndimage.binary_erosion(inside)
    areas = inside.sum(axis=(0, 1)).astype(np.float64)
    areas = areas[areas > 0]
    outline = np.diff(np.log(areas), 2) if len(areas) > 2 else np.zeros(1)
    return {
        "volume_ml": _log(inside.sum() * VOXEL_ML),
        "width_over_length": _log(extents[0] / max(extents[1], 1.0)),
        "height_over_length": _log(extents[2] / max(extents[1], 1.0)),
        "box_filled": float(inside.sum() / max(float(np.prod([extent + 1 for extent in extents])), 1.0)),
        "surface": _log(surface.sum() / inside.sum() ** (2 / 3)),
        "outline_steps": _log(float(np.abs(outline).mean()), 0.01),
        "outline_asymmetry": _log(float((inside ^ inside[::-1]).sum() / inside.sum()), 0.01),
    }


def _asymmetry(dwi: Image, adc: Image, inside: Mask) -> dict[str, float]:
    both = inside & inside[::-1]
    found: dict[str, float] = {}
    for name, image in (("dwi", dwi), ("adc", adc)):
        coarse = ndimage.uniform_filter(image, (5, 5, 3))
        apart = np.abs(coarse - coarse[::-1])[both] if both.any() else np.zeros(1)
        found[f"{name}_asymmetry"] = _log(float(apart.mean()), 0.01)
        found[f"{name}_asymmetry_p99"] = _log(float(np.percentile(apart, 99)), 0.02)
    return found


def _restriction(dwi: Image, adc: Image, inside: Mask) -> dict[str, float]:
    """Bright with a low ADC: how much, how compact, how symmetric, and what lies around it."""
    found: dict[str, float] = {}
    for name, bright, low in (("restricted", 1.3, _RESTRICTED_BELOW), ("mildly_restricted", 1.12, 0.75)):
        there = inside & (dwi > bright) & (adc < low) & (adc > 0)
        compact = ndimage.binary_opening(there, _IN_PLANE)
        mirrored = ndimage.binary_dilation(there[::-1], _IN_PLANE, 2)
        found[f"{name}_ml"] = _ml(there)
        found[f"{name}_compact_ml"] = _ml(compact)
        found[f"{name}_both_sides_ml"] = _ml(there & mirrored)
        found[f"{name}_largest_ml"] = _log(_largest_ml(there), 0.3)
        found[f"{name}_in_cortex_ml"] = _ml(there & ~ndimage.binary_erosion(inside, _IN_PLANE, 5))
    core = ndimage.binary_opening(inside & (dwi > 1.3) & (adc < _RESTRICTED_BELOW) & (adc > 0), _IN_PLANE)
    near = ndimage.binary_dilation(core, _IN_PLANE, 2)
    shell = inside & ndimage.binary_dilation(near, _IN_PLANE, 4) & ~near
    oedema = shell & (adc > 1.15) & (adc < 1.9)
    found["oedema_around_ml"] = _ml(ndimage.binary_opening(oedema, _IN_PLANE))
    return found


def _other_lesions(dwi: Image, adc: Image, inside: Mask) -> dict[str, float]:
    """Oedema and plaques, cavities, cores that are dark on both images."""
    deep = ndimage.binary_erosion(inside, _IN_PLANE, 2)
    kinds = {
        "oedema": deep & (adc > _OEDEMA[0]) & (adc < _OEDEMA[1]),
        "bright_oedema": deep & (adc > _OEDEMA[0]) & (adc < _OEDEMA[1]) & (dwi > 0.95),
        "cavity": inside & (adc > _FLUID_ABOVE),
        "dark": deep & (dwi < 0.55) & (adc < 1.2),
        "low_adc": deep & (dwi < 1.1) & (adc < 0.5),
        "bright_high_adc": deep & (dwi > 1.25) & (adc > 0.95),
    }
    found: dict[str, float] = {}
    for name, there in kinds.items():
        body = ndimage.binary_opening(there, _IN_PLANE)
        one_sided = body & ~ndimage.binary_dilation(there[::-1], _IN_PLANE, 2)
        found[f"{name}_ml"] = _ml(body)
        found[f"{name}_largest_ml"] = _log(_largest_ml(ndimage.binary_opening(there, _IN_PLANE, 2)), 0.3)
        found[f"{name}_one_sided_ml"] = _ml(one_sided)
        found[f"{name}_pieces"] = float(np.log1p(_pieces(body)))
    return found


def _largest_ml(mask: Mask) -> float:
    labels, count = ndimage.label(mask, _TOUCHING)
    return float(np.bincount(labels.ravel())[1:].max() * VOXEL_ML) if count else 0.0


def _pieces(mask: Mask) -> int:
    labels, _ = ndimage.label(mask, _TOUCHING)
    return int((np.bincount(labels.ravel())[1:] * VOXEL_ML > 0.1).sum())


def _ml(mask: Mask) -> float:
    return _log(float(mask.sum()) * VOXEL_ML, 0.3)


def _log(value: float, floor: float = 0.02) -> float:
    return float(np.log(max(float(value), 0.0) + floor))


def _correlation(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    if one.size < 2 or float(one.std()) < 1e-6 or float(other.std()) < 1e-6:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])
