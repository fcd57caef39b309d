"""Brain mask of a diffusion-weighted volume, with skull and scalp present or already taken away.

PIRTA (section 2.3.1) strips the skull with SynthSeg. Here it is classical morphology, so that no second network has to
be shipped: on a trace image of b about 1000 s/mm2 fat is suppressed and skull and fluid are dark, which leaves the
brain as the one large bright body. See docs/adr/0003-preprocessing.md for what this costs.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from pirtad.inference.volume import Volume

# Chosen on real volumes of three vendors; see ADR 0003.
_WORKING_SPACING_MM = 2.0
_SMOOTHING_SIGMA_MM = 2.0
_OPENING_RADIUS_MM = 5.0
_REGROWTH_RADIUS_MM = 3.0
_CLOSING_RADIUS_MM = 10.0
# Acute infarcts are up to three times brighter than brain and would pull Otsu's threshold above it.
_CEILING_PERCENTILE = 90.0
_OTSU_FRACTION = 0.8


def brain_mask(dwi: Volume) -> NDArray[np.bool_]:
    """Mask of the brain, ventricles and enclosed fluid included.

    dwi: trace image, any units, any orientation; zero or noise outside the head.
    Returns bool (I, J, K) on the grid of `dwi`; all False when nothing stands out.
    """
    image = _finite_and_positive(dwi)
    working = _coarsen(image)
    smooth = sitk.SmoothingRecursiveGaussian(working, _SMOOTHING_SIGMA_MM)
    body = _bright_body(smooth)
    core = sitk.BinaryMorphologicalOpening(body, _radius_voxels(body, _OPENING_RADIUS_MM), sitk.sitkBall)
    core = _largest_component(core)
    if not _any(core):
        return np.zeros(dwi.array.shape, dtype=np.bool_)
    grown = sitk.BinaryDilate(core, _radius_voxels(core, _REGROWTH_RADIUS_MM), sitk.sitkBall)
    filled = _close_and_fill(sitk.And(grown, sitk.Or(body, core)))
    back = sitk.Resample(sitk.Cast(filled, sitk.sitkFloat32), image, sitk.Transform(), sitk.sitkLinear, 0.0)
    mask: NDArray[np.bool_] = sitk.GetArrayViewFromImage(back).transpose(2, 1, 0) > 0.5
    return np.ascontiguousarray(mask)


def _finite_and_positive(dwi: Volume) -> sitk.Image:
    """Interpolated and stripped volumes carry slightly negative values; a few writers put NaN outside the head."""
    clean = np.nan_to_num(dwi.array, nan=0.0, posinf=0.0, neginf=0.0).clip(min=0.0)
    bright = clean[clean > 0]
    if bright.size:
        clean = clean.clip(max=float(np.percentile(bright, 99.9)))
    return Volume(clean.astype(np.float32), dwi.affine).to_sitk()


def _coarsen(image: sitk.Image) -> sitk.Image:
    """Average neighbours in axes finer than the working spacing: morphology then costs little and noise less."""
    factors = [max(1, int(_WORKING_SPACING_MM / spacing + 0.5)) for spacing in image.GetSpacing()]
    return sitk.BinShrink(image, factors) if max(factors) > 1 else image


def _bright_body(smooth: sitk.Image) -> sitk.Image:
    values = sitk.GetArrayViewFromImage(smooth)
    foreground = values[values > values.mean()]
    if foreground.size == 0:
        return sitk.Cast(smooth * 0, sitk.sitkUInt8)
    ceiling = float(np.percentile(foreground, _CEILING_PERCENTILE))
    otsu = sitk.OtsuThresholdImageFilter()
    otsu.SetInsideValue(0)
    otsu.SetOutsideValue(1)
    otsu.Execute(sitk.Clamp(smooth, upperBound=ceiling))
    return sitk.Cast(smooth > otsu.GetThreshold() * _OTSU_FRACTION, sitk.sitkUInt8)


def _largest_component(binary: sitk.Image) -> sitk.Image:
    labels = sitk.RelabelComponent(sitk.ConnectedComponent(binary), sortByObjectSize=True)
    return sitk.Cast(labels == 1, sitk.sitkUInt8)


def _close_and_fill(binary: sitk.Image) -> sitk.Image:
    """Close sulci, fill what is enclosed in 3D, then slice by slice (ventricles open downwards in thick slices)."""
    radius = _radius_voxels(binary, _CLOSING_RADIUS_MM)
    padded = sitk.ConstantPad(binary, radius, radius, 0)
    closed = sitk.BinaryMorphologicalClosing(padded, radius, sitk.sitkBall)
    closed = sitk.Crop(closed, radius, radius)
    solid = sitk.BinaryFillhole(closed)
    voxels = sitk.GetArrayFromImage(solid)
    filled = [sitk.GetArrayFromImage(sitk.BinaryFillhole(sitk.GetImageFromArray(one))) for one in voxels]
    result = sitk.GetImageFromArray(np.stack(filled))
    result.CopyInformation(solid)
    return result


def _radius_voxels(image: sitk.Image, radius_mm: float) -> list[int]:
    """Per axis; 0 across slices of more than twice the radius, where one voxel would already be too much."""
    return [round(radius_mm / spacing) for spacing in image.GetSpacing()]


def _any(binary: sitk.Image) -> bool:
    return bool(sitk.GetArrayViewFromImage(binary).any())
