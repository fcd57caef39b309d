"""Diffusivity in a lesion against the tissue opposite, on the DWI's grid: is diffusion restricted there?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.lesion.lookup import nearest, transformed
from pirtad.inference.preprocess.network_input import NetworkInput
from pirtad.inference.preprocess.resample import resample, resample_mask
from pirtad.inference.volume import DiffusionPair

# The core of an infarct has 0.77 of the opposite side's ADC up to a day (21 patients, PMC6399390) and lower still on
# conventional maps through the first week (Lansberg et al., AJNR 22, 2001); normal tissue has 1. Half way between them.
LARGEST_ADC_RATIO = 0.9
# Fluid and old infarcts opposite the lesion say nothing of normal tissue, which has 0.6e-3 to 1.1e-3 mm2/s.
_TISSUE_BELOW_MM2_PER_S = 1.5e-3


@dataclass(frozen=True, slots=True)
class AdcMap:
    """adc: float32 (I, J, K), mm2/s, 0 where not measured; affine of the grid; tissue: bool, what is neither lesion nor
    fluid within the brain; mirror: (4, 4) to the opposite side, None where it is not known."""

    adc_mm2_per_s: NDArray[np.float32]
    affine: NDArray[np.float64]
    tissue: NDArray[np.bool_]
    mirror: NDArray[np.float64] | None

    def opposite(self, voxels: NDArray[np.int64]) -> NDArray[np.float32]:
        """ADC of the tissue opposite these voxels (N, 3), mm2/s: of any number up to N, none without a mirror."""
        if self.mirror is None:
            return np.zeros(0, dtype=np.float32)
        points = transformed(transformed(voxels, self.affine), self.mirror)
        usable = nearest(self.tissue, self.affine, points).astype(np.bool_)
        return np.asarray(nearest(self.adc_mm2_per_s, self.affine, points)[usable], dtype=np.float32)

    def measured(self, voxels: NDArray[np.int64]) -> NDArray[np.float32]:
        """ADC at these voxels (N, 3), mm2/s, where it was measured."""
        values = self.adc_mm2_per_s[tuple(voxels.T)]
        return np.asarray(values[values > 0], dtype=np.float32)

    def is_restricted(self, voxels: NDArray[np.int64]) -> bool:
        """Whether the median ADC is reduced; against the whole brain's where less than half of it has an opposite."""
        inside, reference = self.measured(voxels), self.opposite(voxels)
        if 2 * len(reference) < len(voxels):
            reference = self.adc_mm2_per_s[self.tissue]
        if not len(inside) or not len(reference):
            return False
        return bool(np.median(inside) <= LARGEST_ADC_RATIO * np.median(reference))


def adc_map(
    pair: DiffusionPair, patient: NetworkInput, suspected: NDArray[np.bool_], mirror: NDArray[np.float64] | None
) -> AdcMap:
    """The ADC on the DWI's grid; suspected: bool (I, J, K) there, not to be taken for tissue."""
    i, j, k = pair.dwi.array.shape
    adc = resample(pair.adc_mm2_per_s, pair.dwi.affine, (i, j, k)).clip(min=0)
    brain = resample_mask(patient.mask, patient.affine, pair.dwi.affine, (i, j, k))
    tissue = brain & ~suspected & (adc > 0) & (adc < _TISSUE_BELOW_MM2_PER_S)
    return AdcMap(adc, pair.dwi.affine, tissue, mirror)
