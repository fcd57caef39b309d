"""From a diffusion pair to the network's input, in the order of PIRTA section 2.3.1.

Skull stripping, then down to 2 x 2 x 4 mm and 96 x 112 x 48, then N4, then one scale for all scanners. There is no
registration to an atlas: the paper has none, and an infarct cannot mislead what is not done.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.errors import StudyNotUsable
from pirtad.inference.preprocess.bias_field import correct_bias_field
from pirtad.inference.preprocess.brain_mask import brain_mask
from pirtad.inference.preprocess.grid import SHAPE, centroid_mm, grid_affine, share_inside
from pirtad.inference.preprocess.network_input import NetworkInput
from pirtad.inference.preprocess.plausibility import check_plausible
from pirtad.inference.preprocess.resample import resample, resample_mask
from pirtad.inference.preprocess.scale import scale_adc, scale_dwi
from pirtad.inference.volume import DiffusionPair, Volume

# Intracranial volumes of adults are 1000 to 1900 ml; partial coverage and small heads pass, a phantom does not.
SMALLEST_BRAIN_ML = 400.0
LARGEST_BRAIN_ML = 2500.0
# The box is 192 x 224 x 192 mm: a brain that does not fit is not a brain, or not in these coordinates.
_LEAST_SHARE_IN_BOX = 0.97
# Median over a living brain is 0.7e-3 to 1.2e-3 mm2/s; outside these bounds the unit was misread or the map is not ADC.
_ADC_MEDIAN_BOUNDS_MM2_PER_S = (0.35e-3, 2.5e-3)


def preprocess(pair: DiffusionPair) -> NetworkInput:
    """The network's input from a diffusion pair.

    Raises StudyNotUsable: `no_brain` (nothing brain-like stands out), `brain_out_of_range` (implausible volume, or more
    than fits the grid), `adc_out_of_range` (the ADC map does not cover the brain, or its values are not in mm2/s),
    `adc_implausible`, `dwi_implausible` (they are not what they are called).
    """
    mask = brain_mask(pair.dwi)
    _check_brain(mask, pair.dwi)

    grid = grid_affine(centroid_mm(mask, pair.dwi.affine))
    _check_fits(mask, pair.dwi.affine, grid)
    dwi = resample(pair.dwi, grid, SHAPE)
    adc = resample(pair.adc_mm2_per_s, grid, SHAPE)
    inside = resample_mask(mask, pair.dwi.affine, grid, SHAPE)
    _check_adc(adc[inside])
    check_plausible(dwi, adc, inside)

    dwi = correct_bias_field(dwi, inside)
    array = np.stack([scale_dwi(dwi, inside), scale_adc(adc, inside)])
    return NetworkInput(array, inside, grid)


def _check_brain(mask: NDArray[np.bool_], dwi: Volume) -> None:
    if not mask.any():
        raise StudyNotUsable("no_brain", "no brain found in the diffusion-weighted volume")
    millilitres = float(mask.sum() * abs(np.linalg.det(dwi.affine[:3, :3])) / 1000)
    if not SMALLEST_BRAIN_ML <= millilitres <= LARGEST_BRAIN_ML:
        raise StudyNotUsable(
            "brain_out_of_range",
            f"the brain mask measures {millilitres:.0f} ml, expected {SMALLEST_BRAIN_ML:.0f} to {LARGEST_BRAIN_ML:.0f}",
        )


def _check_fits(mask: NDArray[np.bool_], affine: NDArray[np.float64], grid: NDArray[np.float64]) -> None:
    share = share_inside(mask, affine, grid)
    if share < _LEAST_SHARE_IN_BOX:
        raise StudyNotUsable(
            "brain_out_of_range",
            f"{share:.1%} of the brain mask lies within 192 x 224 x 192 mm about its centre, "
            f"expected {_LEAST_SHARE_IN_BOX:.0%}",
        )


def _check_adc(adc_in_brain: NDArray[np.float32]) -> None:
    low, high = _ADC_MEDIAN_BOUNDS_MM2_PER_S
    median = float(np.median(adc_in_brain)) if adc_in_brain.size else 0.0
    if not low <= median <= high:
        raise StudyNotUsable(
            "adc_out_of_range",
            f"the median ADC over the brain is {median:.3g} mm2/s, expected {low:.3g} to {high:.3g}",
            "check that the ADC map belongs to the DWI and that its unit was read correctly",
        )
