"""Which point of the head lies opposite another, across the mid-sagittal plane."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.lesion.fitting import fit, with_slopes
from pirtad.inference.lesion.lookup import nearest, transformed
from pirtad.inference.lesion.registration import SIGMAS_MM, Registration, coarse_adc, compared_voxels
from pirtad.inference.preprocess.network_input import NetworkInput
from pirtad.inference.volume import Volume

_FLIP = np.diag([-1.0, 1.0, 1.0, 1.0])
# Correlation of the ADC map with its own mirror image below which no plane is believed; chosen.
LEAST_SYMMETRY = 0.3


def mirror_by_template(registration: Registration) -> NDArray[np.float64]:
    """(4, 4), patient LPS mm to the opposite point: the template is symmetric about x = 0."""
    return np.asarray(np.linalg.inv(registration.to_template) @ _FLIP @ registration.to_template)


def mirror_by_symmetry(patient: NetworkInput, lesion: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    """The same from the head alone, fitted to its own mirror image; None where the head is not like its image.

    lesion: bool (96, 112, 48), left out of the fit.
    """
    where = transformed(np.argwhere(patient.mask), patient.affine)
    flip = _FLIP.copy()
    flip[0, 3] = 2 * where[:, 0].mean()
    turned = patient.affine.copy()  # the row that ran to the left now runs to the right, from the other end
    last = np.eye(4)
    last[0, 0], last[0, 3] = -1.0, patient.array.shape[1] - 1.0
    turned = flip @ patient.affine @ last
    image = Volume(np.ascontiguousarray(patient.array[1, ::-1]), turned)
    compared = compared_voxels(patient.mask, lesion, patient.affine)
    to_image = np.eye(4)
    for sigma_mm in SIGMAS_MM:
        to_image = fit(coarse_adc(patient, sigma_mm), with_slopes(image, sigma_mm), compared, to_image)
    mirror = flip @ to_image
    inside = np.argwhere(patient.mask & ~lesion)
    here = patient.array[1][tuple(inside.T)]
    there = nearest(patient.array[1], patient.affine, transformed(transformed(inside, patient.affine), mirror))
    if np.ptp(here) == 0 or np.ptp(there) == 0 or np.corrcoef(here, there)[0, 1] < LEAST_SYMMETRY:
        return None
    return mirror


def is_left(points_mm: NDArray[np.float64], mirror: NDArray[np.float64]) -> NDArray[np.bool_]:
    """bool (N,) for points (N, 3) in LPS: on the patient's left, so at greater x than the point opposite."""
    left: NDArray[np.bool_] = points_mm[:, 0] > transformed(points_mm, mirror)[:, 0]
    return left
