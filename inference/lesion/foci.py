"""Where the lesion map says infarct on the DWI's own grid, and its separate foci."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from pirtad.inference.preprocess.resample import resample
from pirtad.inference.volume import Volume

LEAST_PROBABILITY = 0.5
# Below it a spot is a handful of the network's voxels (0.016 ml each).
SMALLEST_FOCUS_ML = 0.1
# From which mean probability, and which volume, a focus is believed; or which core of it the network must be all but
# certain of, however wide its uncertain margin. Chosen on 242 simulated cases that are neither trained on nor tested
# with: of all foci 34 of the 69 normal studies had one and 6 of 173 infarcts none; of these 9 and 13.
LEAST_MEAN_PROBABILITY = 0.75
SMALLEST_BELIEVED_ML = 0.3
CERTAIN_PROBABILITY = 0.9
CERTAIN_CORE_ML = 1.0
# The smaller side's share from which an infarct is called bilateral; chosen.
LEAST_OF_OTHER_SIDE = 0.1


def suspected_lesion(
    probability: NDArray[np.float32], network_affine: NDArray[np.float64], dwi: Volume
) -> NDArray[np.bool_]:
    """bool (I, J, K) on the grid of `dwi`, from the probability (96, 112, 48) on the network's grid: the foci that the
    network is sure of."""
    there = resample(Volume(probability, network_affine), dwi.affine, _shape(dwi))
    suspected = np.zeros(there.shape, dtype=np.bool_)
    for focus in foci_of(there >= LEAST_PROBABILITY, dwi.affine):
        where = tuple(focus.T)
        if _is_believed(there[where], voxel_ml(dwi.affine)):
            suspected[where] = True
    return suspected


def _is_believed(probability: NDArray[np.float32], ml: float) -> bool:
    """probability: (N,), of a focus's voxels, of `ml` each."""
    large_enough = len(probability) * ml >= SMALLEST_BELIEVED_ML
    core_ml = float((probability > CERTAIN_PROBABILITY).sum()) * ml
    return core_ml >= CERTAIN_CORE_ML or (large_enough and float(probability.mean()) >= LEAST_MEAN_PROBABILITY)


def foci_of(mask: NDArray[np.bool_], affine: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    """Voxel indices (N, 3) of each focus of at least SMALLEST_FOCUS_ML, the largest first; 26 neighbours touch."""
    connected = sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)), True)
    ordered = sitk.RelabelComponent(connected, sortByObjectSize=True)
    labels = sitk.GetArrayFromImage(ordered)
    voxels = np.argwhere(labels > 0)
    owner = labels[tuple(voxels.T)]
    counts = np.bincount(owner)[1:]
    large = counts * voxel_ml(affine) >= SMALLEST_FOCUS_ML
    return [voxels[owner == number + 1] for number in np.flatnonzero(large)]


def voxel_ml(affine: NDArray[np.float64]) -> float:
    """Volume of a voxel."""
    return float(abs(np.linalg.det(affine[:3, :3])) / 1000)


def _shape(volume: Volume) -> tuple[int, int, int]:
    i, j, k = volume.array.shape
    return i, j, k
