"""Affine registration of a patient with the template, and from it the patient's mid-sagittal plane.

The ADC map is registered, not the DWI: its values are physical, so that one template serves every scanner, and an acute
infarct changes it by far less than the fluid spaces that guide the fit. The lesion itself is left out of the metric
(Brett et al., NeuroImage 14, 2001). Everything is in the network's grid and in LPS millimetres.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from pirtad.inference.lesion.atlas import load_template
from pirtad.inference.lesion.fitting import fit, transform_of, with_slopes
from pirtad.inference.preprocess.network_input import NetworkInput
from pirtad.inference.volume import Volume

# Between a real head as it is (SOOP sub-3: Dice 0.95, correlation 0.54) and the same head upside down, back to front,
# cut in half or replaced by noise (Dice 0.83 to 0.96, correlation 0.16 to 0.26).
LEAST_DICE, LEAST_CORRELATION = 0.85, 0.35
_FLUID_CEILING = 3.0
_BRAIN_ABOVE = 0.4  # half of the least diffusivity that the template has
_WORKING_SHRINK = (2, 2, 1)
SIGMAS_MM = (6.0, 3.0)
_LESION_MARGIN_VOXELS, _SURROUNDINGS_VOXELS = (2, 2, 1), (6, 6, 3)


@dataclass(frozen=True, slots=True)
class Registration:
    """Where the template lies in the patient, and how well.

    to_template: float64 (4, 4), patient LPS mm to template LPS mm.
    seconds: what the fit took. dice: overlap of the two brains after it, 0 to 1. correlation: of the two ADC maps
        within both brains and outside the lesion.
    """

    to_template: NDArray[np.float64]
    seconds: float
    dice: float
    correlation: float

    @property
    def ok(self) -> bool:
        """Good enough for the atlas to be believed."""
        return self.dice >= LEAST_DICE and self.correlation >= LEAST_CORRELATION

    @property
    def reason(self) -> str:
        """Why not ok; "" when it is."""
        if self.ok:
            return ""
        return (
            f"the head could not be brought onto the atlas: overlap {self.dice:.2f} (expected {LEAST_DICE}), "
            f"correlation {self.correlation:.2f} (expected {LEAST_CORRELATION})"
        )


def register(patient: NetworkInput, lesion: NDArray[np.bool_]) -> Registration:
    """Fit the template to the patient, twelve degrees of freedom.

    lesion: bool (96, 112, 48), left out of the metric.
    """
    started = time.perf_counter()
    compared = compared_voxels(patient.mask, lesion, patient.affine)
    to_template = _start(patient)
    for sigma_mm in SIGMAS_MM:
        to_template = fit(coarse_adc(patient, sigma_mm), template_with_slopes(sigma_mm), compared, to_template)
    dice, correlation = quality(patient, lesion, to_template)
    return Registration(to_template, time.perf_counter() - started, dice, correlation)


def _start(patient: NetworkInput) -> NDArray[np.float64]:
    """Centres of mass together, and the spread along each axis the same."""
    template = load_template()
    here, spread = _centre_and_spread(patient.mask, patient.affine)
    there, wanted = _centre_and_spread(template.array > 0, template.affine)
    matrix = np.diag([*(wanted / spread), 1.0])
    matrix[:3, 3] = there - matrix[:3, :3] @ here
    return matrix


def _centre_and_spread(
    mask: NDArray[np.bool_], affine: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation (3,) of the voxel centres, mm; the axes of the grid are those of the patient."""
    where = np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]
    return where.mean(0), where.std(0)


@lru_cache(maxsize=len(SIGMAS_MM))
def template_with_slopes(sigma_mm: float) -> sitk.Image:
    """The template blurred so far, and its slopes; see `fitting.with_slopes`."""
    return with_slopes(load_template(), sigma_mm)


def coarse_adc(patient: NetworkInput, sigma_mm: float) -> sitk.Image:
    """The ADC in 1e-3 mm2/s, blurred, on 4 mm."""
    adc = Volume(patient.array[1].clip(max=_FLUID_CEILING), patient.affine).to_sitk()
    return sitk.Shrink(sitk.SmoothingRecursiveGaussian(adc, sigma_mm), _WORKING_SHRINK)


def compared_voxels(
    mask: NDArray[np.bool_], lesion: NDArray[np.bool_], affine: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """bool (K, J, I) on the coarser grid: the brain and its surroundings, without the lesion and its rim."""
    brain, hole = (
        sitk.Cast(Volume(one.astype(np.float32), affine).to_sitk() > 0.5, sitk.sitkUInt8) for one in (mask, lesion)
    )
    near = sitk.BinaryDilate(brain, _SURROUNDINGS_VOXELS, sitk.sitkBox)
    rim = sitk.BinaryDilate(hole, _LESION_MARGIN_VOXELS, sitk.sitkBox)
    chosen = sitk.Shrink(sitk.And(near, 1 - rim), _WORKING_SHRINK)
    compared: NDArray[np.bool_] = sitk.GetArrayFromImage(chosen) > 0
    return compared


def quality(
    patient: NetworkInput,
    lesion: NDArray[np.bool_],
    to_template: NDArray[np.float64],
    imaged: NDArray[np.bool_] | None = None,
) -> tuple[float, float]:
    """Dice of the brains on the patient's grid, and correlation of the blurred ADC maps, where noise does not count.

    imaged: bool (96, 112, 48), outside of which the patient's brain is not known; None: known everywhere.
    """
    reference = Volume(patient.array[1], patient.affine).to_sitk()
    brain = _moved(load_template().to_sitk(), reference, to_template) > _BRAIN_ABOVE
    if imaged is not None:
        brain &= imaged
    both = brain & patient.mask
    dice = 2 * float(both.sum()) / max(1, int(brain.sum()) + int(patient.mask.sum()))

    coarse = coarse_adc(patient, SIGMAS_MM[-1])
    here = sitk.GetArrayFromImage(coarse).transpose(2, 1, 0)
    template = sitk.VectorIndexSelectionCast(template_with_slopes(SIGMAS_MM[-1]), 0)
    there = _moved(template, coarse, to_template)
    i, j, k = _WORKING_SHRINK
    compared = (both & ~lesion)[i // 2 :: i, j // 2 :: j, k // 2 :: k][
        : here.shape[0], : here.shape[1], : here.shape[2]
    ]
    here, there = here[compared], there[compared]
    if len(here) < 2 or np.ptp(here) == 0 or np.ptp(there) == 0:
        return dice, 0.0
    return dice, float(np.corrcoef(here, there)[0, 1])


def _moved(image: sitk.Image, reference: sitk.Image, to_template: NDArray[np.float64]) -> NDArray[np.float32]:
    """A template image (I, J, K) on the patient's grid; 0 outside."""
    moved = sitk.Resample(image, reference, transform_of(to_template), sitk.sitkLinear, 0.0)
    return np.asarray(sitk.GetArrayFromImage(moved).transpose(2, 1, 0), dtype=np.float32)
