"""Units of the network's input: both channels of the order of 1 inside the brain, 0 outside."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# One unit of the ADC channel; free water at body temperature is 3.0 (Mills 1973), the clip leaves room for noise.
ADC_UNIT_MM2_PER_S = 1e-3
ADC_CEILING = 3.5
# Acute infarcts on b1000 are 1.3 to 3 times as bright as the brain's median; beyond lie artefacts.
DWI_CEILING = 4.0


def scale_dwi(dwi: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """DWI divided by its median over the mask (an infarct of a third of the brain moves the median by little),
    clipped to [0, DWI_CEILING], 0 outside the mask. Same shape, float32. The median must be positive."""
    scaled = np.where(mask, dwi / np.median(dwi[mask]), 0.0)
    return scaled.clip(0.0, DWI_CEILING).astype(np.float32)


def scale_adc(adc_mm2_per_s: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """ADC in units of 1e-3 mm2/s, clipped to [0, ADC_CEILING], 0 outside the mask. Same shape, float32."""
    scaled = np.where(mask, adc_mm2_per_s / ADC_UNIT_MM2_PER_S, 0.0)
    return scaled.clip(0.0, ADC_CEILING).astype(np.float32)
