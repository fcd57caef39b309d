"""The unit of an ADC map: as the header states it, found from the tissue otherwise, checked in both cases.

Maps in 1e-6, 1e-3 and 1 mm2/s all occur in archives and mostly say nothing about it. Normal brain has an ADC of
0.6e-3 to 1.2e-3 mm2/s, so that the median over the brain tells units that lie a thousandfold apart without doubt.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from pirtad.inference.errors import StudyNotUsable

UNITS_MM2_PER_S = (1e-6, 1e-3, 1.0)
"""The conventions in use, each as its value in mm2/s."""
PLAUSIBLE_MEDIAN_MM2_PER_S = (0.4e-3, 2.0e-3)
"""Normal brain is 0.6e-3 to 1.2e-3; wider for large infarcts (below) and for neonates and unmasked CSF (above)."""
MIN_TISSUE_VOXELS = 1000
"""Fewer positive voxels make no brain. Chosen; see docs/adr/0002-choosing-dwi-and-adc.md."""


def unit_of(tissue: NDArray[np.float64], stated_mm2_per_s: float | None) -> float:
    """The unit, in mm2/s, of ADC values (N,) sampled where there is tissue; only the positive ones are looked at.

    Raises:
        StudyNotUsable: "adc_unit" when no unit makes a brain of these values, or when the stated one does not.
    """
    positive = tissue[tissue > 0]
    if positive.size < MIN_TISSUE_VOXELS:
        raise _unusable(f"only {positive.size} voxels with a positive ADC")
    median = float(np.median(positive))
    low, high = PLAUSIBLE_MEDIAN_MM2_PER_S
    for unit in UNITS_MM2_PER_S if stated_mm2_per_s is None else (stated_mm2_per_s,):
        if low <= median * unit <= high:
            return unit
    tried = "any known unit" if stated_mm2_per_s is None else f"the stated unit of {stated_mm2_per_s:g} mm2/s"
    raise _unusable(f"median {median:.4g} over the tissue is no brain in {tried}")


def _unusable(reason: str) -> StudyNotUsable:
    return StudyNotUsable(
        "adc_unit",
        f"unit of the ADC map cannot be told: {reason}",
        "Normal brain is 0.6e-3 to 1.2e-3 mm2/s; check the map, and whether it is an ADC map at all.",
    )


def tissue_values(adc: NDArray[np.float32], dwi: NDArray[np.float32] | None) -> NDArray[np.float64]:
    """ADC values (N,) where the DWI on the same grid is bright (Otsu), which leaves out air and CSF.

    adc, dwi: (I, J, K). Without a DWI on the same grid, the whole map.
    """
    values = adc.astype(np.float64)
    if dwi is None:
        return values.ravel()
    bright = sitk.GetArrayViewFromImage(sitk.OtsuThreshold(sitk.GetImageFromArray(dwi), 0, 1)) > 0
    return np.asarray(values[bright])
