"""A head as functions of patient coordinates (DICOM LPS, mm): what every voxel of every image must show.

An ellipsoid brain with fluid in the middle and three marks, each on one side only, so that left, anterior and superior
can be told in whatever was assembled. Slow ramps make every voxel differ from its mirror image and its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TISSUE_MM2_PER_S = 0.8e-3
FLUID_MM2_PER_S = 3.0e-3
AIR = 20.0
"""Signal outside the head."""


@dataclass(frozen=True)
class Blob:
    """An ellipsoid: where it is, and what is in it."""

    centre_mm: tuple[float, float, float]
    radii_mm: tuple[float, float, float]
    adc_mm2_per_s: float
    signal: float

    def holds(self, points: Array) -> NDArray[np.bool_]:
        offset = (points - np.asarray(self.centre_mm)) / np.asarray(self.radii_mm)
        inside: NDArray[np.bool_] = (offset**2).sum(axis=-1) <= 1.0
        return inside


BRAIN = Blob((0.0, 0.0, 0.0), (66.0, 80.0, 60.0), TISSUE_MM2_PER_S, 6400.0)
FLUID = Blob((0.0, 14.0, 2.0), (15.0, 24.0, 16.0), FLUID_MM2_PER_S, 11200.0)
LEFT = Blob((38.0, -6.0, 4.0), (21.0, 24.0, 21.0), 0.4e-3, 8000.0)
"""Bright on DWI, dark on ADC, as an infarct; on the patient's left (+x)."""
ANTERIOR = Blob((-10.0, -54.0, 0.0), (17.0, 17.0, 17.0), 1.3e-3, 6400.0)
SUPERIOR = Blob((-14.0, 8.0, 40.0), (17.0, 17.0, 15.0), 1.9e-3, 6400.0)
MARKS = {"left": LEFT, "anterior": ANTERIOR, "superior": SUPERIOR}

_FIBRES = np.array([0.6, 0.64, 0.48])
"""Main direction of diffusion, in patient coordinates; a unit vector."""
_ANISOTROPY_MM2_PER_S = 0.12e-3


@dataclass(frozen=True)
class Anatomy:
    """One patient. `mirrored` and `tissue_factor` make another one, who must never be mistaken for the first."""

    mirrored: bool = False
    tissue_factor: float = 1.0

    def brain(self, points: Array) -> NDArray[np.bool_]:
        """Whether points (..., 3) lie in the brain: bool (...)."""
        return BRAIN.holds(self._own(points))

    def steady(self, points: Array) -> NDArray[np.bool_]:
        """Whether points (..., 3) lie in the brain and off every boundary by 0.02 mm or more, so that the last decimal
        of a position decides nothing: bool (...)."""
        own = self._own(points)
        steady = BRAIN.holds(own)
        for blob in (BRAIN, FLUID, *MARKS.values()):
            radius = np.sqrt((((own - np.asarray(blob.centre_mm)) / np.asarray(blob.radii_mm)) ** 2).sum(axis=-1))
            steady &= np.abs(radius - 1.0) > 0.02 / min(blob.radii_mm)
        return steady

    def adc(self, points: Array) -> Array:
        """True mean diffusivity at points (..., 3) in mm2/s; 0 outside the brain."""
        own = self._own(points)
        ramp = 1.0 + own @ np.array([0.0007, 0.0005, 0.0004])
        value = TISSUE_MM2_PER_S * self.tissue_factor * ramp
        for blob in (FLUID, *MARKS.values()):
            value = np.where(blob.holds(own), blob.adc_mm2_per_s, value)
        return np.where(BRAIN.holds(own), value, 0.0)

    def unweighted(self, points: Array) -> Array:
        """Signal without diffusion weighting at points (..., 3)."""
        own = self._own(points)
        ramp = 1.0 + own @ np.array([0.0012, 0.0008, 0.0005])
        value = np.full(own.shape[:-1], BRAIN.signal)
        for blob in (FLUID, *MARKS.values()):
            value = np.where(blob.holds(own), blob.signal, value)
        return np.where(BRAIN.holds(own), value * ramp, AIR)

    def trace(self, points: Array, b_s_per_mm2: float) -> Array:
        """Isotropically weighted signal: the geometric mean over directions that are spread evenly."""
        return self.unweighted(points) * np.exp(-b_s_per_mm2 * self.adc(points))

    def weighted(self, points: Array, b_s_per_mm2: float, direction: tuple[float, float, float]) -> Array:
        """Signal weighted along one direction (unit vector in LPS).

        D(g) = ADC + A (3 (g . fibre)^2 - 1): its mean over three orthogonal or six icosahedral directions is the ADC.
        """
        own = self._own(points)
        solid = BRAIN.holds(own) & ~FLUID.holds(own)
        for blob in MARKS.values():
            solid &= ~blob.holds(own)
        along = 3.0 * float(np.dot(_FIBRES, direction)) ** 2 - 1.0
        diffusivity = self.adc(points) + np.where(solid, _ANISOTROPY_MM2_PER_S * along, 0.0)
        return self.unweighted(points) * np.exp(-b_s_per_mm2 * diffusivity)

    def _own(self, points: Array) -> Array:
        return points * np.array([-1.0, 1.0, 1.0]) if self.mirrored else points
