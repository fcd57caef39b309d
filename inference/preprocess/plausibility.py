"""Does the pair look like what its headers call it? What no header can tell, fluid does.

Fluid has the highest diffusivity of the head, so it is bright on an ADC map, dark on a diffusion-weighted image, and
bright on an unweighted one. Measured on the network's grid, fluid being where the ADC exceeds 2e-3 mm2/s:

| | share of fluid | DWI of fluid over DWI of tissue |
|---|---|---|
| five real pairs (SOOP, ISLES, Siemens, Philips, United Imaging) | 4.6 % to 20 % | 0.34 to 0.52 |
| 48 simulated pairs | 0.6 % to 24 % | 0.42 to 0.94 |
| the unweighted image called DWI (three real ones) | | 1.49 to 2.14 |
| DWI and ADC map exchanged, the DWI scaled to look like a map (the same) | 0.03 % to 0.13 % | 0.98 to 1.11 |
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.errors import StudyNotUsable

_FLUID_ABOVE_MM2_PER_S = 2.0e-3
_TISSUE_MM2_PER_S = (0.5e-3, 1.1e-3)
# Between what was measured on true and on wrong pairs; see the table above.
LEAST_SHARE_OF_FLUID = 0.002
LARGEST_RATIO = 1.2
_HINT = "Check with `pirtad inspect` and `pirtad volume` whether DWI and ADC map are what they are called."


def check_plausible(dwi: NDArray[np.float32], adc_mm2_per_s: NDArray[np.float32], brain: NDArray[np.bool_]) -> None:
    """Hold DWI and ADC against each other within the brain; all three of one shape.

    Raises:
        StudyNotUsable: "adc_implausible" where next to nothing has the diffusivity of fluid, "dwi_implausible" where
            fluid is brighter than tissue on the DWI.
    """
    fluid = brain & (adc_mm2_per_s > _FLUID_ABOVE_MM2_PER_S)
    tissue = brain & (adc_mm2_per_s > _TISSUE_MM2_PER_S[0]) & (adc_mm2_per_s < _TISSUE_MM2_PER_S[1])
    share = float(fluid.sum()) / max(1, int(brain.sum()))
    if share < LEAST_SHARE_OF_FLUID:
        reason = f"only {share:.2%} of the brain has the diffusivity of fluid: this is no brain's ADC map"
        raise StudyNotUsable("adc_implausible", reason, _HINT)
    if not tissue.any():
        raise StudyNotUsable("adc_implausible", "nothing in the brain has the diffusivity of tissue", _HINT)
    ratio = float(np.median(dwi[fluid])) / max(float(np.median(dwi[tissue])), 1e-12)
    if ratio > LARGEST_RATIO:
        reason = f"fluid is {ratio:.1f} times as bright as tissue on the DWI: it is not diffusion-weighted"
        raise StudyNotUsable("dwi_implausible", reason, _HINT)
