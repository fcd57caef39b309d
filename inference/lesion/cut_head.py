"""Registration of a head of which the images show only a part.

Beyond the images the network's input is 0, as it is outside the head, so that a fit over all of it stretches a slab
until it fills the template: a slab of 64 mm of a real head came out 1.8 times as long as wide, its foot 30 mm too low.
Here what was not imaged is left out of the metric, as a lesion is, and the fit begins with a head of usual size.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.lesion.atlas import load_template
from pirtad.inference.lesion.fitting import fit
from pirtad.inference.lesion.lookup import transformed
from pirtad.inference.lesion.registration import (
    SIGMAS_MM,
    Registration,
    coarse_adc,
    compared_voxels,
    quality,
    register,
    template_with_slopes,
)
from pirtad.inference.preprocess.grid import SHAPE
from pirtad.inference.preprocess.network_input import NetworkInput
from pirtad.inference.volume import DiffusionPair, Volume

# A brain that ends within the images has a section of 0 to 3 cm2 at their ends (three real heads), one that they cut
# off 12 and more. Where a section is small both ways of fitting agree to 1 mm.
CUT_FROM_CM2 = 5.0
# Template over patient along x, y, z: the middle of four real heads, which differ by up to 0.14 (1.12 to 1.16,
# 1.03 to 1.17, 1.14 to 1.20).
_USUAL_SIZE = (1.13, 1.1, 1.18)
# Where the brain's foot, middle and top lie in the template, mm.
_FOOT_MM, _MIDDLE_MM, _TOP_MM = -70.0, 5.0, 80.0


def register_imaged(patient: NetworkInput, left_out: NDArray[np.bool_], pair: DiffusionPair) -> Registration:
    """`register` for a head that lies within the images, and a fit to what was imaged for one that is cut off.

    left_out: bool (96, 112, 48), the suspected lesion. Dice and correlation of a cut head are of its imaged part.
    """
    imaged = imaged_voxels(pair, patient.affine)
    if max(sections_cm2(patient.mask, imaged, patient.affine)) < CUT_FROM_CM2:
        return register(patient, left_out)
    started = time.perf_counter()
    hole = left_out | ~imaged
    compared = compared_voxels(patient.mask, hole, patient.affine)
    first, *finer = SIGMAS_MM
    coarse = coarse_adc(patient, first)
    tried = [fit(coarse, template_with_slopes(first), compared, start) for start in _starts(patient)]
    best = max(tried, key=lambda matrix: quality(patient, hole, matrix, imaged)[1])
    for sigma_mm in finer:
        best = fit(coarse_adc(patient, sigma_mm), template_with_slopes(sigma_mm), compared, best)
    dice, correlation = quality(patient, hole, best, imaged)
    return Registration(best, time.perf_counter() - started, dice, correlation)


def imaged_voxels(pair: DiffusionPair, affine: NDArray[np.float64]) -> NDArray[np.bool_]:
    """bool (96, 112, 48): the voxels of the network's grid that lie within both DWI and ADC map."""
    imaged = np.ones(SHAPE, dtype=np.bool_)
    i, j, k = np.ogrid[tuple(slice(size) for size in SHAPE)]
    for volume in (pair.dwi, pair.adc_mm2_per_s):
        to_voxels = np.linalg.inv(volume.affine) @ affine
        for row, size in zip(to_voxels, volume.array.shape, strict=False):
            index = row[0] * i + row[1] * j + row[2] * k + row[3]
            np.logical_and(imaged, (index >= -0.5) & (index <= size - 0.5), out=imaged)
    return imaged


def within(points_mm: NDArray[np.float64], volume: Volume) -> NDArray[np.bool_]:
    """bool (N,) for points (N, 3) in LPS mm: in one of the volume's voxels."""
    index = transformed(points_mm, np.asarray(np.linalg.inv(volume.affine), dtype=np.float64))
    last = np.asarray(volume.array.shape, dtype=np.float64) - 0.5
    inside: NDArray[np.bool_] = np.all((index >= -0.5) & (index <= last), axis=1)
    return inside


def sections_cm2(
    mask: NDArray[np.bool_], imaged: NDArray[np.bool_], affine: NDArray[np.float64]
) -> tuple[float, float, float, float, float, float]:
    """Areas in which the edge of what was imaged cuts the brain: towards right, left, anterior, posterior, inferior,
    superior. All on the network's grid, whose own edge cuts as well."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    areas = []
    for axis in range(3):
        face_cm2 = float(spacing.prod() / spacing[axis]) / 100
        for step in (1, -1):
            beyond = ~np.roll(imaged, step, axis)
            edge: list[slice | int] = [slice(None)] * 3
            edge[axis] = 0 if step == 1 else -1
            beyond[tuple(edge)] = True
            areas.append(float((mask & beyond).sum()) * face_cm2)
    right, left, anterior, posterior, inferior, superior = areas
    return right, left, anterior, posterior, inferior, superior


def _starts(patient: NetworkInput) -> Iterator[NDArray[np.float64]]:
    """A head of usual size whose foot, middle or top is what was imaged: one of the three is near enough."""
    brain = transformed(np.argwhere(patient.mask), patient.affine)
    lowest, highest = brain[:, 2].min(), brain[:, 2].max()
    template = load_template()
    there = transformed(np.argwhere(template.array > 0), template.affine).mean(0)
    here = brain.mean(0)
    for z_mm, there_mm in ((lowest, _FOOT_MM), ((lowest + highest) / 2, _MIDDLE_MM), (highest, _TOP_MM)):
        here[2], there[2] = z_mm, there_mm
        matrix = np.diag([*_USUAL_SIZE, 1.0])
        matrix[:3, 3] = there - matrix[:3, :3] @ here
        yield matrix
